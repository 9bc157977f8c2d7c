"""Edits, and models that carry them: add a direction to a site and keep the result.

    edit = Add("prior/embedding", direction, strength=1.0)
    run = model.run("a moose", range(4), edits=[edit])

    steered = SteeredModel(model, [edit])
    steered.save("stained-glass")

Edits are values: frozen, callable `[sample, position, unit]` to the same, free of hooks. Several
are applied in the order given, each to what the one before it left. One file an edit.
"""

from clerestory.steering.ablate import Ablate
from clerestory.steering.add import Add
from clerestory.steering.base import Edit, SavedEdit, edits
from clerestory.steering.clamp import Clamp
from clerestory.steering.erase import Erase
from clerestory.steering.patch import Patch
from clerestory.steering.reflect import Reflect
from clerestory.steering.scale import Scale
from clerestory.steering.steered import SteeredModel, load_steered

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
    "SteeredModel",
    "edits",
    "load_steered",
]
