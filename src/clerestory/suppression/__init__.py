"""Anti-patterns: what counteracts something that a prompt brings along unasked, and at what cost?

    case = Case.of(model, "alexandra elbakyan with a raven", ["lancet:clothes=black"], ["raven"])
    found = suppress(case, tune=24, report=24)
    found.chosen.rung, found.chosen.drop, found.chosen.kept

A ladder of ways, from a negative prompt to found words, each tuned on one half of the sentences by
classifiers of set a and reported on the other by set b.
"""

from clerestory.suppression.case import Case
from clerestory.suppression.results import Rung, Suppressed
from clerestory.suppression.suppress import suppress

__all__ = [
    "Case",
    "Rung",
    "Suppressed",
    "suppress",
]
