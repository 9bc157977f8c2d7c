"""Tests of a difference of two arms with items and templates as random factors.

A test that treats the templates at hand as the whole population finds differences between any two
sets of neutral sentences (the language-as-fixed-effect fallacy, Clark 1973). Here each arm is a
grid `[item, phrase, frame, unit]`: every item in every template of its arm. A template is a phrase
for the concept, which belongs to one arm, in a sentence frame, which both arms may share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

from clerestory.errors import EvidenceError

__all__ = [
    "ArmTest",
    "arm_test",
    "arm_variances",
    "cell_test",
    "clustered_arm_test",
    "clustered_variances",
    "df_cap",
    "pooled_midranks",
    "power_effect",
]


class ArmTest(NamedTuple):
    """A one-sided test that the positive arm is higher, for each unit.

    Attributes:
        difference: Mean of the positive arm less that of the negative arm.
        error: Standard error of the difference, over items and templates.
        df: Degrees of freedom of the t distribution.
        p: One-sided p-value; NaN where a value is NaN or a variance cannot be estimated.
    """

    difference: Float[np.ndarray, " unit"]
    error: Float[np.ndarray, " unit"]
    df: Float[np.ndarray, " unit"]
    p: Float[np.ndarray, " unit"]


def arm_test(
    positive: Float[np.ndarray, "n phrase frame unit"],
    negative: Float[np.ndarray, "m other frame unit"],
    *,
    paired: bool = True,
) -> ArmTest:
    """Test whether the positive arm is higher than the negative one in new items and templates.

    Clark's min F′ as a t: the variance of the difference is the sum of the variance over items and
    the variance over templates. The part that both contain is counted twice, which is conservative.

    Args:
        positive: Values of the positive arm.
        negative: Values of the negative arm. Frames are those of the positive arm, in its order;
            with one frame, templates are phrases alone. Where an arm has one phrase, the claim is
            about this phrase: its variance is not part of the error.
        paired: Whether row i of both arms is the same item.

    Returns:
        The test of each unit. p is 1 where nothing varies and nothing differs.

    Raises:
        EvidenceError: Arms do not fit, or there are fewer than two items.

    Source: Clark 1973; Satterthwaite 1946. The cap of the degrees of freedom keeps its level with
    few templates: tests/stats/test_random_factors.py.

    >>> rng = np.random.default_rng(0)
    >>> items = rng.normal(size=(24, 1, 1, 1))
    >>> positive = items + 3 + 0.1 * rng.normal(size=(24, 6, 1, 1))
    >>> negative = items + 0.1 * rng.normal(size=(24, 6, 1, 1))
    >>> bool(arm_test(positive, negative).p[0] < 1e-6)
    True
    """
    _check(positive, negative, paired)
    # The means are over balanced grids, so the order of averaging does not matter.
    frames = positive.shape[2]
    difference = positive.mean((0, 1, 2)) - negative.mean((0, 1, 2))
    # Each part is a variance of the difference with its degrees of freedom.
    parts = _item_variance(positive.mean((1, 2)), negative.mean((1, 2)), paired)
    # An arm of one phrase says nothing of the variance of others.
    parts += _mean_variances([arm.mean((0, 2)) for arm in (positive, negative) if arm.shape[1] > 1])
    share: Float[np.ndarray, " unit"] = np.zeros_like(difference)
    if frames > 1:
        # Both arms share their frames: what a frame adds to both cancels.
        by_frame = positive.mean((0, 1)) - negative.mean((0, 1))
        parts += [(by_frame.var(0, ddof=1) / frames, frames - 1.0)]
        total = np.sum([part for part, _ in parts], axis=0)
        share = np.divide(parts[-1][0], total, out=share, where=total > 0)
    cap = df_cap((positive.shape[1], negative.shape[1]), frames, share)
    return _t_test(difference, parts, cap)


def df_cap(
    phrases: tuple[int, int], frames: int, share: Float[np.ndarray, " unit"]
) -> Float[np.ndarray, " unit"]:
    """The most degrees of freedom that a test with few templates can count on.

    Satterthwaite's estimate is itself noisy with few templates, and liberal in the tail: where a
    variance of few levels happens to be estimated as small, the others' degrees of freedom count.

    Args:
        phrases: Phrases of each arm.
        frames: Sentence frames that both arms share.
        share: Share of the frames' variance in that of each unit's difference.

    Returns:
        J⁺ + J⁻ − 2 for equal numbers of phrases, min(J) − 1 for unequal ones; frames − 1 where both
        arms have one phrase; between the two, by the frames' share, where both vary.

    >>> df_cap((6, 6), 1, np.zeros(1)), df_cap((6, 6), 4, np.array([0.5]))
    (array([10.]), array([4.61538462]))
    """
    several = [count for count in phrases if count > 1]
    by_phrase = float(min(several, default=np.inf) - 1)
    if len(several) == 2 and several[0] == several[1]:
        by_phrase = float(sum(several) - 2)
    if frames < 2:
        return np.full_like(share, by_phrase)
    # The harmonic mean: as many as the frames allow where all of the variance is theirs.
    inverse = share / (frames - 1) + (1 - share) / by_phrase
    return np.asarray(1 / inverse if several else np.full_like(share, frames - 1.0))


def cell_test(
    differences: Float[np.ndarray, "cell unit"],
    items: Int[np.ndarray, " cell"],
    *wording: Int[np.ndarray, " cell"],
) -> ArmTest:
    """Test differences within cells of one item and one template.

    For sides that come from the picture: the same prompt gives both, by its seeds, and only
    samples of one item in one template are compared. Cells count equally.

    Args:
        differences: Mean of the positive less mean of the negative samples of each cell.
        items: The item of each cell, codes from 0.
        *wording: For each factor of the wording, such as phrases and sentence frames, the level of
            each cell, codes from 0; one code where there is one level, which the claim is then
            about.

    Returns:
        The test of each unit.

    Raises:
        EvidenceError: There are fewer than two items.

    Source: multiway clustering as in Cameron, Gelbach & Miller 2011, without their subtraction of
    the parts that factors share.
    """
    parts = clustered_variances(differences, items, *wording)
    # Capped as in `arm_test`, by the rarer factor.
    return _t_test(differences.mean(0), parts, min(df for _, df in parts))


def clustered_arm_test(
    positive: Float[np.ndarray, "n unit"],
    negative: Float[np.ndarray, "m unit"],
    *factors: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]],
) -> ArmTest:
    """Test whether the positive arm is higher, where arms are no grids of items and templates.

    For random prompts, of which those with a word are compared with those without it: a level of a
    factor may have any number of samples, in one arm or in both.

    Args:
        positive: Values of the positive arm.
        negative: Values of the negative arm.
        *factors: For items, and for each factor of the wording, the level of each sample of the
            positive and of the negative arm, codes from 0 that both arms share. A factor of one
            level is left out: the claim is then about it.

    Returns:
        The test of each unit.

    Raises:
        EvidenceError: An arm has fewer than two items.

    Source: cluster-robust variances as in Liang & Zeger 1986, added over the factors as in
    `arm_test`; the cap of the degrees of freedom is that of unequal arms.

    >>> codes = np.arange(20)
    >>> values = np.concatenate([codes[:10] + 30.0, codes[10:]])[:, None]
    >>> test = clustered_arm_test(values[:10], values[10:], (codes[:10], codes[10:]))
    >>> bool(test.p[0] < 1e-4), float(test.df[0])
    (True, 9.0)
    """
    parts, cap = arm_variances(positive, negative, *factors)
    return _t_test(positive.mean(0) - negative.mean(0), parts, cap)


def arm_variances(
    positive: Float[np.ndarray, "n unit"],
    negative: Float[np.ndarray, "m unit"],
    *factors: tuple[Int[np.ndarray, " n"], Int[np.ndarray, " m"]],
) -> tuple[list[tuple[Float[np.ndarray, " unit"], float]], float]:
    """Variances of the difference of two arms' means, by each factor.

    Args:
        positive: As for `clustered_arm_test`.
        negative: As for `clustered_arm_test`.
        *factors: As for `clustered_arm_test`.

    Returns:
        Each variance with its degrees of freedom, and the fewest of these.

    Raises:
        EvidenceError: An arm has fewer than two items.
    """
    parts = []
    for number, codes in enumerate(factors):
        levels = int(max(each.max(initial=-1) for each in codes)) + 1
        counts = [len(np.unique(each)) for each in codes]
        if number and levels < 2:
            continue
        if min(counts) < 2:
            raise EvidenceError(f"An arm has {min(counts)} levels of a factor; at least two.")
        sums = np.zeros((levels, positive.shape[1]))
        for values, code, count, sign in zip(
            (positive, negative), codes, counts, (1, -1), strict=True
        ):
            # What each sample adds to the mean of its arm; a level that is in both arms adds to
            # both, and what is alike in them cancels.
            influence = (values - values.mean(0)) / len(values)
            # The arm's own mean was estimated from its levels, which makes deviations too small.
            np.add.at(sums, code, sign * influence * np.sqrt(count / (count - 1)))
        parts.append(((sums**2).sum(0), min(counts) - 1.0))
    return parts, min(df for _, df in parts)


def clustered_variances(
    values: Float[np.ndarray, "cell unit"],
    items: Int[np.ndarray, " cell"],
    *wording: Int[np.ndarray, " cell"],
) -> list[tuple[Float[np.ndarray, " unit"], float]]:
    """Variances of a mean over cells, by items and by each factor of the wording.

    Args:
        values: A value of each cell.
        items: The item of each cell, codes from 0.
        *wording: For each factor of the wording the level of each cell, codes from 0; one code
            where there is one level.

    Returns:
        Each variance of the mean, with its degrees of freedom.

    Raises:
        EvidenceError: There are fewer than two items.
    """
    # Deviations from the grand mean, so that a level's sum is its deviation times its cells.
    centered = values - values.mean(0)
    parts = []
    for codes in (items, *wording):
        levels = int(codes.max(initial=-1)) + 1
        if levels < 2:
            if codes is items:
                raise EvidenceError("Cells of one item have no variance to test by.")
            # One template, or phrase: the claim is about it.
            continue
        sums = np.zeros((levels, values.shape[1]))
        np.add.at(sums, codes, centered)
        # The cluster-robust variance of a mean (Liang & Zeger 1986) with the small-sample factor G
        # / (G − 1); levels may have different numbers of cells.
        variance = (sums**2).sum(0) / len(values) ** 2 * levels / (levels - 1)
        parts.append((variance, levels - 1.0))
    return parts


def pooled_midranks(
    positive: Float[np.ndarray, "n *grid unit"], negative: Float[np.ndarray, "m *other unit"]
) -> tuple[Float[np.ndarray, "n *grid unit"], Float[np.ndarray, "m *other unit"]]:
    """Replace values by their mid-ranks among both arms, scaled to 0 … 1.

    A test of ranks is not led by a few large activations, and its difference is linear in the AUROC
    of the cells.

    Args:
        positive: Values of the positive arm; the last axis is the unit.
        negative: Values of the negative arm.

    Returns:
        The ranks of both arms; NaN for all of a unit where any of its values is NaN.

    >>> positive, negative = pooled_midranks(np.array([[3.0], [2.0]]), np.array([[1.0], [2.0]]))
    >>> positive.ravel().tolist(), negative.ravel().tolist()
    ([0.875, 0.5], [0.125, 0.5])
    """
    units = positive.shape[-1]
    flat = np.concatenate([positive.reshape(-1, units), negative.reshape(-1, units)])
    # NaN is propagated, so that a unit that was not finite has no p instead of an arbitrary one.
    ranks = stats.rankdata(flat, axis=0, nan_policy="propagate")
    # On this scale the difference of the arms' means is AUROC − 0.5.
    scaled = (ranks - 0.5) / len(flat)
    count = positive[..., 0].size
    return scaled[:count].reshape(positive.shape), scaled[count:].reshape(negative.shape)


def power_effect(test: ArmTest, level: float = 0.05, power: float = 0.8) -> np.ndarray:
    """The true difference that a repetition of the test would find with the given power.

    Args:
        test: A test, for its standard error and degrees of freedom.
        level: One-sided level of the test.
        power: Chance that the difference is found.

    Returns:
        The difference of each unit.
    """
    # The sum of both quantiles (Cohen 1988); the noncentral t differs little and needs iteration.
    return np.asarray(test.error * (stats.t.ppf(1 - level, test.df) + stats.t.ppf(power, test.df)))


Real = float | int  # both by name: beartype does not take an int for a float
Part = tuple[Float[np.ndarray, " unit"], float]
"""A variance of the difference, and its degrees of freedom."""


def _item_variance(
    positive: Float[np.ndarray, "n unit"], negative: Float[np.ndarray, "m unit"], paired: bool
) -> list[Part]:
    if not paired:
        return _mean_variances([positive, negative])
    count = len(positive)
    return [((positive - negative).var(0, ddof=1) / count, count - 1.0)]


def _mean_variances(arms: Sequence[Float[np.ndarray, "_ unit"]]) -> list[Part]:
    """Variances of means, each with its degrees of freedom (Welch)."""
    return [(arm.var(0, ddof=1) / len(arm), len(arm) - 1.0) for arm in arms]


def _t_test(
    difference: Float[np.ndarray, " unit"],
    parts: list[Part],
    cap: Real | Float[np.ndarray, " unit"],
) -> ArmTest:
    # Independent sources of variance add; the residual is in more than one of them, which makes
    # the test slightly conservative.
    variance = np.sum([part for part, _ in parts], axis=0)
    spread = np.sum([part**2 / df for part, df in parts], axis=0)
    varies = variance > 0
    # Satterthwaite 1946; where nothing varies the degrees of freedom do not matter.
    df = np.where(varies, variance**2 / np.where(spread > 0, spread, 1), np.inf)
    df = np.minimum(df, cap)
    error = np.sqrt(variance)
    t = np.divide(difference, error, out=np.full_like(difference, np.nan), where=varies)
    p = stats.t.sf(t, df)
    # A constant unit: certain where the arms differ, and no evidence at all where they do not.
    constant = np.where(difference > 0, 0.0, 1.0)
    p = np.where(varies, p, np.where(np.isnan(variance), np.nan, constant))
    return ArmTest(difference, error, df, np.asarray(p))


def _check(positive: np.ndarray, negative: np.ndarray, paired: bool) -> None:
    if positive.shape[2:] != negative.shape[2:]:
        raise EvidenceError(
            f"Arms of shape {positive.shape} and {negative.shape} share neither frames nor units."
        )
    if paired and len(positive) != len(negative):
        raise EvidenceError(f"{len(positive)} and {len(negative)} items cannot be paired.")
    if min(len(positive), len(negative)) < 2:
        raise EvidenceError("One item has no variance over items: at least two are needed.")
