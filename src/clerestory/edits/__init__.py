"""Edits."""

from clerestory.edits.ablate import Ablate
from clerestory.edits.add import Add
from clerestory.edits.base import Edit, SavedEdit, edits
from clerestory.edits.clamp import Clamp
from clerestory.edits.erase import Erase
from clerestory.edits.patch import Patch
from clerestory.edits.reflect import Reflect
from clerestory.edits.scale import Scale

__all__ = [
    "Ablate",
    "Add",
    "Clamp",
    "Edit",
    "Erase",
    "Patch",
    "Reflect",
    "SavedEdit",
    "Scale",
    "edits",
]
