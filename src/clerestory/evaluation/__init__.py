"""The engine that draws conditions on items, templates and seeds, classifies and compares them.

    evaluator = Evaluator(model)
    design = Design.for_items(["a cat", "a ship"], seeds_per_item=2)
    conditions = [Condition("unedited"), Condition("words", "a stained glass of {item}")]
    panel = Panel.load("lancet:style", "stained glass")
    plain, words = compare_conditions(evaluator, conditions, design, panel)
    words.target.rate, words.mean_preservation

Everything that draws and classifies pictures calls this engine, and everything shares its cache: a
sample is drawn once in a call, and once in a study. It also measures the objectives of searches and
attributions. To read the package: `conditions` (what is drawn), `engine` (how), `rates`,
`side_effects` and `comparison` (the figures), then `objectives` and `terms`.
"""

from clerestory.evaluation.cache import CacheOption, SampleCache
from clerestory.evaluation.comparison import (
    LoadedTarget,
    Outcome,
    Panel,
    compare_conditions,
    compare_drawings,
    load_preserved,
    load_target,
)
from clerestory.evaluation.conditions import ITEM, Condition, Design, fill
from clerestory.evaluation.engine import Drawing, Evaluator, SiteReading
from clerestory.evaluation.localization import Localized, localization_of
from clerestory.evaluation.objectives import Objective, direction, label, parse_objective, unit
from clerestory.evaluation.rates import Effect, Rate, effect_of, rate_of
from clerestory.evaluation.region_changes import RegionChange, region_change, region_masks
from clerestory.evaluation.side_effects import ClassChange, SideEffects, side_effects_of

__all__ = [
    "ITEM",
    "CacheOption",
    "ClassChange",
    "Condition",
    "Design",
    "Drawing",
    "Effect",
    "Evaluator",
    "LoadedTarget",
    "Localized",
    "Objective",
    "Outcome",
    "Panel",
    "Rate",
    "RegionChange",
    "SampleCache",
    "SideEffects",
    "SiteReading",
    "compare_conditions",
    "compare_drawings",
    "direction",
    "effect_of",
    "fill",
    "label",
    "load_preserved",
    "load_target",
    "localization_of",
    "parse_objective",
    "rate_of",
    "region_change",
    "region_masks",
    "side_effects_of",
    "unit",
]
