"""Searches on spaces whose every score is known."""

from __future__ import annotations

import contextlib
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from scipy.stats import chisquare

from clerestory.errors import SearchError
from clerestory.maximization.base import BudgetSpentError, Problem, searches
from clerestory.maximization.maximize import pareto_front
from clerestory.maximization.moves import best_random, perturb
from clerestory.maximization.searches.gradient_metropolis import GradientMetropolis
from clerestory.maximization.searches.metropolis import Metropolis
from clerestory.maximization.space import Space
from maximization.planted import Planted

EVALUATIONS = 10_800
"""A twentieth of three words of sixty."""


def _best(name: str, seed: int) -> bool:
    """Whether a search comes by the optimum."""
    planted = Planted(60, 3, seed)
    problem, top = planted.problem(EVALUATIONS, seed), planted.all().max()
    with contextlib.suppress(BudgetSpentError):
        for _ in searches[name]().run(problem):
            if any(row.score >= top - 1e-9 for row in problem.trail[-64:]):
                return True
    return max(row.score for row in problem.trail) >= top - 1e-9


@pytest.mark.parametrize("name", ["metropolis", "gradient-metropolis", "evolve"])
def test_the_optimum_is_found_in_nineteen_of_twenty_with_a_twentieth_of_the_evaluations(name):
    assert sum(_best(name, seed) for seed in range(20)) >= 19


def test_random_does_not_find_it_and_exhaustive_always_does():
    assert sum(_best("random", seed) for seed in range(10)) <= 3
    planted = Planted(6, 3, 1)
    problem = planted.problem(216, 0)
    for _ in searches["exhaustive"]().run(problem):
        pass
    assert problem.spent == 216
    assert max(row.score for row in problem.trail) == pytest.approx(planted.all().max())
    with pytest.raises(SearchError, match="216 sequences and the budget is 215"):
        next(searches["exhaustive"]().run(planted.problem(215, 0)))


@pytest.mark.parametrize(
    "search",
    [
        Metropolis(chains=40, temperatures=1, coldest=1.0, hottest=1.0, burn_in=0, absolute=True),
        Metropolis(chains=20, temperatures=2, coldest=1.0, hottest=2.0, burn_in=0, absolute=True),
        GradientMetropolis(
            chains=40, temperatures=1, coldest=1.0, hottest=1.0, burn_in=0, absolute=True
        ),
    ],
    ids=["plain", "tempered", "gradient"],
)
def test_at_temperature_one_chains_visit_prompts_as_exp_of_the_score(search):
    planted = Planted(6, 3, 3, size=0.7)
    problem = planted.problem(100_000, 5)
    counts: Counter[str] = Counter()
    seen = _visited(search, problem, burn=200, thin=25, draws=60)
    counts.update(seen)
    odds = np.exp(planted.all().ravel())
    expected = odds / odds.sum() * len(seen)
    words = [planted.space.words(state) for state in planted.space.sequences()]
    got = np.array([counts[word] for word in words], float)
    few = expected < 5
    got, expected = (np.append(one[~few], one[few].sum()) for one in (got, expected))
    assert chisquare(got, expected).pvalue > 0.001


def test_insertions_and_deletions_are_corrected():
    """Of sequences that all score alike, each is as likely, short or long."""
    space = Space(("a", "b", "c"), 1, 3)
    flat = Problem(space, 10_000, np.random.default_rng(2), lambda texts: np.zeros(len(texts)))
    search = Metropolis(
        chains=40, temperatures=1, coldest=1.0, hottest=1.0, burn_in=0, absolute=True
    )
    seen = _visited(search, flat, burn=100, thin=40, draws=40)
    counts = Counter(len(text.split()) for text in seen)
    expected = np.array([3, 9, 27]) / 39 * len(seen)
    assert chisquare([counts[n] for n in (1, 2, 3)], expected).pvalue > 0.001


def _visited(search, problem: Problem, burn: int, thin: int, draws: int) -> list[str]:
    """Where the coldest chains are, now and then; the walk's own chains are looked at."""
    import clerestory.maximization.searches.metropolis as home

    kept: list = []
    initialize = home.Chains.initialize.__func__

    def watched(cls, how, given):
        kept.append(initialize(cls, how, given))
        return kept[0]

    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(home.Chains, "initialize", classmethod(watched))
        patch.setattr("clerestory.maximization.base.PATIENCE", 10**9)
        for turn, _ in enumerate(islice(search.run(problem), burn + thin * draws)):
            if turn >= burn and turn % thin == 0:
                chains = kept[0]
                seen += [
                    problem.space.words(s) for s in chains.states[:: len(chains.log_temperatures)]
                ]
    return seen


@pytest.mark.parametrize("name", sorted(set(searches) - {"exhaustive"}))
def test_a_seed_replays_a_search_and_the_budget_holds(name):
    trails = []
    for _ in range(2):
        problem = Planted(20, 3, 0).problem(400, 7)
        with contextlib.suppress(BudgetSpentError):
            list(searches[name]().run(problem))
        assert problem.spent <= 400
        assert len({row.prompt for row in problem.trail}) == len(problem.trail)
        trails.append(problem.trail)
    assert trails[0] == trails[1]


def test_the_ladder_is_frozen_after_burn_in_and_convergence_is_told():
    problem = Planted(30, 3, 0).problem(3000, 1)
    with contextlib.suppress(BudgetSpentError):
        list(Metropolis().run(problem))
    told = problem.diagnostics
    assert {"r_hat", "effective_sample_size", "acceptance_rate"} <= set(told)
    assert told["temperatures"] == sorted(told["temperatures"])
    assert 0.8 < told["r_hat"] < 2


def test_chains_begin_on_the_best_of_their_own_random_sequences():
    problem = Planted(30, 3, 0).problem(4000, 1)
    states, scores = best_random(problem, 2, 50, 3)
    assert problem.spent == len({row.prompt for row in problem.trail})
    own = [[row.score for row in problem.trail if row.chain == chain] for chain in (0, 1)]
    assert scores.reshape(2, 3)[:, 0].tolist() == [max(each) for each in own]
    assert (np.diff(scores.reshape(2, 3), axis=1) <= 0).all()
    assert problem.scores(states).tolist() == scores.tolist()


def test_a_refused_proposal_is_no_find_and_samples_are_where_chains_were():
    problem = Planted(30, 3, 0).problem(3000, 1)
    with contextlib.suppress(BudgetSpentError):
        list(Metropolis(chains=3).run(problem))
    taken, tried = set(problem.visits), set(problem.states.values())
    assert taken < tried
    assert {sample.chain for sample in problem.samples} == {0, 1, 2}
    words = {problem.space.words(state) for state in taken}
    assert {sample.words for sample in problem.samples} <= words


def test_a_search_without_a_gradient_says_so():
    problem = Planted(6, 3, 0).problem(50, 0)
    problem.gradient = None
    with pytest.raises(SearchError, match="no gradient"):
        list(searches["gradient"]().run(problem))


def test_what_is_banned_or_not_read_as_written_is_never_scored():
    space = Space(
        ("sta", "ined", "a", "GLASSY"),
        2,
        2,
        banned=("stained", "glass"),
        separator="",
        is_readable=lambda states, texts: [text != "aa" for text in texts],
    )
    states = [(0, 1), (0, 2), (2, 3), (2, 2), (2,)]
    assert space.valid(states) == [False, True, False, False, False]
    apart = Space(("rain", "bow", "x"), 1, 3, banned=("rainbow",))
    assert apart.valid([(0, 1), (0, 2, 1), (1, 0)]) == [False, True, True]
    rng = np.random.default_rng(0)
    problem = Problem(space, 10, rng, lambda texts: np.zeros(len(texts)))
    assert problem.scores(states).tolist() == [-np.inf, 0.0, -np.inf, -np.inf, -np.inf]
    assert (problem.spent, len(problem.trail)) == (1, 1)


def test_moves_give_the_other_way_its_due():
    space, rng = Space(("a", "b", "c", "d"), 1, 4), np.random.default_rng(0)
    for _ in range(200):
        state = space.random(rng)
        new, back = perturb(state, space, rng)
        assert back == pytest.approx((len(new) - len(state)) * np.log(4))


def test_the_front_is_what_nothing_beats_in_both():
    scores, fluency = np.array([3.0, 2.0, 2.5, 1.0]), np.array([-5.0, -2.0, -6.0, -1.0])
    assert pareto_front(scores, fluency) == [0, 1, 3]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"template": "no gap"}, "must have {words} in it"),
        ({"shortest": 0}, "0 to 2 words"),
        ({"vocabulary": ("a",)}, "two different words"),
        ({"banned": (" ",)}, "banned word is empty"),
    ],
)
def test_a_space_with_nothing_in_it_is_refused(how, words):
    with pytest.raises(SearchError, match=words):
        Space(**{"vocabulary": ("a", "b"), "shortest": 1, "longest": 2, **how})
