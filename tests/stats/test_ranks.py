from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from clerestory.stats import auroc
from clerestory.stats.ranks import BLOCK


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.mark.parametrize("levels", [2, 5, 1_000_000])
def test_auroc_is_scipys_u_also_with_ties(rng: np.random.Generator, levels: int) -> None:
    positive = rng.integers(levels, size=(17, 40)).astype(float) + 0.3 * levels
    negative = rng.integers(levels, size=(23, 40)).astype(float)
    expected = stats.mannwhitneyu(positive, negative, axis=0).statistic / (17 * 23)
    np.testing.assert_allclose(auroc(positive, negative), expected, rtol=0, atol=1e-9)


def test_auroc_of_more_units_than_a_block_is_that_of_each(rng: np.random.Generator) -> None:
    positive, negative = rng.normal(size=(2, 6, BLOCK + 3)).astype(np.float32)
    whole = auroc(positive, negative)
    assert whole[BLOCK + 1] == auroc(positive[:, [BLOCK + 1]], negative[:, [BLOCK + 1]])[0]


def test_auroc_says_nothing_of_an_empty_side_or_a_missing_value() -> None:
    values = np.array([[1.0, np.nan], [2.0, 3.0]])
    assert np.isnan(auroc(values, values[:0])).all()
    assert np.isnan(auroc(values, values)).tolist() == [False, True]


def test_neighbouring_numbers_and_signed_zeros_are_ranked_exactly() -> None:
    one = 1.0
    after = np.nextafter(one, 2.0)
    again = np.nextafter(after, 2.0)
    positive = np.array([[after, again, -0.0, -one, np.inf, 5e-324]])
    negative = np.array([[one, after, 0.0, -after, 1e308, 0.0]])
    assert auroc(positive, negative).tolist() == [1.0, 1.0, 0.5, 1.0, 1.0, 1.0]
    assert auroc(negative, positive).tolist() == [0.0, 0.0, 0.5, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_auroc_is_scipys_at_every_precision(rng: np.random.Generator, dtype: type) -> None:
    positive, negative = rng.normal(size=(2, 40, 200)).astype(dtype)
    exact = (side.astype(np.float64) for side in (positive, negative))
    expected = stats.mannwhitneyu(*exact, axis=0).statistic / 1600
    np.testing.assert_allclose(auroc(positive, negative), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("levels", [2, 7, 1_000_000])
def test_auroc_is_scikit_learns_also_with_ties(rng: np.random.Generator, levels: int) -> None:
    positive = rng.integers(levels, size=(31, 25)).astype(float) + 0.2 * levels
    negative = rng.integers(levels, size=(19, 25)).astype(float)
    side = np.repeat([1, 0], [31, 19])
    expected = [
        metrics.roc_auc_score(side, unit) for unit in np.concatenate([positive, negative]).T
    ]
    np.testing.assert_allclose(auroc(positive, negative), expected, rtol=0, atol=1e-9)
