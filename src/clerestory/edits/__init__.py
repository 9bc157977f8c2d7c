"""Edits: values that change one site of a model while it runs.

    edit = Add(model.conditioning_site, direction, strength=2.0)
    run = model.run("a moose", range(4), edits=[edit])

An edit is frozen, maps `[sample, position, unit]` to the same shape, and keeps no hook. Edits are
applied in order, each to the output of the previous one. One file holds one edit.
"""

from clerestory.edits.ablate import Ablate
from clerestory.edits.add import Add
from clerestory.edits.base import Affine, Edit, SiteEdit, UnitEdit, edits
from clerestory.edits.clamp import Clamp
from clerestory.edits.erase import Erase
from clerestory.edits.patch import Patch
from clerestory.edits.reflect import Reflect
from clerestory.edits.scale import Scale

__all__ = [
    "Ablate",
    "Add",
    "Affine",
    "Clamp",
    "Edit",
    "Erase",
    "Patch",
    "Reflect",
    "Scale",
    "SiteEdit",
    "UnitEdit",
    "edits",
]
