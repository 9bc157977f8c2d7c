"""Edits, and models that carry them: add a direction to a site and keep the result.

    edit = Add("prior/embedding", direction, strength=1.0)
    run = model.run("a moose", range(4), edits=[edit])

    steered = SteeredModel(model, [edit])
    steered.save("stained-glass")

Edits are values: frozen, callable `[sample, position, unit]` to the same, free of hooks. Several
are applied in the order given, each to what the one before it left. One file an edit.
"""

from clerestory.steering.bake import Baked, bake
from clerestory.steering.build import Built, build
from clerestory.steering.concept import Concept
from clerestory.steering.frontier import Point, frontier, picked
from clerestory.steering.steered import SteeredModel, load_steered

__all__ = [
    "Baked",
    "Built",
    "Concept",
    "Point",
    "SteeredModel",
    "bake",
    "build",
    "frontier",
    "load_steered",
    "picked",
]
