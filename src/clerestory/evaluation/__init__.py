"""The one engine that draws conditions on items and seeds, classifies them and compares them.

    evaluator = Evaluator(model)
    design = Design.crossed(["a cat", "a ship"], seeds=(0, 1))
    conditions = [Condition("unedited"), Condition("words", "a stained glass of {item}")]
    panel = Panel.open("lancet:style", "stained glass")
    plain, words = compare_conditions(evaluator, conditions, design, panel)
    words.target.rate, words.mean_preservation

Every verb that draws and classifies calls it, so that a sample is drawn once in a call, and once in
a study. Objectives of searches and attributions are measured by it as well.
"""

from clerestory.evaluation.cache import CacheOption, SampleCache
from clerestory.evaluation.comparison import (
    OpenTarget,
    Outcome,
    Panel,
    compare_conditions,
    compare_drawings,
    open_label,
)
from clerestory.evaluation.conditions import ITEM, Condition, Design, fill
from clerestory.evaluation.engine import Drawing, Evaluator, SiteReading
from clerestory.evaluation.objectives import Objective, direction, label, parse_objective, unit
from clerestory.evaluation.rates import Effect, Rate, effect_of, rate_of

__all__ = [
    "ITEM",
    "CacheOption",
    "Condition",
    "Design",
    "Drawing",
    "Effect",
    "Evaluator",
    "Objective",
    "OpenTarget",
    "Outcome",
    "Panel",
    "Rate",
    "SampleCache",
    "SiteReading",
    "compare_conditions",
    "compare_drawings",
    "direction",
    "effect_of",
    "fill",
    "label",
    "open_label",
    "parse_objective",
    "rate_of",
    "unit",
]
