"""Intervals cover the true value at least as often as they say, also near the ends."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats.clustered_intervals import auroc_interval, share_interval
from clerestory.stats.random_factors import arm_test, pooled_midranks
from clerestory.stats.rate_intervals import (
    change_interval,
    change_p,
    rate_interval,
    reachable_limit,
)

REPEATS = 400
LEAST = 0.93 - 2.5 * (0.93 * 0.07 / REPEATS) ** 0.5
"""A coverage of .93 falls below this in one of 160 simulations of so many data sets."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(28)


@pytest.mark.parametrize("true", [0.5, 0.75, 0.9, 0.97, 0.995])
@pytest.mark.parametrize(("items", "phrases"), [(24, 3), (24, 6), (12, 4)])
@pytest.mark.parametrize("share", [0.03, 0.27])
def test_auroc_intervals_cover(
    rng: np.random.Generator, true: float, items: int, phrases: int, share: float
) -> None:
    distance = stats.norm.ppf(true) * np.sqrt(2 * (0.49 + share + 0.16))
    covered = 0
    for _ in range(REPEATS):
        by_item = rng.normal(size=(items, 1)) * 0.7
        positive, negative = (
            by_item
            + rng.normal(size=(1, phrases)) * share**0.5
            + rng.normal(size=(items, phrases)) * 0.4
            for _ in range(2)
        )
        low, high = auroc_interval(positive + distance, negative)
        covered += low <= true <= high
        assert low < high
    assert covered / REPEATS >= LEAST


@pytest.mark.parametrize("true", [0.5, 0.9])
@pytest.mark.parametrize(("by_phrase", "by_arm"), [(0.27, 0.02), (0.0, 0.2)])
@pytest.mark.parametrize("phrases", [1, 6])
def test_auroc_intervals_cover_where_phrases_are_crossed_with_frames(
    rng: np.random.Generator, true: float, by_phrase: float, by_arm: float, phrases: int
) -> None:
    # One phrase is the same in all data sets: the interval is about it.
    by_phrase *= phrases > 1
    distance = stats.norm.ppf(true) * np.sqrt(2 * (0.49 + 0.3 + by_phrase + by_arm + 0.16))
    covered = 0
    for _ in range(REPEATS):
        shared = rng.normal(size=(24, 1, 1)) * 0.7 + rng.normal(size=(1, 1, 5)) * 0.3**0.5
        positive, negative = (
            shared
            + rng.normal(size=(1, phrases, 1)) * by_phrase**0.5
            + rng.normal(size=(1, 1, 5)) * by_arm**0.5
            + rng.normal(size=(24, phrases, 5)) * 0.4
            for _ in range(2)
        )
        low, high = auroc_interval(positive + distance, negative)
        covered += low <= true <= high
    assert covered / REPEATS >= LEAST


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.97])
@pytest.mark.parametrize(("items", "seeds"), [(12, 4), (24, 1), (24, 4), (24, 12)])
@pytest.mark.parametrize("correlation", [0.05, 0.5])
def test_rate_intervals_cover_and_stay_narrow(
    rng: np.random.Generator, rate: float, items: int, seeds: int, correlation: float
) -> None:
    scale = (1 - correlation) / correlation
    intervals = []
    for _ in range(2 * REPEATS):
        by_item = rng.beta(rate * scale, (1 - rate) * scale, size=(items, 1))
        outcomes = (rng.random((items, seeds)) < by_item).astype(float)
        intervals.append(rate_interval(outcomes))
    low, high = np.transpose(intervals)
    assert ((low <= rate) & (rate <= high)).mean() >= LEAST
    assert (low < high).all()
    # Beside the interval of as many independent cells as vary as much, with the known correlation.
    effective = items * seeds / (1 + (seeds - 1) * correlation)
    error = (rate * (1 - rate) / effective) ** 0.5
    widest = 2 * stats.t.ppf(0.975, items - 1) * error
    assert (high - low).mean() <= 1.5 * widest + 3 / effective


@pytest.mark.parametrize(("items", "templates", "seeds"), [(24, 4, 1), (24, 8, 2), (12, 6, 4)])
@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0])
def test_templates_of_a_rate_are_random_too(
    rng: np.random.Generator, items: int, templates: int, seeds: int, spread: float
) -> None:
    true = 0.7
    # Probit scale, with items of variance 1/4.
    center = stats.norm.ppf(true) * (1.25 + spread**2) ** 0.5
    covered = 0
    for _ in range(REPEATS):
        latent = center + 0.5 * rng.normal(size=(items, 1, 1))
        latent = latent + spread * rng.normal(size=(1, templates, 1))
        outcomes = (latent + rng.normal(size=(items, templates, seeds)) > 0).astype(float)
        low, high = rate_interval(outcomes, templates=True)
        covered += low <= true <= high
    assert covered / REPEATS >= LEAST


def test_p_of_a_change_is_the_level_at_which_its_interval_ends_at_0(
    rng: np.random.Generator,
) -> None:
    before = (rng.random((24, 4, 5)) < 0.2).astype(float)
    after = np.maximum(before, rng.random((24, 4, 5)) < np.array([0.0, 0.05, 0.1, 0.2, 0.9]))
    p = change_p(after, before)
    assert p[0] == 1
    assert (np.diff(p) < 0).all()
    for label in range(1, 5):
        pair = after[..., [label]], before[..., [label]]
        assert change_interval(*pair, level=1 - p[label] * 1.001)[0] > -1e-6
        assert change_interval(*pair, level=1 - p[label] * 0.9)[0] < 0


@pytest.mark.parametrize(("items", "seeds"), [(12, 4), (24, 1), (24, 4), (48, 1)])
def test_limits_of_labels_that_do_not_change_are_within_what_is_reachable(
    rng: np.random.Generator, items: int, seeds: int
) -> None:
    shape = (items, seeds, REPEATS)
    by_item = rng.beta(0.7, 1.63, size=(items, 1, REPEATS))
    before, fresh = (rng.random(shape) < by_item for _ in range(2))
    after = np.where(rng.random(shape) < 0.7, before, fresh)
    pair = after.astype(float), before.astype(float)
    low, high = change_interval(*pair, level=0.9)
    reachable = np.median(reachable_limit(*pair))
    assert 0.85 <= (np.maximum(high, -low) <= reachable).mean() <= 1
    # Not more than is needed either: half of it would not do.
    assert (np.maximum(high, -low) <= reachable / 2).mean() < 0.5


@pytest.mark.parametrize(("rate", "change"), [(0.03, 0.0), (0.03, 0.1), (0.3, 0.2), (0.02, 0.9)])
@pytest.mark.parametrize(("items", "seeds"), [(24, 1), (24, 4), (12, 4)])
def test_intervals_of_changes_cover(
    rng: np.random.Generator, rate: float, change: float, items: int, seeds: int
) -> None:
    scale = 0.7 / 0.3
    by_item = rng.beta(rate * scale, (1 - rate) * scale, size=(items, 1, REPEATS))
    before, fresh = (rng.random((items, seeds, REPEATS)) < by_item for _ in range(2))
    after = np.where(rng.random(before.shape) < 0.7, before, fresh)
    after |= rng.random(before.shape) < change / (1 - rate)
    low, high = change_interval(after.astype(float), before.astype(float))
    assert ((low <= change) & (change <= high)).mean() >= LEAST - 0.01
    assert (low < high).all()


@pytest.mark.parametrize(
    ("values", "chances"),
    [
        ((1.0, 0.6, 0.5), (0.67, 0.2, 0.13)),
        ((1.0, 0.0), (0.9, 0.1)),
        ((-0.5, 0.0, 0.5, 1.0), (0.1, 0.4, 0.3, 0.2)),
    ],
)
@pytest.mark.parametrize("count", [12, 24])
def test_intervals_of_shares_cover(
    rng: np.random.Generator, values: tuple[float, ...], chances: tuple[float, ...], count: int
) -> None:
    true = float(np.dot(values, chances))
    intervals = [share_interval(rng.choice(values, size=count, p=chances)) for _ in range(REPEATS)]
    assert np.mean([low <= true <= high for low, high in intervals]) >= LEAST


def test_no_interval_has_zero_width() -> None:
    ones, zeros = np.ones((24, 4)), np.zeros((24, 4))
    for low, high in (rate_interval(ones), rate_interval(zeros), share_interval(np.zeros(12))):
        assert low < high
    assert auroc_interval(ones, zeros)[0] < 1.0
    assert auroc_interval(zeros, ones)[1] > 0.0
    low, high = change_interval(ones[..., None], ones[..., None])
    assert low < 0 < high


@pytest.mark.parametrize("seeds", [1, 4])
def test_outcomes_that_all_stay_do_not_show_that_nothing_changes(seeds: int) -> None:
    outcomes = np.zeros((24, seeds, 1))
    outcomes[:12] = 1
    low, high = change_interval(outcomes, outcomes)
    # No change in 24 items happens in .17 at a change of .07.
    assert low < -0.07 < 0.07 < high or seeds > 1
    assert low < -0.02 < 0.02 < high


@pytest.mark.parametrize(("items", "seeds"), [(12, 1), (24, 1), (24, 4)])
def test_intervals_of_changes_that_go_one_way_cover(
    rng: np.random.Generator, items: int, seeds: int
) -> None:
    by_item = rng.beta(1 / 3, 1 / 3, size=(items, 1, 2 * REPEATS))
    before = rng.random((items, seeds, 2 * REPEATS)) < by_item
    after = before | (rng.random(before.shape) < 0.16)
    low, high = change_interval(after.astype(float), before.astype(float))
    assert ((low <= 0.08) & (high >= 0.08)).mean() >= LEAST


def test_missing_values_give_nan() -> None:
    values = np.full((24, 4), 0.5)
    values[3, 1] = np.nan
    for interval in (
        auroc_interval(values, np.zeros((24, 4))),
        auroc_interval(np.zeros((24, 4)), values),
        rate_interval(values),
        share_interval(values[:, 1]),
    ):
        assert np.isnan(interval).all()


@pytest.mark.parametrize("rows", [0, 1])
def test_one_item_is_refused(rows: int) -> None:
    values = np.zeros((rows, 4))
    for interval in (lambda: auroc_interval(values, values), lambda: rate_interval(values)):
        with pytest.raises(EvidenceError):
            interval()


def test_an_interval_of_a_clear_auroc_excludes_chance_as_its_test_does() -> None:
    rng = np.random.default_rng(8)
    disagree = 0
    for _ in range(100):
        items = rng.normal(size=(24, 1)) * 0.7
        arms = [
            items + rng.normal(size=(1, 6)) * 0.52 + rng.normal(size=(24, 6)) * 0.4
            for _ in range(2)
        ]
        arms[0] += 1.76
        ranks = pooled_midranks(*(arm[..., None, None] for arm in arms))
        p = arm_test(*ranks).p[0]
        low, high = auroc_interval(arms[0], arms[1], level=1 - 2 * 0.0025)
        assert low < high
        # The test is of ranks, the interval of placements: they may differ at the margin.
        disagree += (p <= 0.0025) != (low > 0.5)
        mirrored = auroc_interval(arms[1], arms[0], level=1 - 2 * 0.0025)
        assert mirrored == pytest.approx((1 - high, 1 - low))
    assert disagree <= 5
