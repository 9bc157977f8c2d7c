"""Evaluation."""

from clerestory.evaluation.objectives import Objective, along, drawn, parse_objective, unit

__all__ = [
    "Objective",
    "along",
    "drawn",
    "parse_objective",
    "unit",
]
