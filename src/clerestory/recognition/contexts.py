"""The contexts that a name is drawn in, and what each makes of names that nobody knows.

CONTEXTS[3]                                     # '{item} with a raven'
made = made_of(hits, classes)                   # hits [name, context, class]
made[3][0]                                      # Made(classifier='lancet:pallor …', …)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.evaluation import ITEM, Rate
from clerestory.stats import benjamini_hochberg, wilson

__all__ = ["CONTEXTS", "Made", "checked", "made_of"]

CONTEXTS = (
    "{item}",
    "a picture of {item}",
    "{item} in a meadow",
    "{item} with a raven",
    "{item} in a library",
    "{item} at night",
)
MARGIN, LEVEL = 0.2, 0.05
"""What a context makes of names: a class more frequent by this, at this q."""


@dataclass(frozen=True)
class Made:
    """A class that pictures of made-up names show more often in one context than in the others.

    `rate` is over names, seeds averaged first; `elsewhere` the mean rate in the other contexts, `q`
    that of their difference among all classes and contexts. `asked` is the rate of the phrase.
    """

    classifier: str
    shows: str
    rate: Rate
    elsewhere: float
    q: float
    asked: float | None = None

    @property
    def name(self) -> str:
        """`CLASSIFIER=CLASS`, whichever set it is of."""
        return f"{self.classifier.partition(' (')[0]}={self.shows}"

    def beside(self, asked: float) -> Made:
        """The same, with the rate of a phrase."""
        return replace(self, asked=asked)


def checked(contexts: Sequence[str]) -> tuple[str, ...]:
    """The contexts; EvidenceError where one has no place for the name, or is there twice."""
    if not contexts:
        raise EvidenceError(f"There is no context; give some with {ITEM} where the name goes.")
    for at, context in enumerate(contexts):
        if context.count(ITEM) != 1:
            raise EvidenceError(
                f"The context {context!r} must have {ITEM}, where the name goes, in it once."
            )
        if context in contexts[:at]:
            raise EvidenceError(f"The context {context!r} is there twice.")
    return tuple(contexts)


def made_of(
    hits: NDArray[np.floating], classes: Sequence[tuple[str, str]]
) -> tuple[tuple[Made, ...], ...]:
    """For each context what it makes of made-up names, the most telling first.

    `hits` are rates `[name, context, class]`. A class counts where its rate is higher by `MARGIN`
    than the mean *and* the median of the other contexts (a single one that lacks the class makes it
    nothing special in the rest), with q ≤ `LEVEL`, Benjamini–Hochberg over all classes × contexts.
    With one context there is nothing to compare.
    """
    _, contexts, width = hits.shape
    if contexts < 2 or not width:
        return tuple(() for _ in range(contexts))
    elsewhere = (hits.sum(1, keepdims=True) - hits) / (contexts - 1)
    q = benjamini_hochberg(_shuffled(hits).ravel()).reshape(contexts, width)
    rates, others = hits.mean(0), elsewhere.mean(0)
    usual = [np.median(np.delete(rates, at, 0), 0) for at in range(contexts)]
    gain, found = rates - np.maximum(others, usual), []
    for at in range(contexts):
        clear = np.flatnonzero((gain[at] >= MARGIN) & (q[at] <= LEVEL))
        order = clear[np.argsort(-gain[at, clear], kind="stable")].tolist()
        found.append(
            tuple(
                Made(
                    classifier=classes[one][0],
                    shows=classes[one][1],
                    rate=_rate(hits[:, at, one]),
                    elsewhere=float(others[at, one]),
                    q=float(q[at, one]),
                )
                for one in order
            )
        )
    return tuple(found)


def _shuffled(hits: NDArray[np.floating]) -> NDArray[np.float64]:
    """One-sided p `[context, class]`, were each name's contexts shuffled, which keeps its own rate.

    By the normal approximation to that permutation test's sum over names; 1 where nothing varies.
    (Signed ranks will not do: a rate less the mean of several others is skewed without any effect.)
    """
    more = hits - hits.mean(1, keepdims=True, dtype=np.float64)
    spread = np.sqrt((more**2).mean(1).sum(0))
    z = np.divide(more.sum(0), spread, out=np.full(more.shape[1:], -np.inf), where=spread > 0)
    return np.asarray(stats.norm.sf(z))


def _rate(hits: NDArray[np.floating]) -> Rate:
    mean = float(hits.mean(dtype=np.float64))
    return Rate(mean, *wilson(mean * len(hits), len(hits)), len(hits))
