"""Steering: models that carry edits, built from findings, saved, shared and baked.

    result = steer(model, "found", "lancet:style=stained glass")
    result.save("stained-glass")

    steered = load_steered("stained-glass")
    steered.draw("a moose", range(4))

`bake` folds the edits into the weights, for people who do not have this library.
"""

from clerestory.steering.bake import BakeResult, bake
from clerestory.steering.picture_directions import PictureDirection, direction_from_pictures
from clerestory.steering.results import BuildResult
from clerestory.steering.steer import steer
from clerestory.steering.steered import SteeredModel, load_steered

__all__ = [
    "BakeResult",
    "BuildResult",
    "PictureDirection",
    "SteeredModel",
    "bake",
    "direction_from_pictures",
    "load_steered",
    "steer",
]
