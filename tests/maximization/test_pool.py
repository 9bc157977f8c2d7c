"""A search beside a random search of its budget: simulated pools, small spaces, a tiny model."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tiny import tiny_model

from clerestory.evaluation import unit
from clerestory.maximization import MaximizationResult, MaximizedPrompt, maximize, maximize_units
from clerestory.maximization.base import BudgetSpentError, Problem
from clerestory.maximization.pool import draw_pool, pool_size
from clerestory.maximization.results import PoolScores, adjust_for_units
from clerestory.maximization.scoring import Scorer
from clerestory.maximization.searches.random import Random
from clerestory.maximization.space import Space
from clerestory.reporting.results import Provenance

BUDGET, POOL, SETS = 20, 800, 2000
SCORES = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy-tailed": lambda rng, shape: rng.standard_t(1, shape),
    "mostly silent": lambda rng, shape: np.maximum(rng.normal(size=shape) - 3, 0),
    "capped": lambda rng, shape: np.minimum(rng.normal(size=shape), 1.5),
}
UNIT = "text.blocks.0/mlp[3]"
WORDS = [*"abcdefghijklmnopqrstuvwxyz", "cat", "dog"]
PROMPTS = {"words": 2, "vocabulary": WORDS, "pictures": False, "progress": False}


def result_of(p: float = 0.03, *, pool: int = 800, evaluations: int = 20) -> MaximizationResult:
    best = MaximizedPrompt("a", "a", 1.0, 1.0, 0.0, 0.0, 0.0, 1, ())
    none = pd.DataFrame()
    return MaximizationResult(
        objective="a/b[3]", search="Random", evaluations=evaluations, budget=evaluations,
        stopped=False, status="undecided", p=p, q=p, units=1, best=(best,), front=(),
        pool=PoolScores(np.linspace(-1, 0, pool)), trail=none, samples=none, diagnostics={},
        provenance=Provenance("0", "m"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", SCORES)
def test_a_random_search_is_found_in_one_of_twenty_cases_at_most(kind):
    rng, found, any_of_five = np.random.default_rng(7), 0, 0
    for _ in range(SETS // 5):
        scores = SCORES[kind](rng, (5, BUDGET + POOL))
        p = [PoolScores(row[BUDGET:]).p(row[:BUDGET].max(), BUDGET) for row in scores]
        results = [result_of(value) for value in p]
        found += sum(value <= 0.05 for value in p)
        any_of_five += any(each.status == "found" for each in adjust_for_units(results))
    assert found / SETS <= 0.06
    assert any_of_five / (SETS // 5) <= 0.07


@pytest.mark.parametrize("pool", [20 * 6, 40 * 6])
def test_a_random_search_of_a_small_space_is_found_as_rarely(pool):
    """169 prompts, of which six are scored: the pool is most of the space, or all of it."""
    space = Space(tuple("abcdefghijklm"), 2, 2)
    prompts, complete = draw_pool(space, pool)
    assert complete == (pool >= 169) and len(prompts) == min(pool, 169)
    every = [space.text(state) for state in space.sequences()]
    found = 0
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        value = dict(zip(every, rng.normal(size=len(every)), strict=True))
        # The pool is one draw for all searches, so the scores are drawn anew for each.
        scores = PoolScores(np.array([value[prompt] for prompt in prompts]), complete)
        score = lambda texts, value=value: np.array([value[text] for text in texts])  # noqa: E731
        problem = Problem(space, 6, rng, score)
        with suppress(BudgetSpentError):
            list(Random().run(problem))
        found += scores.p(max(row.score for row in problem.trail), problem.spent) <= 0.05
    assert found / 1000 <= 0.07


def test_a_search_above_the_whole_pool_is_found_and_one_within_it_is_not():
    pool = PoolScores(np.arange(800.0))
    assert pool.p(900.0, 20) == pytest.approx(20 / 820)
    assert pool.p(700.0, 20) > 0.9
    assert PoolScores(np.arange(10.0), complete=True).p(9.0, 10) == 1, "the whole space was tried"


def test_a_pool_of_less_than_twenty_prompts_an_evaluation_is_undecided():
    assert result_of().with_pool(PoolScores(np.zeros(399))).status == "undecided"
    assert result_of().with_pool(PoolScores(np.zeros(400))).status == "found"
    assert result_of().with_pool(PoolScores(np.ones(400))).status == "not found"
    assert result_of().with_pool(PoolScores(np.zeros(30), complete=True)).status != "undecided"
    undecided = result_of().with_pool(PoolScores(np.zeros(399)))
    assert "needs 400 random prompts, there are 399" in undecided.summary()


def test_the_number_of_units_raises_q_and_a_status_follows_it():
    one, two = adjust_for_units([result_of(0.03), result_of(0.9)])
    assert (one.q, one.units, one.status) == (0.06, 2, "not found")
    assert two.status == "not found" and "q 0.06 over 2 units" in one.summary()
    assert adjust_for_units([result_of(0.03)])[0].status == "found"


def test_the_pool_is_random_prompts_each_once_and_a_larger_one_continues_it():
    space = Space(tuple(f"w{number}" for number in range(40)), 1, 3)
    small, large = draw_pool(space, 100)[0], draw_pool(space, 300)[0]
    assert large[:100] == small and len(set(large)) == 300
    tiny = Space(("a", "b", "c"), 1, 2, banned=("bc",))
    prompts, complete = draw_pool(tiny, 50)
    assert complete and len(prompts) == 11 and "b c" not in prompts


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def test_the_default_pool_is_forty_times_the_budget_where_the_text_encoder_alone_runs(model):
    assert pool_size(Scorer(model, unit(UNIT)), 300) == 12_000
    assert pool_size(Scorer(model, unit("prior/embedding[0]")), 300) == 500
    assert pool_size(Scorer(model, unit(UNIT)), 300, 7) == 7


def test_a_random_search_of_a_model_is_not_found_and_an_informed_one_is(model):
    options = {"budget": 18, "random_prompts": 360, **PROMPTS}
    every = [maximize(model, unit(UNIT), search="random", seed=s, **options) for s in range(12)]
    assert sum(each.status == "found" for each in every) <= 2
    best = max(every, key=lambda each: each.best[0].score)
    top = draw_pool_max(model)
    found = replace(best, best=(replace(best.best[0], fresh_score=top),)).with_pool(best.pool)
    assert found.p <= 0.1


def draw_pool_max(model):
    """The highest score of all prompts of the space."""
    prompts = [f"{one} {other}" for one in WORDS for other in WORDS]
    return float(Scorer(model, unit(UNIT))(prompts).max())


def test_scores_that_depend_on_seeds_are_compared_on_fresh_ones(model, tmp_path):
    aim = unit("prior/embedding[0]")
    scorer = Scorer(model, aim, (0, 1))
    fresh = scorer.fresh()
    assert len(fresh.seeds) == 2 and not set(fresh.seeds) & {0, 1}
    assert Scorer(model, unit(UNIT)).fresh().seeds == (0,), "a text site has no seeds"
    options = {"search": "random", "budget": 6, "random_prompts": 8, **PROMPTS}
    result = maximize(model, aim, seeds=(0, 1), out=tmp_path / "s", **options)
    first = result.best[0]
    assert first.score == pytest.approx(scorer([first.prompt])[0], abs=1e-5)
    assert first.fresh_score == pytest.approx(fresh([first.prompt])[0], abs=1e-5)
    assert first.fresh_score != first.score
    expected = fresh(pd.read_parquet(tmp_path / "s" / "fresh.parquet")["prompt"])
    assert np.isclose(result.pool.mean, expected[:8].mean(), atol=1e-5)
    assert first.z == pytest.approx(result.pool.z(first.fresh_score))
    assert result.status == "undecided" and "on fresh seeds" in result.summary()


def test_a_search_that_is_stopped_in_the_pool_keeps_its_prompts_and_scores_the_rest_later(
    model, tmp_path
):
    options = {"search": "random", "budget": 30, "random_prompts": 640, **PROMPTS}

    def stop(label, completed, total):
        if completed > 530:
            raise KeyboardInterrupt

    half = maximize(model, unit(UNIT), out=tmp_path / "s", **{**options, "progress": stop})
    assert half.stopped and half.evaluations == 30 and 500 < len(half.pool.scores) < 640
    whole = maximize(model, unit(UNIT), out=tmp_path / "s", **options)
    assert not whole.stopped and len(whole.pool.scores) == 640 and whole.status != "undecided"
    figures = json.loads((tmp_path / "s" / "maximization.json").read_text())
    assert figures["pool"]["prompts"] == 640 and not figures["pool"]["complete"]
    assert {"p", "q", "status", "budget"} <= set(figures)


def test_units_share_a_pool_and_are_corrected_for_their_number(model, tmp_path):
    units = [f"text.blocks.0/mlp[{number}]" for number in range(3)]
    options = {"search": "random", "budget": 10, "random_prompts": 200, **PROMPTS}
    results = maximize_units(model, units, out=tmp_path, **options)
    alone = maximize(model, units[1], **options)
    assert [each.objective for each in results] == [f"{each} (last)" for each in units]
    np.testing.assert_allclose(results[1].pool.scores, alone.pool.scores, atol=1e-5)
    assert results[1].p == alone.p and results[1].q >= alone.p
    assert {each.units for each in results} == {3}
    loaded = [MaximizationResult.load(folder) for folder in sorted(tmp_path.iterdir())]
    assert [each.q for each in loaded] == [each.q for each in results]
