"""Search for the prompts that maximize an objective, compared with random prompts.

result = maximize(model, "text.blocks.2/mlp[311]", search="metropolis", budget=5_000)
result.best[0].prompt, result.best[0].z
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.arguments import checked
from clerestory.contrasts import Findings
from clerestory.errors import ModelError, SearchError, SiteError
from clerestory.evaluation import CacheOption, Condition, Design, Evaluator
from clerestory.evaluation.objectives import Objective, parse_objective
from clerestory.maximization.base import BudgetSpentError, Problem, Search, searches
from clerestory.maximization.fluency import Fluency, language_model
from clerestory.maximization.gains import ObjectiveGradient
from clerestory.maximization.pool import SCALE_PROMPTS, draw_pool, pool_size
from clerestory.maximization.results import (
    SAMPLE_COLUMNS,
    MaximizationResult,
    MaximizedPrompt,
    PoolScores,
)
from clerestory.maximization.scoring import (
    Announce,
    Scorer,
    forecast,
    objective_sites,
)
from clerestory.maximization.space import WORDS, Space, State, prompt_space
from clerestory.maximization.trail import FRESH, SCORED, Trail
from clerestory.maximization.vocabularies import caption_bigrams
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds
from clerestory.models.provenance import check_dictionaries, model_identity, provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Progress, ProgressOption

__all__ = ["maximize", "maximize_to_end", "pareto_front", "resolve_objective"]

LABEL = "searching"
PICTURE_SEEDS = range(4)
"""Seeds of the pictures if the objective does not depend on seeds."""


@checked()
def maximize(  # noqa: PLR0913 - a verb's parameters are the options of its command
    model: Model,
    objective: Objective | str,
    *,
    findings: Findings | str | Path | None = None,
    pool: str = "last",
    search: str | Search = "metropolis",
    budget: int = 2_000,
    random_prompts: int | None = None,
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
    cache: CacheOption = True,
    announce: Announce | None = None,
    progress: ProgressOption = True,
) -> MaximizationResult:
    """Search for the prompts with the highest value of an objective.

    Args:
        model: The model.
        objective: A unit, `CLASSIFIER=LABEL`, or arithmetic over such; as text or as an object.
        findings: Findings, or the folder of some, whose directions the objective may name.
        pool: Pooling over positions: mean, max, last or `tokens:WORD`.
        search: A search or its name.
        budget: Number of prompts to score; a gradient counts as two.
        random_prompts: Number of random prompts for comparison, 40 times the budget by default. It
            takes 20 times the budget, or the whole space, to tell whether the search exceeds a
            random search; where more than the text encoder is run, the default is 500, and the
            status `undecided`.
        template: A prompt with `{words}` in it, once.
        words: Number of words, or the minimum and the maximum.
        tokens: Whether to search over raw tokens in place of words.
        ban: Strings that must not occur in the words.
        vocabulary: The words; see `prompt_space`.
        fluency: Score of a nat of fluency a word, in standard deviations of random scores.
        language_model: The model of fluency: a function, or the name of a causal language model;
            bigrams of the profile's captions by default.
        seeds: Seeds that scores are averaged over, if the objective depends on them.
        seed: The seed of the search, which replays it.
        best: Number of prompts to return.
        batch: Samples in a batch of the model.
        pictures: Whether to draw the best prompts.
        out: A folder for the trail, which is updated during the search, and for the result. After
            an interrupt the same call continues from there.
        cache: Whether the pictures of the best prompts are cached, or where.
        announce: Called with a forecast before the search starts.
        progress: True for progress bars, or a callback.

    Returns:
        The result. If Ctrl-C ends the search, the result so far, with `stopped`.

    Raises:
        SearchError: The space is empty, or the folder holds another search.
    """
    if budget < 1 or (random_prompts is not None and random_prompts < 2):
        raise SearchError(f"A budget of {budget} and {random_prompts} random prompts are too few.")
    findings = Findings.load(Path(findings)) if isinstance(findings, str | Path) else findings
    if findings is not None:
        check_dictionaries(model, findings.provenance.dictionaries, "What was found")
    target = resolve_objective(objective, pool, findings)
    space = prompt_space(
        model,
        words=words,
        template=template,
        vocabulary=vocabulary,
        ban=ban,
        tokens=tokens,
        sites=objective_sites([target]),
    )
    # Looked up before the model runs: a misspelt name costs no time.
    algorithm = searches[search]() if isinstance(search, str) else search
    scorer = Scorer(model, target, check_seeds(seeds), batch)
    problem = Problem(space, budget, np.random.default_rng(seed), scorer)
    # The weight of fluency is in standard deviations of the pool's scores, and follows them below.
    problem.score_fluency = _fluency(model, fluency, language_model)
    problem.gradient = _gradient(scorer, space)
    plan = {**_plan(scorer, space, algorithm), "seed": seed, "fluency": fluency}
    folder = None if out is None else Path(out)
    trail = Trail(folder, {**model_identity(model), **plan})
    # An interrupted search replays from its seed, up to its end with these scores.
    scorer.scores |= trail.load()
    count = pool_size(scorer, budget, random_prompts)
    random_pool = _Pool(scorer.fresh(), trail, *draw_pool(space, count), budget)
    with progress_bars(progress) as report:
        head = random_pool.score_head(announce, report)
        # If all random prompts score the same, any positive scale will do.
        problem.scale = head.sd or 1.0
        problem.fluency_weight = fluency * problem.scale
        stopped = _run(algorithm, problem, trail, scorer, random_pool, report)
        result = _result(algorithm, problem, scorer, random_pool, best)
        options = {**plan, "budget": budget, "random_prompts": count}
        result = replace(result, provenance=provenance_of(model, options), stopped=stopped)
        # Whoever stops the search wants its result now, not after the pool.
        if not stopped:
            scores, stopped = random_pool.score_tail(report)
            result = replace(result.with_pool(scores), stopped=stopped)
        if folder is not None:
            result.save(folder)
        if not pictures:
            return result
        return _with_pictures(result, scorer, Evaluator(model, cache, progress=report))


def maximize_to_end(model: Model, objective: Objective | str, **options: Any) -> MaximizationResult:
    """`maximize` as one search of several: without progress of its own, and never partial.

    Args:
        model: The model.
        objective: As for `maximize`.
        **options: Further arguments of `maximize`.

    Returns:
        The result.

    Raises:
        SearchError: As for `maximize`.
        KeyboardInterrupt: Ctrl-C ended the search: a partial result is not comparable.
    """
    result = maximize(model, objective, progress=False, **options)
    if result.stopped:
        raise KeyboardInterrupt
    return result


def resolve_objective(
    objective: Objective | str, pool: str, findings: Findings | str | Path | None
) -> Objective:
    """The objective that a text names, or the same object.

    Args:
        objective: As for `maximize`.
        pool: As for `maximize`.
        findings: As for `maximize`.

    Returns:
        The objective.
    """
    if isinstance(objective, Objective):
        return objective
    known = Findings.load(Path(findings)) if isinstance(findings, str | Path) else findings
    return parse_objective(objective, pool, {} if known is None else known.directions)


def _plan(scorer: Scorer, space: Space, search: Search) -> dict[str, Any]:
    """The options on which scores and their order depend; a trail with others is not continued."""
    return {
        "objective": scorer.objective.name,
        "digest": scorer.objective.digest,
        # A dataclass, whose `repr` lists its settings.
        "search": repr(search),
        "seeds": list(scorer.seeds),
        "template": space.template,
        "words": [space.shortest, space.longest],
        # Tens of thousands of words: a digest is enough to tell two vocabularies apart.
        "vocabulary": hashlib.sha256("\n".join(space.vocabulary).encode()).hexdigest()[:16],
        "ban": list(space.banned),
    }


def _gradient(scorer: Scorer, space: Space) -> ObjectiveGradient | None:
    try:
        return ObjectiveGradient(scorer, space)
    except (ModelError, SearchError, SiteError):
        # A classifier without gradients, no text encoder, offloaded weights.
        return None


def _fluency(model: Model, weight: float, fluency: Fluency | str | None) -> Fluency | None:
    if isinstance(fluency, str):
        return language_model(fluency)
    if fluency is not None or weight == 0:
        return fluency
    bigrams = caption_bigrams(model.profile)
    if bigrams is None:
        raise SearchError(
            f"{model.name} has no captions to estimate fluency from: name a language model."
        )
    return bigrams


@dataclass(eq=False)
class _Pool:
    """Random prompts that are scored in two parts: before the search for its scale, and after it.

    Attributes:
        scorer: Scores on fresh seeds.
        trail: Keeps the scores.
        prompts: The prompts.
        complete: Whether these are all prompts of the space.
        budget: Evaluations of the search, for the progress and the forecast.
    """

    scorer: Scorer
    trail: Trail
    prompts: list[str]
    complete: bool
    budget: int

    def __post_init__(self) -> None:
        # Otherwise pool and search share their scores, which were loaded already.
        if self.file == FRESH:
            self.scorer.scores |= self.trail.load(FRESH)

    @property
    def file(self) -> str:
        return SCORED if self.scorer.is_seed_independent else FRESH

    @property
    def total(self) -> int:
        """Prompts to score, those of the search included."""
        return len(self.prompts) + self.budget

    @property
    def head(self) -> int:
        """Prompts that are scored before the search."""
        return min(SCALE_PROMPTS, len(self.prompts))

    def score_head(self, announce: Announce | None, report: Progress) -> PoolScores:
        """Score the first prompts, with a forecast; SearchError if a score is not finite."""
        try:
            expected = forecast(self.scorer, self.prompts, self.total)
            if announce is not None and expected is not None:
                announce(expected)
            return self._score(range(self.head), 0, report)
        finally:
            self.trail.save(self.scorer.scores, self.file)

    def score_tail(self, report: Progress) -> tuple[PoolScores, bool]:
        """Score the remaining prompts.

        Returns:
            The scores of all prompts, and whether Ctrl-C ended them early: then of those so far.
        """
        try:
            scores = self._score(range(self.head, len(self.prompts)), self.budget, report)
        except KeyboardInterrupt:
            # What is scored by now is a smaller random pool: prompts are in random order.
            finished = [prompt for prompt in self.prompts if prompt in self.scorer.scores]
            return PoolScores(self.scorer(finished)), True
        finally:
            self.trail.save(self.scorer.scores, self.file)
        return scores, False

    def _score(self, rows: range, completed: int, report: Progress) -> PoolScores:
        batch = self.scorer.batch
        for start in rows[::batch]:
            end = min(start + batch, rows.stop)
            self.scorer(self.prompts[start:end])
            # Now and then: each write replaces the whole file.
            self.trail.save(self.scorer.scores, self.file, at_once=False)
            report(LABEL, completed + end, self.total)
        scores = self.scorer(self.prompts[: rows.stop])
        if not np.isfinite(scores).all():
            raise SearchError("Scores of random prompts are not finite: the result has no scale.")
        return PoolScores(scores, self.complete and rows.stop == len(self.prompts))


def _run(
    search: Search, problem: Problem, trail: Trail, scorer: Scorer, pool: _Pool, report: Progress
) -> bool:
    """Run the search and save its trail; True if it was interrupted."""
    try:
        for spent in search.run(problem):
            report(LABEL, pool.head + spent, pool.total)
            trail.save(scorer.scores, at_once=False)
    except BudgetSpentError:
        pass
    except KeyboardInterrupt:
        return True
    finally:
        trail.save(scorer.scores)
    return False


def _result(
    search: Search, problem: Problem, scorer: Scorer, pool: _Pool, best: int
) -> MaximizationResult:
    """The result beside the head of the pool."""
    import pandas as pd

    if not problem.trail:
        raise SearchError(
            "No prompt was scored: the budget is too small, or the search was stopped."
        )
    trail = pd.DataFrame([vars(row) for row in problem.trail])
    scores, fluency = trail["score"].to_numpy(), trail["fluency"].to_numpy()
    # Stable, so that equal scores have the order of the trail on every machine.
    order = np.argsort(-(scores + problem.fluency_weight * fluency), kind="stable")
    chosen = _dissimilar([problem.states[prompt] for prompt in trail["prompt"]], order, best)
    front: list[int] = []
    if problem.score_fluency is not None:
        front = pareto_front(scores, fluency)[: 2 * best]
    samples = [vars(sample) for sample in problem.samples]
    head = PoolScores(
        pool.scorer(pool.prompts[: pool.head]), pool.complete and pool.head == len(pool.prompts)
    )
    result = MaximizationResult(
        objective=scorer.objective.name,
        search=type(search).__name__,
        evaluations=problem.spent,
        budget=problem.budget,
        stopped=False,
        # With the pool, below.
        status="undecided",
        p=1.0,
        q=1.0,
        units=1,
        best=tuple(_maximized(at, problem, scorer, pool.scorer) for at in chosen),
        front=tuple(_maximized(at, problem, scorer, pool.scorer) for at in front),
        pool=head,
        trail=trail,
        samples=pd.DataFrame(samples, columns=SAMPLE_COLUMNS),
        diagnostics=problem.diagnostics,
        provenance=provenance_of(scorer.model, {}),
    )
    return result.with_pool(head)


def _maximized(at: int, problem: Problem, scorer: Scorer, fresh: Scorer) -> MaximizedPrompt:
    """One row of the trail, scored on fresh seeds; `with_pool` compares it with random prompts."""
    row = problem.trail[at]
    state = problem.states[row.prompt]
    return MaximizedPrompt(
        prompt=row.prompt,
        words=row.words,
        score=row.score,
        fresh_score=float(fresh([row.prompt])[0]),
        z=0.0,
        percentile=0.0,
        fluency=row.fluency,
        # Searches without chains count as one.
        chains=len(problem.visits.get(state, {0})),
        contributions=_contributions(problem.space, scorer, state, row.score),
    )


def _dissimilar(states: Sequence[State], order: NDArray[np.integer], count: int) -> list[int]:
    """Indices of the first `count` sequences in `order` of which any two differ in two words.

    Single words differ if they are not equal.
    """
    chosen: list[int] = []
    bags: list[Counter[int]] = []
    for index in order.tolist():
        bag = Counter(states[index])
        # Of single words any two differ in one word, which is all that they have.
        tolerance = min(bag.total() - 1, 1)
        if all(max((bag - b).total(), (b - bag).total()) > tolerance for b in bags):
            chosen.append(index)
            bags.append(bag)
        if len(chosen) == count:
            break
    return chosen


def pareto_front(scores: NDArray[np.float64], fluency: NDArray[np.float64]) -> list[int]:
    """Indices of the Pareto front of score and fluency, the highest score first.

    Args:
        scores: `[prompt]`.
        fluency: `[prompt]`, in nats.

    Returns:
        Indices of prompts that no other exceeds in both; of equal prompts the first alone.
    """
    front: list[int] = []
    highest = -np.inf
    # The last key of `lexsort` is the primary one: by score, and by fluency among equal scores.
    for index in np.lexsort((-fluency, -scores)).tolist():
        # From the highest score down, a prompt is on the front if it is
        # more fluent than all before.
        if fluency[index] > highest:
            front.append(index)
            highest = fluency[index]
    return front


def _contributions(
    space: Space, scorer: Scorer, state: State, score: float
) -> tuple[tuple[str, float], ...]:
    """Each word with the decrease of the score without it; empty for a single word."""
    if len(state) < 2:
        return ()
    shorter = [(*state[:at], *state[at + 1 :]) for at in range(len(state))]
    # Outside of the budget: it explains the result and is not part of the search.
    scores = scorer([space.text(each) for each in shorter])
    return tuple(
        (space.vocabulary[word].strip(), float(score - without))
        for word, without in zip(state, scores, strict=True)
    )


def _with_pictures(
    result: MaximizationResult, scorer: Scorer, evaluator: Evaluator
) -> MaximizationResult:
    seeds = list(PICTURE_SEEDS if scorer.is_seed_independent else scorer.seeds)
    # The same seeds for all prompts, so that their columns compare.
    design = Design.crossed([best.prompt for best in result.best], seeds)
    (drawing,) = evaluator.draw([Condition("best")], design, description="drawing the best")
    return replace(result, pictures=design.by_item(drawing.pictures))
