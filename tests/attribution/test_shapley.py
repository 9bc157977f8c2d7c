import itertools
import math

import numpy as np
import pytest

from clerestory.attribution.shapley import (
    all_coalitions,
    exact_indices,
    sampled_coalitions,
    sampled_indices,
)


def brute_shapley(values, pieces):
    """Over all orders, what each piece adds when it comes."""
    found = np.zeros(pieces)
    for order in itertools.permutations(range(pieces)):
        there = 0
        for piece in order:
            found[piece] += values[there | 1 << piece] - values[there]
            there |= 1 << piece
    return found / math.factorial(pieces)


def brute_interactions(values, pieces):
    """The Shapley interaction index of each pair, which k-SII of order two is for pairs."""
    found = []
    for one, two in itertools.combinations(range(pieces), 2):
        rest = [piece for piece in range(pieces) if piece not in (one, two)]
        total = 0.0
        for size in range(len(rest) + 1):
            weight = math.factorial(size) * math.factorial(pieces - size - 2)
            weight /= math.factorial(pieces - 1)
            for others in itertools.combinations(rest, size):
                low = sum(1 << piece for piece in others)
                a, b = 1 << one, 1 << two
                total += weight * (
                    values[low | a | b] - values[low | a] - values[low | b] + values[low]
                )
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("pieces", [2, 3, 5])
@pytest.mark.parametrize("replicates", [1, 40])
def test_values_and_interactions_equal_brute_force(pieces, replicates):
    values = np.random.default_rng(pieces).normal(size=(replicates, 2**pieces))
    found = exact_indices(values)
    for row, game in enumerate(values):
        np.testing.assert_allclose(found.shapley[row], brute_shapley(game, pieces), atol=1e-9)
        np.testing.assert_allclose(
            found.interactions[row], brute_interactions(game, pieces), atol=1e-9
        )
    assert found.completeness_error <= 1e-6
    assert found.sampling_error == 0


def test_one_piece_adds_the_total():
    found = exact_indices(np.array([[0.2, 0.9], [0.1, 0.5]]))
    np.testing.assert_allclose(found.shapley[:, 0], [0.7, 0.4])
    assert found.interactions.shape == (2, 0)


def test_coalitions_begin_with_none_and_end_with_all():
    every = all_coalitions(3)
    assert every.shape == (8, 3)
    assert not every[0].any()
    assert every[-1].all()
    assert every[1].tolist() == [True, False, False]


def test_eleven_pieces_are_sampled_with_an_error():
    pieces = 11
    rng = np.random.default_rng(0)
    brings, pair = rng.normal(size=pieces), 2.0

    def game(those):
        there = np.atleast_2d(those).astype(float)
        return there @ brings + pair * there[:, 0] * there[:, 1]

    found = sampled_indices([game] * 4, pieces, 256)
    wanted = brings + pair / 2 * (np.arange(pieces) < 2)
    np.testing.assert_allclose(found.shapley.mean(0), wanted, atol=0.05)
    assert found.interactions.mean(0)[found.pairs.index((0, 1))] == pytest.approx(pair, abs=0.1)
    assert found.completeness_error <= 1e-6
    noisy = sampled_indices([lambda those: game(those) ** 3] * 4, pieces, 64)
    assert noisy.sampling_error > found.sampling_error >= 0


def test_sampled_coalitions_lists_what_is_evaluated():
    pieces = 11
    known = {tuple(row) for half in sampled_coalitions(pieces, 64, 3) for row in half}

    def game(those):
        rows = np.atleast_2d(those).astype(bool)
        assert all(tuple(row) in known | ends for row in rows)
        return rows.sum(1).astype(float)

    ends = {tuple([here] * pieces) for here in (False, True)}
    games = [lambda those: np.atleast_2d(those).sum(1).astype(float)] * 3 + [game]
    assert sampled_indices(games, pieces, 64).shapley == pytest.approx(1.0)
