"""Baselines carry nothing of the concept, and their p-values keep their level."""

from __future__ import annotations

import numpy as np
import pytest

from clerestory.errors import EvidenceError
from clerestory.stats.baselines import (
    baseline_p,
    permuted_directions,
    random_directions,
    random_search_p,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(29)


def test_permuted_templates_cancel_the_concept(rng: np.random.Generator) -> None:
    concept = np.zeros(20)
    concept[0] = 50
    positive = rng.normal(size=(6, 20)) + concept
    directions = permuted_directions(positive, rng.normal(size=(8, 20)), 3.0, rng)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 3.0)
    # No more along the concept than along any other unit.
    assert np.abs(directions[:, 0]).mean() < 1.5 * np.abs(directions[:, 1:]).mean()


def test_random_directions_lie_where_activations_do(rng: np.random.Generator) -> None:
    basis = rng.normal(size=(3, 40))
    activations = rng.normal(size=(200, 3)) * [5.0, 2.0, 1.0] @ basis + 100
    directions = random_directions(activations, 2.0, rng, count=400)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 2.0)
    outside = directions - directions @ np.linalg.pinv(basis) @ basis
    assert np.abs(outside).max() < 1e-8
    shares = ((directions @ np.linalg.pinv(basis)) ** 2).mean(0)
    assert shares[0] > shares[1] > shares[2]


@pytest.mark.parametrize(("budget", "times"), [(50, 40), (200, 40), (50, 100)])
def test_a_random_search_beats_random_search_in_five_percent(
    rng: np.random.Generator, budget: int, times: int
) -> None:
    repeats, below = 2_000, 0
    for _ in range(repeats):
        scores = rng.random(budget * (times + 1))
        below += random_search_p(scores[:budget].max(), scores[budget:], budget) <= 0.05
    assert below / repeats <= 0.06


@pytest.mark.parametrize("higher", [0, 1, 5])
def test_the_closed_form_is_the_chance_of_a_new_search(
    rng: np.random.Generator, higher: int
) -> None:
    count, budget = 60, 7
    best = count - higher - 0.5
    expected = 1 - np.prod([(count - i) / (count + budget - i) for i in range(higher + 1)])
    assert random_search_p(best, np.arange(count, dtype=float), budget) == pytest.approx(expected)


def test_a_pool_that_is_too_small_cannot_show_anything() -> None:
    assert random_search_p(2.0, np.zeros(10), 10) > 0.4
    assert random_search_p(0.0, np.zeros(10), 10) == 1.0


def test_an_effect_is_never_surer_than_its_baselines_allow() -> None:
    assert baseline_p(1.0, np.zeros(99)) == 0.01
    assert baseline_p(0.0, np.zeros(99)) == 1.0
    assert np.isnan(baseline_p(1.0, np.array([0.0, np.nan])))


def test_what_has_no_direction_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(EvidenceError):
        permuted_directions(np.ones((1, 3)), np.ones((4, 3)), 1.0, rng)
    with pytest.raises(EvidenceError):
        permuted_directions(np.ones((4, 3)), np.ones((4, 3)), 1.0, rng)
    with pytest.raises(EvidenceError):
        random_directions(np.ones((9, 3)), 1.0, rng)
    with pytest.raises(EvidenceError):
        random_search_p(1.0, np.zeros(0), 10)
