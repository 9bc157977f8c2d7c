"""Scores by detection: is a unit higher in held-out prompts that fit a name than in the others?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.evidence import Status
from clerestory.naming.results import Basis, DetectionScore
from clerestory.naming.samples import MIN_ITEMS, MIN_TEMPLATES, NamingSamples
from clerestory.stats import (
    auroc,
    benjamini_hochberg,
    clustered_arm_test,
    clustered_auroc_interval,
    pooled_midranks,
)
from clerestory.types import Bools, Floats

__all__ = ["LEVEL", "Comparison", "detection_scores", "levels", "scored_status"]

LEVEL = 0.05


class Comparison:
    """A unit's values in the evaluation half, of prompts that fit a name and of the others.

    Args:
        samples: The prompts.
        values: The unit's values, `[prompt]`, of both halves.
        fits: Whether each prompt fits the name, `[prompt]`, of both halves.
        basis: How that was decided.
    """

    def __init__(self, samples: NamingSamples, values: Floats, fits: Bools, basis: Basis) -> None:
        arms = samples.evaluation & fits, samples.evaluation & ~fits
        self.basis = basis
        self.positive, self.negative = (np.asarray(values[arm], np.float64) for arm in arms)
        self.factors = samples.factors(*arms)
        self.items, self.templates = (
            min(len(np.unique(codes)) for codes in factor) for factor in self.factors
        )
        self.varies_templates = max(codes.max(initial=0) for codes in self.factors[1]) > 0

    @property
    def is_sufficient(self) -> bool:
        """Whether both arms have enough items, and templates where these vary."""
        enough = self.templates >= MIN_TEMPLATES or not self.varies_templates
        return self.items >= MIN_ITEMS and enough

    @property
    def p(self) -> float:
        """One-sided p, over items and templates; NaN where an arm has fewer than two of either."""
        if min(self.items, self.templates if self.varies_templates else 2) < 2:
            return float("nan")
        ranks = pooled_midranks(self.positive[:, None], self.negative[:, None])
        return float(clustered_arm_test(*ranks, *self.factors).p[0])

    def score(self, p: float, q: float, level: float) -> DetectionScore:
        """The score, with an interval of this coverage."""
        score = DetectionScore(self.basis, "undecided", len(self.positive), self.items)
        if np.isnan(p):
            return score
        low, high = clustered_auroc_interval(
            self.positive, self.negative, *self.factors, level=level
        )
        figure = float(auroc(self.positive[:, None], self.negative[:, None])[0])
        score = replace(score, auroc=figure, low=low, high=high, p=p, q=q)
        status = scored_status(low, high, q)
        return replace(score, status=status if self.is_sufficient else "undecided")


def detection_scores(comparisons: Sequence[Comparison]) -> list[DetectionScore]:
    """Score names, corrected for their number.

    Args:
        comparisons: One for each unit and name.

    Returns:
        Scores in the same order; q by Benjamini–Hochberg over all.
    """
    p = np.array([comparison.p for comparison in comparisons], np.float64)
    q = benjamini_hochberg(p)
    return [
        comparison.score(float(p[at]), float(q[at]), level)
        for at, (comparison, level) in enumerate(zip(comparisons, levels(q), strict=True))
    ]


def levels(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """The coverage of each interval.

    Args:
        q: q-values; NaN for what was not tested.

    Returns:
        0.95; of those with q up to 0.05 more, since they are looked at because of it.
    """
    significant, tested = q <= LEVEL, max(int((~np.isnan(q)).sum()), 1)
    # False coverage-statement rate: Benjamini & Yekutieli 2005.
    return np.where(significant, 1 - LEVEL * max(int(significant.sum()), 1) / tested, 1 - LEVEL)


def scored_status(low: float, high: float, q: float) -> Status:
    """What an AUROC with its interval says.

    Args:
        low: Lower limit.
        high: Upper limit.
        q: One-sided, corrected.

    Returns:
        `found` where q is at most 0.05 and the lower limit above 0.5, `reversed` where the upper
        limit is below 0.5, otherwise `not found`.
    """
    if q <= LEVEL and low > 0.5:
        return "found"
    return "reversed" if high < 0.5 else "not found"
