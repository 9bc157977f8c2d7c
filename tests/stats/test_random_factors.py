"""The level of the tests where nothing differs, and their power where something does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats.multiple_testing import benjamini_hochberg
from clerestory.stats.random_factors import (
    arm_test,
    cell_test,
    df_cap,
    pooled_midranks,
    power_effect,
)

UNITS = 4_000


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(27)


def effects(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Random effects of variance 1."""
    if kind == "t3":
        return rng.standard_t(3, size=shape) / np.sqrt(3)
    if kind == "skewed":
        return (rng.gamma(0.15, size=shape) - 0.15) / np.sqrt(0.15)
    return rng.normal(size=shape)


def arm(
    rng: np.random.Generator, kind: str, items: np.ndarray, phrases: int, share: float
) -> np.ndarray:
    """`[item, phrase, 1, unit]` of an arm whose phrases have `share` of the variance."""
    count, units = items.shape[0], items.shape[-1]
    by_item = rng.normal(size=(count, 1, 1, units)) * 0.16
    by_phrase = effects(kind, rng, (1, phrases, 1, units)) * share**0.5
    cells = effects(kind, rng, (count, phrases, 1, units)) * 0.4
    return np.asarray(items + by_item + by_phrase + cells)


@pytest.mark.parametrize("kind", ["normal", "t3", "skewed"])
@pytest.mark.parametrize(("phrases", "others"), [(2, 2), (4, 4), (6, 6), (3, 10)])
@pytest.mark.parametrize("share", [0.0, 0.27])
def test_neutral_phrases_are_found_to_differ_no_more_often_than_the_level(
    rng: np.random.Generator, kind: str, phrases: int, others: int, share: float
) -> None:
    items = rng.normal(size=(24, 1, 1, UNITS)) * 0.7
    p = arm_test(arm(rng, kind, items, phrases, share), arm(rng, kind, items, others, share)).p
    assert (p <= 0.05).mean() < 0.06
    # The tail matters more: twenty picks are tested at once.
    assert (p <= 0.0025).mean() < 0.005


def test_ignoring_the_templates_would_find_a_third_of_neutral_phrases(
    rng: np.random.Generator,
) -> None:
    items = rng.normal(size=(24, 1, 1, UNITS)) * 0.7
    positive, negative = (arm(rng, "normal", items, 6, 0.27) for _ in range(2))
    difference = positive.mean((1, 2)) - negative.mean((1, 2))
    assert (
        stats.ttest_1samp(difference, 0, axis=0, alternative="greater").pvalue < 0.05
    ).mean() > 0.3


@pytest.mark.parametrize("variance", [0.0, 0.05, 0.3])
def test_frames_that_both_arms_share_are_random_too(
    rng: np.random.Generator, variance: float
) -> None:
    items = rng.normal(size=(24, 1, 1, UNITS)) * 0.7
    frames = rng.normal(size=(1, 1, 4, UNITS))
    arms = []
    for _ in range(2):
        by_frame = frames + rng.normal(size=(1, 1, 4, UNITS)) * variance**0.5
        arms.append(arm(rng, "normal", items, 6, 0.1) + by_frame)
    assert (arm_test(arms[0], arms[1]).p <= 0.05).mean() < 0.06


def test_one_phrase_an_arm_is_tested_over_its_frames(rng: np.random.Generator) -> None:
    frames = rng.normal(size=(1, 1, 6, UNITS))
    arms = [frames + rng.normal(size=(24, 1, 6, UNITS)) for _ in range(2)]
    assert (arm_test(arms[0], arms[1]).p <= 0.05).mean() < 0.06
    assert arm_test(arms[0] + 3, arms[1]).p.max() < 0.001


@pytest.mark.parametrize(("phrases", "power"), [(6, 0.93), (4, 0.8)])
def test_a_planted_difference_is_found(
    rng: np.random.Generator, phrases: int, power: float
) -> None:
    items = rng.normal(size=(24, 1, 1, UNITS)) * 0.7
    positive, negative = (arm(rng, "normal", items, phrases, 0.27) for _ in range(2))
    # 1.28 standard deviations of the difference of two samples: an AUROC of .90.
    shift = 1.2816 * np.sqrt(2 * (0.49 + 0.0256 + 0.27 + 0.16))
    assert (arm_test(positive + shift, negative).p <= 0.05).mean() > power


def test_unpaired_items_are_compared_by_welch(rng: np.random.Generator) -> None:
    positive = rng.normal(size=(20, 5, 1, UNITS)) + rng.normal(size=(20, 1, 1, UNITS))
    negative = 2 * (rng.normal(size=(35, 5, 1, UNITS)) + rng.normal(size=(35, 1, 1, UNITS)))
    assert (arm_test(positive, negative, paired=False).p <= 0.05).mean() < 0.06


def test_with_no_variance_over_templates_the_statistic_is_that_of_the_items() -> None:
    by_item = np.random.default_rng(0).normal(1, 1, size=(24, 1))
    positive = np.repeat(by_item[:, None, None, :], 4, axis=1)
    test = arm_test(positive, np.zeros_like(positive))
    expected = stats.ttest_1samp(by_item, 0, axis=0, alternative="greater")
    assert test.difference / test.error == pytest.approx(expected.statistic)
    # With four templates the degrees of freedom are capped at 6.
    assert test.df[0] == 6


def test_the_power_effect_is_found_in_the_share_of_repetitions_that_it_says(
    rng: np.random.Generator,
) -> None:
    items = rng.normal(size=(24, 1, 1, UNITS)) * 0.7
    positive, negative = (arm(rng, "normal", items, 6, 0.27) for _ in range(2))
    effect = float(np.median(power_effect(arm_test(positive, negative))))
    assert (arm_test(positive + effect, negative).p <= 0.05).mean() == pytest.approx(0.8, abs=0.07)


def test_missing_values_give_nan_and_constant_units_no_evidence() -> None:
    positive, negative = np.ones((4, 3, 1, 3)), np.ones((4, 3, 1, 3))
    positive[0, 0, 0, 0] = np.nan
    positive[..., 2] = 2
    assert np.isnan(arm_test(positive, negative).p).tolist() == [True, False, False]
    assert arm_test(positive, negative).p[1:].tolist() == [1.0, 0.0]


@pytest.mark.parametrize(("positive", "negative"), [((1, 6), (1, 6)), ((24, 6), (23, 6))])
def test_one_item_and_unequal_pairs_are_refused(
    positive: tuple[int, int], negative: tuple[int, int]
) -> None:
    with pytest.raises(EvidenceError):
        arm_test(np.zeros((*positive, 1, 2)), np.zeros((*negative, 1, 2)))


def test_one_phrase_and_one_frame_are_tested_over_items_alone(rng: np.random.Generator) -> None:
    positive, negative = rng.normal(0.5, 1, size=(2, 24, 1, 1, 5))
    expected = stats.ttest_rel(positive[:, 0, 0], negative[:, 0, 0], alternative="greater")
    np.testing.assert_allclose(arm_test(positive, negative).p, expected.pvalue)
    several = np.repeat(negative, 6, axis=1) + rng.normal(size=(24, 6, 1, 5))
    assert np.isfinite(arm_test(positive, several).p).all()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_differences_within_cells_keep_their_level(rng: np.random.Generator, share: float) -> None:
    items, templates = (codes.ravel() for codes in np.indices((12, 6)))
    # A third of the cells hold both sides.
    held = rng.permutation(72)[:40]
    differences = (
        rng.normal(size=(12, UNITS))[items] * share**0.5
        + rng.normal(size=(6, UNITS))[templates] * share**0.5
        + rng.normal(size=(72, UNITS))
    )[held]
    assert (cell_test(differences, items[held], templates[held]).p <= 0.05).mean() < 0.06
    assert (cell_test(differences + 2, items[held], templates[held]).p <= 0.05).mean() > 0.9


def test_midranks_are_those_of_both_arms_together() -> None:
    values = np.array([[1.0], [5.0]]), np.array([[3.0], [3.0], [9.0]])
    positive, negative = pooled_midranks(*values)
    expected = (stats.rankdata([1, 5, 3, 3, 9]) - 0.5) / 5
    np.testing.assert_allclose(np.concatenate([positive, negative]).ravel(), expected)


def framed(
    rng: np.random.Generator, phrases: int, frames: int, units: int, by_phrase: float, by_arm: float
) -> list[np.ndarray]:
    """Two arms `[item, phrase, frame, unit]` with shared frames, which vary by arm as well."""
    shared = rng.normal(size=(24, 1, 1, units)) * 0.7 + rng.normal(size=(1, 1, frames, units)) * 0.5
    return [
        shared
        + rng.normal(size=(1, phrases, 1, units)) * by_phrase**0.5
        + rng.normal(size=(1, 1, frames, units)) * by_arm**0.5
        + rng.normal(size=(24, phrases, frames, units)) * 0.4
        for _ in range(2)
    ]


@pytest.mark.parametrize(("by_phrase", "by_arm"), [(0.0, 0.2), (0.1, 0.2), (0.27, 0.1)])
def test_few_frames_that_vary_by_arm_are_found_no_more_often_than_the_level(
    rng: np.random.Generator, by_phrase: float, by_arm: float
) -> None:
    found = 0
    for _ in range(200):
        arms = framed(rng, 6, 4, 20, by_phrase, by_arm)
        found += (benjamini_hochberg(arm_test(*arms).p) <= 0.05).any()
    # At a rate of .07, 24 or more of 200 happen in one of 100 runs.
    assert found < 24


def test_frames_that_hardly_vary_cost_few_degrees_of_freedom() -> None:
    share = np.array([0.0, 0.1, 1.0])
    assert df_cap((6, 6), 4, share) == pytest.approx([10, 1 / (0.1 / 3 + 0.9 / 10), 3])
    assert df_cap((6, 6), 1, share).tolist() == [10, 10, 10]
    assert df_cap((3, 8), 1, share).tolist() == [2, 2, 2]
    assert df_cap((1, 1), 6, share).tolist() == [5, 5, 5]
    assert np.isinf(df_cap((1, 1), 1, share)).all()


def test_phrases_in_crossed_frames_are_no_more_templates_than_there_are_phrases(
    rng: np.random.Generator,
) -> None:
    units, items, phrases, frames = 2000, 24, 4, 6
    index = np.indices((items, phrases, frames)).reshape(3, -1)
    # What a phrase does to the side it does in all frames.
    differences = rng.normal(size=(phrases, units))[index[1]] + rng.normal(size=(576, units))
    test = cell_test(differences, index[0], index[1], index[2])
    assert (test.p <= 0.05).mean() < 0.06
    as_one = cell_test(differences, index[0], index[1] * frames + index[2])
    assert (as_one.p <= 0.05).mean() > 0.2
