"""Recognition: does a model know a name, or does it fall back on the context?

    result = familiarity(model, "alexandra elbakyan")
    result.verdict, result.p                  # 'not shown to be familiar', 0.52
    result.power.share                        # of known names, which the same test tells
    measure_familiarity(model, ["tycho brahe", "ada lovelace"])   # each beside its controls

A name is drawn in several contexts, and invented names beside it, which nobody can know.
"""

from clerestory.recognition.contexts import CONTEXTS, ContextEffect
from clerestory.recognition.familiarity import familiarity, measure_familiarity
from clerestory.recognition.names import invent_names
from clerestory.recognition.results import (
    ContextResult,
    Controls,
    FamiliarityResult,
    Power,
    Verdict,
)

__all__ = [
    "CONTEXTS",
    "ContextEffect",
    "ContextResult",
    "Controls",
    "FamiliarityResult",
    "Power",
    "Verdict",
    "familiarity",
    "invent_names",
    "measure_familiarity",
]
