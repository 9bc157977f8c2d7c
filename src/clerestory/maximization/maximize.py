"""Which prompts maximize a unit? A search, compared with random prompts of the same space.

result = maximize(model, "text.blocks.2/mlp[311]", search="metropolis", budget=5_000)
result.best[0].prompt, result.best[0].z
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts import Findings
from clerestory.errors import SearchError, SiteError
from clerestory.evaluation.objectives import Objective, parse_objective
from clerestory.maximization.base import BudgetSpentError, Problem, Search, searches
from clerestory.maximization.fluency import Fluency, language_model
from clerestory.maximization.moves import random_valid
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt, NullScores
from clerestory.maximization.scoring import Announce, ObjectiveGradient, Scorer, forecast
from clerestory.maximization.space import WORDS, Space, State, prompt_space
from clerestory.maximization.trail import Trail
from clerestory.maximization.vocabularies import caption_bigrams
from clerestory.models import Model
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Progress, ProgressOption

__all__ = ["maximize", "named_search", "pareto_front"]

LABEL = "searching"
PICTURE_SEEDS = range(4)
"""Seeds of the pictures where the objective is of the text alone, and none were needed for it."""


def maximize(  # noqa: PLR0913 - a verb's parameters are the options of its command
    model: Model,
    objective: Objective | str,
    *,
    findings: Findings | str | Path | None = None,
    pool: str = "last",
    search: str | Search = "metropolis",
    budget: int = 20_000,
    null: int = 500,
    template: str = WORDS,
    words: int | tuple[int, int] = 3,
    tokens: bool = False,
    ban: Sequence[str] = (),
    vocabulary: Sequence[str] | str | Path | None = None,
    fluency: float = 0.0,
    language_model: Fluency | str | None = None,
    seeds: int | Sequence[int] = 0,
    seed: int = 0,
    best: int = 8,
    batch: int = 64,
    pictures: bool = True,
    out: str | Path | None = None,
    announce: Announce | None = None,
    progress: ProgressOption = True,
) -> MaximizationResult:
    """Search for the prompts with the highest value of an objective.

    Args:
        model: The model.
        objective: A unit, `CLASSIFIER=LABEL`, or arithmetic over such; as text or as an object.
        findings: Findings, or the folder of some, whose directions the objective may name.
        pool: How positions are pooled: mean, max, last or `tokens:WORD`.
        search: A search or its name.
        budget: How many prompts are scored; a gradient counts as two.
        null: How many random prompts the result is compared with.
        template: A prompt with `{words}` in it, once.
        words: How many words: a number, or the least and the greatest.
        tokens: Whether to search over raw tokens in place of words.
        ban: Strings that never occur in the words.
        vocabulary: The words; see `prompt_space`.
        fluency: What a nat of fluency a word adds, in standard deviations of random scores.
        language_model: Says how likely words are: a function, or the name of a causal language
            model; bigrams of the profile's captions by default.
        seeds: Seeds that scores are averaged over, where noise makes a difference.
        seed: The seed of the search, which replays it.
        best: How many prompts are returned.
        batch: Samples in a batch of the model.
        pictures: Whether to draw the best prompts.
        out: A folder for the trail as it grows and for the result; the same call, after an
            interrupt, continues from there.
        announce: Called with a forecast before the search begins.
        progress: True for progress bars, or a callback.

    Returns:
        The result; of a search that Ctrl-C ends, what was found until then, with `stopped`.

    Raises:
        SearchError: There is nothing to search, or the folder holds another search.
    """
    if budget < 1 or null < 2:
        raise SearchError(f"A budget of {budget} and {null} random prompts are too few.")
    aim = _objective(objective, pool, findings)
    space = prompt_space(
        model, words=words, template=template, vocabulary=vocabulary, ban=ban, tokens=tokens
    )
    algorithm = named_search(search)
    scorer = Scorer(model, aim, _seeds(seeds), batch)
    problem = Problem(space, budget, np.random.default_rng(seed), scorer)
    # The weight of fluency is set only after the null scores: it counts in their standard
    # deviations.
    problem.score_fluency = _fluency(model, fluency, language_model)
    problem.gradient = _gradient(scorer, space)
    plan = {**_plan(aim, space, algorithm, scorer), "seed": seed, "fluency": fluency}
    identity = {"model": model.name, "revision": model.revision}
    folder = None if out is None else Path(out)
    trail = Trail(folder, {**identity, **plan})
    # An interrupted search replays from its seed, and finds the scores it already paid for here.
    scorer.known |= trail.load()
    with progress_bars(progress) as report:
        random = _null_scores(problem, scorer, null, trail, announce, report)
        # Where all random prompts score the same, any unit will do, but zero would divide by zero.
        problem.scale = random.sd or 1.0
        problem.fluency_weight = fluency * problem.scale
        stopped = _run(algorithm, problem, trail, scorer, null, report)
        provenance = provenance_of(model, {**plan, "budget": budget, "null": null})
        result = _result(aim, algorithm, problem, scorer, random, best)
        result = replace(result, stopped=stopped, provenance=provenance)
        if folder is not None:
            result.save(folder)
        return _with_pictures(result, model, scorer, report) if pictures else result


def named_search(search: str | Search) -> Search:
    """A search by its name, with its default settings.

    Args:
        search: A name, or a search, which is returned as it is.

    Returns:
        The search.

    Raises:
        RegistryError: No search has this name.
    """
    return searches[search]() if isinstance(search, str) else search


def _objective(
    objective: Objective | str, pool: str, findings: Findings | str | Path | None
) -> Objective:
    if isinstance(objective, Objective):
        return objective
    known = Findings.load(Path(findings)) if isinstance(findings, str | Path) else findings
    return parse_objective(objective, pool, {} if known is None else known.directions)


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    from clerestory.models.core.seeds import check_seeds

    return list(check_seeds(seeds))


def _plan(aim: Objective, space: Space, search: Search, scorer: Scorer) -> dict[str, Any]:
    """What scores and their order depend on: a trail with another of these is not continued."""
    return {
        "objective": aim.name,
        "digest": aim.digest,
        "search": repr(search),
        "seeds": list(scorer.seeds),
        "template": space.template,
        "words": [space.shortest, space.longest],
        "vocabulary": hashlib.sha256("\n".join(space.vocabulary).encode()).hexdigest()[:16],
        "ban": list(space.banned),
    }


def _gradient(scorer: Scorer, space: Space) -> ObjectiveGradient | None:
    try:
        return ObjectiveGradient(scorer, space)
    except (SearchError, SiteError, NotImplementedError):  # the last: weights that are offloaded
        return None


def _fluency(model: Model, weight: float, fluency: Fluency | str | None) -> Fluency | None:
    if isinstance(fluency, str):
        return language_model(fluency)
    if fluency is not None or weight == 0:
        return fluency
    bigrams = caption_bigrams(model.profile)
    if bigrams is None:
        raise SearchError(
            f"{model.name} has no captions that say which words are likely: name a language model."
        )
    return bigrams


def _null_scores(
    problem: Problem,
    scorer: Scorer,
    count: int,
    trail: Trail,
    announce: Announce | None,
    report: Progress,
) -> NullScores:
    """Score random valid prompts, by a generator of their own; SearchError where not finite."""
    # A generator of its own: the number of random prompts does not change the search's draws.
    lone = Problem(problem.space, count, np.random.default_rng([0, count]), scorer)
    prompts = [problem.space.text(state) for state in random_valid(lone, count)]
    total = count + problem.budget
    try:
        expected = forecast(scorer, prompts, total)
        if announce is not None and expected is not None:
            announce(expected)
        for start in range(0, count, scorer.batch):
            scorer(prompts[start : start + scorer.batch])
            trail.save(scorer.known, at_once=False)
            report(LABEL, min(start + scorer.batch, count), total)
    finally:
        trail.save(scorer.known)
    scores = scorer(prompts)
    if not np.isfinite(scores).all():
        raise SearchError("Random prompts have scores that are not finite: nothing compares them.")
    return NullScores(scores)


def _run(
    search: Search, problem: Problem, trail: Trail, scorer: Scorer, null: int, report: Progress
) -> bool:
    """Run the search; whether it was interrupted, in which case what was scored is kept."""
    try:
        for spent in search.run(problem):
            report(LABEL, null + spent, null + problem.budget)
            trail.save(scorer.known, at_once=False)
    except BudgetSpentError:
        pass
    except KeyboardInterrupt:
        return True
    finally:
        trail.save(scorer.known)
    return False


def _result(
    aim: Objective,
    search: Search,
    problem: Problem,
    scorer: Scorer,
    null: NullScores,
    best: int,
) -> MaximizationResult:
    import pandas as pd

    if not problem.trail:
        raise SearchError("Nothing was scored: the budget is too small, or it was stopped at once.")
    trail = pd.DataFrame([vars(row) for row in problem.trail])
    scores, fluency = trail["score"].to_numpy(), trail["fluency"].to_numpy()
    # Stable, so that of equal scores the one found first is listed first, on every machine.
    order = np.argsort(-(scores + problem.fluency_weight * fluency), kind="stable")
    chosen = _different([problem.states[prompt] for prompt in trail["prompt"]], order, best)
    front: list[int] = []
    if problem.score_fluency is not None:
        front = pareto_front(scores, fluency)[: 2 * best]
    columns = ["chain", "draw", "words", "score"]
    return MaximizationResult(
        objective=aim.name,
        search=type(search).__name__,
        evaluations=problem.spent,
        budget=problem.budget,
        stopped=False,
        best=tuple(_maximized(at, problem, scorer, null) for at in chosen),
        front=tuple(_maximized(at, problem, scorer, null) for at in front),
        null=null,
        trail=trail,
        samples=pd.DataFrame([vars(sample) for sample in problem.samples], columns=columns),
        diagnostics=problem.diagnostics,
        provenance=provenance_of(scorer.model, {}),
    )


def _maximized(at: int, problem: Problem, scorer: Scorer, null: NullScores) -> MaximizedPrompt:
    """One row of the trail, with what its figures mean."""
    row = problem.trail[at]
    state = problem.states[row.prompt]
    return MaximizedPrompt(
        prompt=row.prompt,
        words=row.words,
        score=row.score,
        z=null.z(row.score),
        percentile=null.percentile(row.score),
        fluency=row.fluency,
        chains=len(problem.visits.get(state, {0})),
        contributions=_contributions(problem.space, scorer, state, row.score),
    )


def _different(states: Sequence[State], order: NDArray[np.integer], count: int) -> list[int]:
    """The best of which no two share all words but one; single words always count as different."""
    chosen: list[int] = []
    bags: list[Counter[int]] = []
    for at in order.tolist():
        bag = Counter(states[at])
        # 0 for single words, which share no word unless they are equal.
        allowed = min(bag.total() - 1, 1)
        if all(max((bag - b).total(), (b - bag).total()) > allowed for b in bags):
            chosen.append(at)
            bags.append(bag)
        if len(chosen) == count:
            break
    return chosen


def pareto_front(scores: NDArray[np.float64], fluency: NDArray[np.float64]) -> list[int]:
    """Indices of what nothing else exceeds in both, the highest score first.

    Args:
        scores: `[prompt]`.
        fluency: `[prompt]`, in nats.

    Returns:
        Indices of the front; of equal prompts the first alone.
    """
    front: list[int] = []
    most = -np.inf
    # `lexsort` takes its last key first: by score, and by fluency among equal scores.
    for at in np.lexsort((-fluency, -scores)).tolist():
        if fluency[at] > most:
            front.append(at)
            most = fluency[at]
    return front


def _contributions(
    space: Space, scorer: Scorer, state: State, score: float
) -> tuple[tuple[str, float], ...]:
    """How far the score falls without each word; empty for a single one, which leaves none."""
    if len(state) < 2:
        return ()
    shorter = [(*state[:at], *state[at + 1 :]) for at in range(len(state))]
    scores = scorer([space.text(each) for each in shorter])
    return tuple(
        (space.vocabulary[word].strip(), float(score - rest))
        for word, rest in zip(state, scores, strict=True)
    )


def _with_pictures(
    result: MaximizationResult, model: Model, scorer: Scorer, report: Progress
) -> MaximizationResult:
    seeds = list(PICTURE_SEEDS if scorer.noiseless else scorer.seeds)
    run = model.run(
        [found.prompt for found in result.best],
        seeds,
        progress=lambda _, completed, total: report("drawing the best", completed, total),
    )
    assert run.pictures is not None
    shape = (len(result.best), len(seeds), *run.pictures.shape[1:])
    return replace(result, pictures=run.pictures.reshape(shape))
