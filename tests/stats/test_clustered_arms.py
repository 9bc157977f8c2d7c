"""Tests and intervals of arms that are no grids, against Welch's and in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import EvidenceError
from clerestory.stats import clustered_arm_test, clustered_auroc_interval, pooled_midranks


def test_with_an_item_for_each_sample_the_error_is_welch_s() -> None:
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(1, 2, (15, 3)), rng.normal(0, 1, (60, 3))
    codes = np.arange(75)
    test = clustered_arm_test(positive, negative, (codes[:15], codes[15:]))
    welch = stats.ttest_ind(positive, negative, equal_var=False)
    assert test.difference / test.error == pytest.approx(welch.statistic)
    assert (test.df <= 14).all()


def test_samples_of_one_item_count_as_one() -> None:
    rng = np.random.default_rng(0)
    once = rng.normal(size=(20, 1))
    codes = np.arange(20)
    single = clustered_arm_test(once[:8], once[8:], (codes[:8], codes[8:]))
    many = clustered_arm_test(
        once[:8].repeat(9, 0), once[8:].repeat(9, 0), (codes[:8].repeat(9), codes[8:].repeat(9))
    )
    assert many.p == pytest.approx(single.p)


def test_what_an_item_adds_to_both_arms_cancels() -> None:
    rng = np.random.default_rng(0)
    items = 100 * rng.normal(size=(20, 1))
    positive, negative = (items + side + rng.normal(size=(20, 1)) for side in (1, 0))
    codes = np.arange(20)
    paired = stats.ttest_rel(positive[:, 0], negative[:, 0])
    test = clustered_arm_test(positive, negative, (codes, codes))
    assert test.difference / test.error == pytest.approx(paired.statistic)


@pytest.mark.parametrize(("words", "prompts", "templates"), [(12, 200, 0), (40, 200, 6)])
def test_noise_is_significant_no_more_often_than_the_level(
    words: int, prompts: int, templates: int
) -> None:
    rng = np.random.default_rng(0)
    significant, covered, trials = 0, 0, 400
    for _ in range(trials):
        values = rng.normal(size=prompts)
        codes = [np.arange(prompts)]
        order = rng.random(prompts)
        if templates:
            template = rng.integers(templates, size=prompts)
            # Templates raise the unit, and the word is more frequent in some of them.
            values += rng.normal(size=templates)[template]
            order += rng.random(templates)[template]
            codes.append(template)
        has_word = np.argsort(np.argsort(order)) < words
        arms = [(each[has_word], each[~has_word]) for each in codes]
        ranks = pooled_midranks(values[has_word][:, None], values[~has_word][:, None])
        significant += bool(clustered_arm_test(*ranks, *arms).p[0] <= 0.05)
        low, high = clustered_auroc_interval(values[has_word], values[~has_word], *arms)
        covered += bool(low <= 0.5 <= high)
    # Three standard deviations of a binomial share of 400.
    assert significant / trials < 0.05 + 0.033 and covered / trials > 0.95 - 0.033


def test_one_item_is_no_arm() -> None:
    values, codes = np.arange(4.0)[:, None], np.array([0, 0, 1, 2])
    with pytest.raises(EvidenceError, match="1 levels"):
        clustered_arm_test(values[:2], values[2:], (codes[:2], codes[2:]))
