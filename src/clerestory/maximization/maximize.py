"""Which prompts excite a unit most? A search, held to random prompts of the same space.

found = maximize(model, unit("text.blocks.2/mlp[311]"), search="metropolis", budget=5_000)
found.best[0].prompt, found.best[0].z
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError, SiteError
from clerestory.evaluation.objectives import Objective, parse_objective
from clerestory.maximization.base import Problem, Row, Search, SpentError, known_searches
from clerestory.maximization.fluency import Fluent, caption_bigrams, language_model
from clerestory.maximization.forecast import Announce, measured
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt, Null
from clerestory.maximization.scoring import Scorer, Slope
from clerestory.maximization.searches.evolve import front
from clerestory.maximization.searches.metropolis import started
from clerestory.maximization.space import Space, State, words_of
from clerestory.maximization.trail import Trail
from clerestory.models import Model

__all__ = ["Progress", "maximize", "named_search"]

Progress = Callable[[int, int], None]
SAVED = 15.0
"""Seconds between two savings of the trail."""


def maximize(
    model: Model,
    objective: Objective | str,
    *,
    search: str | Search = "metropolis",
    budget: int = 20_000,
    space: Space | None = None,
    fluency: float = 0.0,
    fluent: Fluent | str | None = None,
    seeds: int | Sequence[int] = 0,
    seed: int = 0,
    null: int = 500,
    best: int = 8,
    batch: int = 64,
    draw: bool = True,
    out: Path | None = None,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> MaximizationResult:
    """Search a `space` of prompts (three words, by default) for those with the highest objective.

    `budget` counts prompts that are scored; a gradient counts as two. `fluency` weighs how likely
    the words are, in standard deviations of random prompts' scores a nat; `fluent` says how likely,
    by default bigrams of Lancet's captions, or a causal language model by its name. `seeds` are
    drawn with where the objective is not of the text alone; a classifier answers with its set a.
    `seed` replays the search. `null` random prompts, which `progress` counts too, are what it is
    held to, and the first `best` different prompts are shown. `announce` is told, before the search
    begins, what it will take. With `out` the trail is kept as it grows, and the result before its
    pictures are drawn: the same call, after a kill or Ctrl-C, goes on. SearchError for what cannot
    be searched.
    """
    aim = parse_objective(objective) if isinstance(objective, str) else objective
    place = space or words_of(model)
    how = named_search(search)
    if budget < 1 or null < 2:
        raise SearchError(f"A budget of {budget} and {null} random prompts are too few.")
    likely = _fluent(model, fluency, fluent)
    scorer = Scorer(model, aim, check_of(seeds), batch)
    trail = Trail(out, _plan(model, aim, place, how, seed, fluency, scorer))
    scorer.known |= trail.known()
    problem = Problem(
        place, budget, np.random.default_rng(seed), scorer, slope=_slope(scorer, place)
    )
    random = _null(problem, scorer, null, trail, announce, progress)
    problem.scale, problem.weight = random.sd or 1.0, fluency * (random.sd or 1.0)
    problem.fluency = likely
    stopped = _run(how, problem, trail, scorer, null, progress)
    result = _result(aim, how, problem, scorer, random, best, stopped)
    if out is not None:
        result.save(out)
    return _drawn(result, model, scorer) if draw else result


def named_search(search: str | Search) -> Search:
    """The search of a name, with its usual settings; RegistryError where there is none."""
    return known_searches()[search]() if isinstance(search, str) else search


def check_of(seeds: int | Sequence[int]) -> list[int]:
    """The seeds as numbers."""
    from clerestory.models.core.seeds import check_seeds

    return list(check_seeds(seeds))


def _plan(
    model: Model,
    aim: Objective,
    space: Space,
    how: Search,
    seed: int,
    fluency: float,
    scorer: Scorer,
) -> dict[str, Any]:
    """What a trail is of: with another of these it does not go on."""
    return {
        "model": model.name,
        "revision": model.revision,
        "objective": aim.name,
        "mark": aim.mark,
        "search": repr(how),
        "seed": seed,
        "seeds": list(scorer.seeds),
        "template": space.template,
        "words": [space.shortest, space.longest],
        "vocabulary": hashlib.sha256("\n".join(space.vocabulary).encode()).hexdigest()[:16],
        "banned": list(space.banned),
        "fluency": fluency,
    }


def _slope(scorer: Scorer, space: Space) -> Slope | None:
    try:
        return Slope(scorer, space)
    except (SearchError, SiteError, NotImplementedError):  # the last: weights that wait elsewhere
        return None


def _null(
    problem: Problem,
    scorer: Scorer,
    count: int,
    trail: Trail,
    announce: Announce | None,
    progress: Progress | None,
) -> Null:
    """Random valid prompts, by a generator of their own; SearchError for scores that are none."""
    rng = np.random.default_rng([0, count])
    lone = Problem(problem.space, count, rng, scorer)
    texts = [problem.space.text(state) for state in started(lone, count)]
    try:
        forecast = measured(scorer, texts, problem.budget + count)
        if announce is not None and forecast is not None:
            announce(forecast)
        for start in range(0, count, scorer.batch):
            scorer(texts[start : start + scorer.batch])
            trail.keep(scorer.known, every=SAVED)
            if progress is not None:
                progress(min(start + scorer.batch, count), count + problem.budget)
    finally:
        trail.keep(scorer.known)
    scores = scorer(texts)
    if not np.isfinite(scores).all():
        raise SearchError("Random prompts have scores that are not finite: nothing compares them.")
    return Null(scores)


def _fluent(model: Model, weight: float, fluent: Fluent | str | None) -> Fluent | None:
    if fluent is None and weight == 0:
        return None
    if fluent is None:
        bigrams = caption_bigrams(model.profile)
        if bigrams is None:
            raise SearchError(
                "Fluency needs a language model: this model's profile has no captions. Name one."
            )
        return bigrams
    return language_model(fluent) if isinstance(fluent, str) else fluent


def _run(
    how: Search,
    problem: Problem,
    trail: Trail,
    scorer: Scorer,
    null: int,
    progress: Progress | None,
) -> bool:
    """Whether it was stopped; what was scored until then is kept."""
    try:
        for spent in how.run(problem):
            if progress is not None:
                progress(null + spent, null + problem.budget)
            trail.keep(scorer.known, every=SAVED)
    except SpentError:
        pass
    except KeyboardInterrupt:
        return True
    finally:
        trail.keep(scorer.known)
    return False


def _result(
    aim: Objective,
    how: Search,
    problem: Problem,
    scorer: Scorer,
    null: Null,
    best: int,
    stopped: bool,
) -> MaximizationResult:
    import pandas as pd

    if not problem.trail:
        raise SearchError("Nothing was scored: the budget is too small, or it was stopped at once.")
    table = pd.DataFrame([vars(row) for row in problem.trail])
    total = table["score"] + problem.weight * table["fluency"]
    order = np.argsort(-total.to_numpy(), kind="stable")
    chosen = _different([problem.states[row.prompt] for row in problem.trail], order, best)
    edge: list[int] = []
    if problem.fluency is not None:
        edge = front(table["score"].to_numpy(), table["fluency"].to_numpy())[: 2 * best]

    def told(at: int) -> MaximizedPrompt:
        row = problem.trail[at]
        return _told(row, problem.states[row.prompt], problem, scorer, null)

    return MaximizationResult(
        objective=aim.name,
        search=type(how).__name__,
        evaluations=problem.spent,
        budget=problem.budget,
        stopped=stopped,
        best=tuple(map(told, chosen)),
        front=tuple(map(told, edge)),
        null=null,
        trail=table,
        samples=pd.DataFrame(
            [vars(one) for one in problem.samples], columns=["chain", "draw", "words", "score"]
        ),
        about=problem.about,
    )


def _told(row: Row, state: State, problem: Problem, scorer: Scorer, null: Null) -> MaximizedPrompt:
    return MaximizedPrompt(
        prompt=row.prompt,
        words=row.words,
        score=row.score,
        z=null.z(row.score),
        percentile=null.percentile(row.score),
        fluency=row.fluency,
        chains=len(problem.visits.get(state, {0})),
        without=_without(problem.space, scorer, state, row.score),
    )


def _different(states: Sequence[State], order: NDArray[np.integer], count: int) -> list[int]:
    """The best places of which no two have all words but one in common; of single words, any."""
    chosen: list[int] = []
    bags: list[Counter[int]] = []
    for at in order.tolist():
        bag = Counter(states[at])
        shared = [min(bag.total() - 1, 1) for _ in bags]
        apart = [max((bag - other).total(), (other - bag).total()) for other in bags]
        if all(far > near for far, near in zip(apart, shared, strict=True)):
            chosen.append(at)
            bags.append(bag)
        if len(chosen) == count:
            break
    return chosen


def _without(
    space: Space, scorer: Scorer, state: State, score: float
) -> tuple[tuple[str, float], ...]:
    """What the score loses without each word; none for a single one, which leaves nothing."""
    if len(state) < 2:
        return ()
    less = [(*state[:at], *state[at + 1 :]) for at in range(len(state))]
    scores = scorer([space.text(one) for one in less])
    return tuple(
        (space.vocabulary[word].strip(), float(score - rest))
        for word, rest in zip(state, scores, strict=True)
    )


def _drawn(result: MaximizationResult, model: Model, scorer: Scorer) -> MaximizationResult:
    from dataclasses import replace

    seeds = range(4) if scorer.noiseless else scorer.seeds
    run = model.run([one.prompt for one in result.best], list(seeds))
    assert run.pictures is not None
    shape = (len(result.best), len(seeds), *run.pictures.shape[1:])
    return replace(result, pictures=run.pictures.reshape(shape))
