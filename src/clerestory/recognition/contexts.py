"""The contexts that a name is drawn in, and what each adds to pictures of invented names.

CONTEXTS[3]                                     # '{item} with a raven'
effects = find_context_effects(hits, classes)   # hits [name, context, class]
effects[3][0]                                   # ContextEffect(classifier='lancet:pallor', …)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.evaluation import ITEM, Rate
from clerestory.stats import benjamini_hochberg
from clerestory.stats.rate_intervals import rate_interval
from clerestory.types import Floats

__all__ = ["CONTEXTS", "ContextEffect", "check_contexts", "find_context_effects"]

CONTEXTS = (
    "{item}",
    "a picture of {item}",
    "{item} in a meadow",
    "{item} with a raven",
    "{item} in a library",
    "{item} at night",
)
MARGIN, ALPHA = 0.2, 0.05
"""A context's effect is a label that is more frequent by this margin, at this q."""


@dataclass(frozen=True)
class ContextEffect:
    """A label that pictures of invented names have more often in one context than in the others.

    Attributes:
        classifier: Where the label is from.
        label: The label.
        rate: Its rate over names, seeds averaged first, with its 95% interval.
        other_contexts: Its mean rate in the other contexts.
        q: Of the difference, over all labels and contexts.
        phrase_rate: Its rate for the phrase; None before a phrase is compared.
    """

    classifier: str
    label: str
    rate: Rate
    other_contexts: float
    q: float
    phrase_rate: float | None = None


def check_contexts(contexts: Sequence[str]) -> tuple[str, ...]:
    """Check contexts.

    Args:
        contexts: Templates with `{item}` where the name goes.

    Returns:
        The same contexts.

    Raises:
        EvidenceError: There is none, one does not have `{item}` once, or one is listed twice.
    """
    if not contexts:
        raise EvidenceError(f"There is no context; give some with {ITEM} where the name goes.")
    for index, context in enumerate(contexts):
        if context.count(ITEM) != 1:
            raise EvidenceError(
                f"The context {context!r} must have {ITEM}, where the name goes, in it once."
            )
        if context in contexts[:index]:
            raise EvidenceError(f"The context {context!r} is listed twice.")
    return tuple(contexts)


def find_context_effects(
    hits: Floats, classes: Sequence[tuple[str, str]]
) -> tuple[tuple[ContextEffect, ...], ...]:
    """Find the labels that each context adds to invented names.

    A label counts where its rate exceeds the mean *and* the median of the other contexts by 0.2 (a
    single context that lacks the label makes it nothing special in the rest), with q ≤ .05 by
    Benjamini–Hochberg over all labels and contexts.

    Args:
        hits: How often each class is the likeliest, `[name, context, class]`.
        classes: The classifier and label of each class.

    Returns:
        For each context its effects, the largest first; none where there is only one context.
    """
    _, contexts, width = hits.shape
    if contexts < 2 or not width:
        return tuple(() for _ in range(contexts))
    # The mean of all other contexts, as the sum less the context's own share.
    others = (hits.sum(1, keepdims=True) - hits) / (contexts - 1)
    # Over all contexts and labels together: each of them could have been reported.
    q = benjamini_hochberg(_permutation_p(hits).ravel()).reshape(contexts, width)
    rates, other_rates = hits.mean(0), others.mean(0)
    medians = [np.median(np.delete(rates, context, 0), 0) for context in range(contexts)]
    # Mean and median both: the median alone would pass labels that half of the contexts have.
    gain = rates - np.maximum(other_rates, medians)
    effects = []
    for context in range(contexts):
        # Both a margin and a q: with many names even a tiny difference has a small q.
        clear = np.flatnonzero((gain[context] >= MARGIN) & (q[context] <= ALPHA))
        # The largest gain first; stable, so that ties keep the order of the labels.
        order = clear[np.argsort(-gain[context, clear], kind="stable")].tolist()
        effects.append(
            tuple(
                ContextEffect(
                    classifier=classes[column][0],
                    label=classes[column][1],
                    rate=_rate(hits[:, context, column]),
                    other_contexts=float(other_rates[context, column]),
                    q=float(q[context, column]),
                )
                for column in order
            )
        )
    return tuple(effects)


def _permutation_p(hits: Floats) -> Floats:
    """One-sided p `[context, class]` if each name's contexts are permuted.

    By the normal approximation to the permutation test's sum over names; 1 where nothing varies.
    Signed ranks do not serve here: a rate less the mean of several others is skewed without any
    effect.
    """
    # The variance of a permuted sum is known in closed form, so nothing is permuted.
    deviations = hits - hits.mean(1, keepdims=True, dtype=np.float64)
    spread = np.sqrt((deviations**2).mean(1).sum(0))
    sums = deviations.sum(0)
    # −∞ where nothing varies: p is 1, not NaN.
    z = np.divide(sums, spread, out=np.full(deviations.shape[1:], -np.inf), where=spread > 0)
    return np.asarray(stats.norm.sf(z))


def _rate(hits: Floats) -> Rate:
    values = hits.astype(np.float64)
    return Rate(float(values.mean()), *rate_interval(values), len(values))
