"""Steered models from findings: what to edit, where, how strongly, and what that does.

    glass = Concept("lancet:style", "stained glass", said="a stained glass of {x}")
    built = build(model, found, glass, tune=contents[:24], report=contents[24:])
    built.save("stained-glass")          # a steered model with its card
    bake(built.steered, "baked")         # a plain diffusers pipeline

Classifiers of set a tune on some contents, those of set b report on others.
"""

from clerestory.building.bake import Baked, bake
from clerestory.building.build import Built, build
from clerestory.building.concept import Concept
from clerestory.building.points import Point, frontier, picked

__all__ = ["Baked", "Built", "Concept", "Point", "bake", "build", "frontier", "picked"]
