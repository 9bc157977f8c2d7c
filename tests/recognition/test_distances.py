"""The statistics of a pool of names, on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from clerestory.recognition.distances import consistencies, deviations, distances, first_name_p

NAMES, CONTEXTS, UNITS = 100, 3, 12


def pool(rng):
    """Names that differ for no reason: skewed rates with a share of every name's own, and noise."""
    own = rng.gamma(0.3, size=(NAMES, 1, UNITS))
    rates = own + rng.gamma(0.3, size=(NAMES, CONTEXTS, UNITS))
    return [rates, rng.normal(size=(NAMES, CONTEXTS, 5))]


def test_p_is_uniform_where_the_phrase_is_one_like_its_controls():
    rng = np.random.default_rng(0)
    found = [first_name_p(distances(deviations(pool(rng)))) for _ in range(600)]
    counts = np.bincount(np.ceil(np.array(found) * 10 - 1e-9).astype(int) - 1, minlength=10)
    assert stats.chisquare(counts).pvalue > 0.01
    assert np.mean(np.array(found) <= 0.01) < 0.025, "one in a hundred, but for chance"


def test_which_name_is_asked_about_changes_no_distance():
    blocks = pool(np.random.default_rng(1))
    order = np.roll(np.arange(NAMES), 7)
    far = distances(deviations(blocks))
    assert distances(deviations([one[order] for one in blocks])) == pytest.approx(far[order])


@pytest.mark.parametrize("block", [0, 1])
def test_a_planted_deviation_has_the_least_p_there_is_in_whichever_block(block):
    blocks = pool(np.random.default_rng(2))
    blocks[block][0] += 15 * blocks[block].std((0, 1)) * np.eye(blocks[block].shape[2])[0]
    away = deviations(blocks)
    assert first_name_p(distances(away)) == 0.01
    assert consistencies(away)[0] > 0.9


def test_a_deviation_that_turns_with_the_context_is_averaged_away():
    blocks = [np.zeros((NAMES, 2, 1))]
    blocks[0][0] = [[1.0], [-1.0]]
    away = deviations(blocks)
    assert distances(away)[0] == pytest.approx(0)
    assert consistencies(away)[0] == pytest.approx(-1)


def test_consistency_is_one_for_equal_deviations_and_about_none_for_random_ones():
    rng = np.random.default_rng(3)
    same = np.repeat(rng.normal(size=(50, 1, 40)), 4, axis=1)
    assert consistencies(same) == pytest.approx(1)
    assert abs(consistencies(rng.normal(size=(50, 4, 40))).mean()) < 0.03
    assert np.isnan(consistencies(same[:, :1])).all()


def test_blocks_count_alike_whatever_their_units():
    blocks = pool(np.random.default_rng(4))
    scaled = [blocks[0] * 1000, blocks[1]]
    assert distances(deviations(scaled)) == pytest.approx(distances(deviations(blocks)))


def test_names_that_are_all_the_same_lie_nowhere():
    away = deviations([np.ones((NAMES, 2, 3))])
    assert not distances(away).any() and first_name_p(distances(away)) == 1.0
