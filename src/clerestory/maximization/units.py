"""Searches of several units, corrected for their number.

results = maximize_units(model, ["text.blocks.2/mlp[311]", "text.blocks.2/mlp[7]"])
[result.q for result in results]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clerestory.errors import SearchError
from clerestory.evaluation.objectives import Objective
from clerestory.maximization.maximize import maximize_to_end, resolve_objective
from clerestory.maximization.pool import SCALE_PROMPTS, draw_pool, pool_size
from clerestory.maximization.results import MaximizationResult, PoolScores, adjust_for_units
from clerestory.maximization.scoring import Scorer, objective_sites, score_together
from clerestory.maximization.space import prompt_space
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds
from clerestory.reporting.pictures import slug
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["maximize_units"]

SPACE_OPTIONS = ("words", "template", "vocabulary", "ban", "tokens")


def maximize_units(
    model: Model,
    objectives: Sequence[Objective | str],
    *,
    budget: int = 2_000,
    random_prompts: int | None = None,
    seeds: int | Sequence[int] = 0,
    batch: int = 64,
    out: str | Path | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> list[MaximizationResult]:
    """Search for the prompts that maximize each of several units.

    The pool of random prompts is scored once for all of them, and q corrects for their number: of
    many units that random prompts maximize as well, some search exceeds them by chance.

    Args:
        model: The model.
        objectives: The units, or other objectives, all of which depend on seeds, or none.
        budget: Evaluations of each search.
        random_prompts: Number of random prompts; see `maximize`.
        seeds: Seeds that scores are averaged over, if the objectives depend on them.
        batch: Samples in a batch of the model.
        out: A folder that gets one for each unit.
        progress: True for a progress bar, or a callback.
        **options: Further arguments of `maximize`.

    Returns:
        A result for each objective, in their order.

    Raises:
        SearchError: There is no objective, or some depend on seeds and others do not.
        KeyboardInterrupt: Ctrl-C ended a search; with `out` the same call resumes.
    """
    if not objectives:
        raise SearchError("There is no unit to search for.")
    parsed = [
        resolve_objective(each, options.get("pool", "last"), options.get("findings"))
        for each in objectives
    ]
    # Fresh seeds, by which the best prompts are scored too.
    scorers = [Scorer(model, each, check_seeds(seeds), batch).fresh() for each in parsed]
    if len({tuple(scorer.seeds) for scorer in scorers}) > 1:
        raise SearchError("Some objectives depend on seeds and others do not: search separately.")
    space = prompt_space(
        model,
        **{name: options[name] for name in SPACE_OPTIONS if name in options},
        sites=objective_sites(parsed),
    )
    prompts, complete = draw_pool(space, pool_size(scorers[0], budget, random_prompts))
    results = []
    with progress_bars(progress) as report:
        for completed, objective in enumerate(parsed, 1):
            folder = None if out is None else Path(out) / f"{completed:03d}-{slug(objective.name)}"
            result = maximize_to_end(
                model,
                objective,
                budget=budget,
                # The pool is drawn once for all units below; this one only scales temperatures.
                random_prompts=SCALE_PROMPTS,
                seeds=seeds,
                batch=batch,
                out=folder,
                **options,
            )
            results.append(result)
            report("searching", completed, len(parsed))
        for start in range(0, len(prompts), batch):
            score_together(scorers, prompts[start : start + batch])
            report("random prompts", min(start + batch, len(prompts)), len(prompts))
    pools = [PoolScores(scorer(prompts), complete) for scorer in scorers]
    adjusted = adjust_for_units(
        [result.with_pool(scores) for result, scores in zip(results, pools, strict=True)]
    )
    for completed, result in enumerate(adjusted, 1):
        if out is not None:
            # Written again: the corrected q was not known before the last unit.
            result.write(Path(out) / f"{completed:03d}-{slug(result.objective)}")
    return adjusted
