"""Scores of prompts, and a forecast of the time that a search takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.evaluation import Evaluator
from clerestory.evaluation.objectives import DirectionTerm, LabelTerm, Objective
from clerestory.evaluation.terms import is_seed_independent, measure_terms
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.types import Role

__all__ = [
    "Announce",
    "Forecast",
    "Scorer",
    "forecast",
    "objective_sites",
    "score_together",
]

TIMED_PROMPTS = 16
"""Prompts in the batch that is timed."""


@dataclass(eq=False)
class Scorer:
    """The objective's value of prompts, averaged over seeds.

    The model runs only as far as the objective needs, and once for each prompt.

    Attributes:
        model: The model.
        objective: The objective; its terms must pool positions.
        seeds: Seeds of each prompt; reduced to the first if the objective does not depend on them.
        batch: Samples in a batch of the model.
        role: The classifiers that score pictures: selection, so that evaluation ones stay unused.
        scores: The scores so far, by prompt.
    """

    model: Model
    objective: Objective
    seeds: Sequence[int] = (0,)
    batch: int = 64
    role: Role = "selection"
    scores: dict[str, float] = field(default_factory=dict, repr=False)
    _evaluator: Evaluator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Scores are cached by prompt, so a cache of samples would never be read.
        self._evaluator = Evaluator(self.model, cache=False, batch=self.batch)
        if any(term.pool == "none" for term in self._activation_terms):
            raise SearchError("A score is one number: pool positions by mean, max or last.")
        self.seeds = check_seeds(self.seeds)
        if self.is_seed_independent:
            # All seeds give one score: the others would only take time.
            self.seeds = self.seeds[:1]
        for term in self._activation_terms:
            site = self.model.sites[parse(term.site).site]
            units = site.shape[1]
            if units is not None and len(term.direction) > units:
                # Raises the model's own error, which lists the units of the site.
                self.model.sites.select(f"{site.address}[{len(term.direction) - 1}]")

    @property
    def is_seed_independent(self) -> bool:
        """Whether a prompt has the same score with every seed, as at text sites."""
        return is_seed_independent(self.model, [term for _, term in self.objective.terms])

    @property
    def extent(self) -> str:
        """How far the model runs: `as far as text`, `whole pictures, 2 seeds each`."""
        seeds = "" if len(self.seeds) == 1 else f", {len(self.seeds)} seeds each"
        if any(isinstance(term, LabelTerm) for _, term in self.objective.terms):
            return f"whole pictures{seeds}"
        stages = {self.model.sites[parse(term.site).site].stage for term in self._activation_terms}
        order = list(dict.fromkeys(site.stage for site in self.model.sites.values()))
        return f"as far as {max(stages, key=order.index)}{seeds}"

    def __call__(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """The score of each prompt, `[prompt]`."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.scores]
        if new:
            self.scores |= dict(zip(new, self._score(new).tolist(), strict=True))
        return np.array([self.scores[prompt] for prompt in prompts])

    @property
    def _activation_terms(self) -> list[DirectionTerm]:
        return [term for _, term in self.objective.terms if isinstance(term, DirectionTerm)]

    def fresh(self) -> Scorer:
        """A scorer with as many seeds that this one does not use; itself if seeds do not matter."""
        if self.is_seed_independent:
            return self
        # Twice as many, so that enough are left whichever of them the search uses.
        drawn = item_seeds("fresh seeds", 2 * len(self.seeds))
        fresh = [seed for seed in drawn if seed not in self.seeds][: len(self.seeds)]
        return replace(self, seeds=fresh, scores={})

    def _score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        return _measure([self], prompts)[0]


def score_together(scorers: Sequence[Scorer], prompts: Sequence[str]) -> None:
    """Score prompts by several objectives with one run of the model, and cache the scores.

    Args:
        scorers: Scorers with the same model, seeds, batch and role.
        prompts: The prompts; those that every scorer knows are not scored again.
    """
    new = [
        prompt
        for prompt in dict.fromkeys(prompts)
        if any(prompt not in scorer.scores for scorer in scorers)
    ]
    if new:
        for scorer, scores in zip(scorers, _measure(scorers, new), strict=True):
            scorer.scores |= dict(zip(new, scores.tolist(), strict=True))


def _measure(scorers: Sequence[Scorer], prompts: Sequence[str]) -> list[NDArray[np.float64]]:
    first = scorers[0]
    terms = dict.fromkeys(term for scorer in scorers for _, term in scorer.objective.terms)
    values = measure_terms(
        # One evaluator for all: scorers of one call share model, seeds and role.
        first._evaluator,
        list(terms),
        prompts,
        first.seeds,
        role=first.role,
        log_odds=True,
    ).values
    scores = []
    for scorer in scorers:
        parts = [weight * values[term] for weight, term in scorer.objective.terms]
        # The seed is the faster index.
        total = np.sum(parts, axis=0).reshape(len(prompts), len(first.seeds))
        scores.append(np.asarray(total.mean(1)))
    return scores


@dataclass(frozen=True)
class Forecast:
    """The time that a search takes at most.

    Attributes:
        prompts: Number of prompts to score.
        seconds_each: Seconds for one prompt.
        extent: How far the model runs.
    """

    prompts: int
    seconds_each: float
    extent: str

    @property
    def seconds(self) -> float:
        """Seconds for all prompts."""
        return self.prompts * self.seconds_each

    def __str__(self) -> str:
        unit, size = next(
            (unit, size)
            for unit, size, limit in (("s", 1, 100), ("min", 60, 6000), ("h", 3600, np.inf))
            if self.seconds < limit
        )
        return (
            f"{self.prompts:,} prompts at {1000 * self.seconds_each:.1f} ms ({self.extent}): "
            f"about {self.seconds / size:.0f} {unit} at most."
        )


Announce = Callable[[Forecast], None]


def forecast(scorer: Scorer, prompts: Sequence[str], count: int) -> Forecast | None:
    """Score the first of these prompts, and forecast the time of a whole search.

    Args:
        scorer: Scores the prompts and caches the scores.
        prompts: Prompts of the search; at most two batches of 16 are scored.
        count: Number of prompts that the whole search scores.

    Returns:
        The forecast; None if all of these prompts are known, so that nothing was timed.
    """
    seconds_each = None
    # The first batch warms up; the time of the last one counts.
    for start in range(0, min(len(prompts), 2 * TIMED_PROMPTS), TIMED_PROMPTS):
        batch = prompts[start : start + TIMED_PROMPTS]
        new = len({prompt for prompt in batch if prompt not in scorer.scores})
        start_time = time.perf_counter()
        scorer(batch)
        if new:
            seconds_each = (time.perf_counter() - start_time) / new
    return None if seconds_each is None else Forecast(count, seconds_each, scorer.extent)


def objective_sites(objectives: Sequence[Objective]) -> list[str]:
    """The sites that objectives read.

    Args:
        objectives: The objectives.

    Returns:
        Addresses without units and steps, each once.
    """
    terms = [term for objective in objectives for _, term in objective.terms]
    sites = [parse(term.site).site for term in terms if isinstance(term, DirectionTerm)]
    return list(dict.fromkeys(sites))
