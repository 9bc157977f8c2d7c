"""Scores of prompts, their gradients, and a forecast of the time that a search takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import SearchError
from clerestory.evaluation import Evaluator
from clerestory.evaluation.objectives import DirectionTerm, LabelTerm, Objective
from clerestory.evaluation.terms import is_seed_independent, measure_terms
from clerestory.maximization.base import Gains
from clerestory.maximization.space import WORDS, Space, State
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.gradients import find_text_window, token_gradients
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.types import Role

__all__ = [
    "Announce",
    "Forecast",
    "ObjectiveGradient",
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


class ObjectiveGradient:
    """First-order estimates of the gain of each word at each position of a sequence.

    They come from one gradient of the objective with respect to the token embeddings. Of a word
    with more tokens than the one it replaces, only as many tokens count.

    Args:
        scorer: The objective and its model.
        space: The prompts.

    Raises:
        SiteError: The terms are not all at sites of one text encoder.
    """

    def __init__(self, scorer: Scorer, space: Space) -> None:
        terms = [term for _, term in scorer.objective.terms]
        self.sites = [parse(term.site).site for term in terms if isinstance(term, DirectionTerm)]
        # Pictures have no gradient here: without sites `find_text_window` raises SiteError.
        has_labels = any(isinstance(term, LabelTerm) for term in terms)
        sites = [] if has_labels else list(dict.fromkeys(self.sites))
        self.window = find_text_window(scorer.model, sites)
        self.model, self.objective, self.space = scorer.model, scorer.objective, space
        self.word_tokens = self._word_tokens()
        weight = self.window.encoder.get_input_embeddings().weight
        # Copied once: it is multiplied with every gradient.
        self.embeddings = weight.detach().float().cpu().numpy()
        # Words begin after the template's own words.
        prefix = space.template.partition(WORDS)[0]
        self.first = len(self._ids(prefix)) if prefix.strip() else 0

    def __call__(self, states: Sequence[State]) -> list[Gains]:
        """`[position, word]` for each sequence."""
        prompts = [self.space.text(state) for state in states]
        _, gradients = token_gradients(
            self.model, prompts, self.sites, lambda values: self._objective(values, prompts)
        )
        # The first of the prompt's own tokens: others precede them, such as a start token.
        starts = self.window.token_mask(prompts).int().argmax(1).tolist()
        return [
            self._gains(state, row[start:])
            for state, row, start in zip(states, gradients, starts, strict=True)
        ]

    def _objective(self, values: Mapping[str, Tensor], prompts: Sequence[str]) -> Tensor:
        token_mask, end_mask = self.window.token_mask(prompts), self.window.end_mask(prompts)
        total = torch.zeros(len(prompts))
        for weight, term in self.objective.terms:
            assert isinstance(term, DirectionTerm)
            site = parse(term.site).site
            hook = self.model.hooks_by_address[site]
            # As `Pooler` pools when the site is read, so that the gradient is that of the score.
            mask = (end_mask if term.pool == "last" else token_mask) if hook.text_window else None
            pooler = Pooler(term.pool, mask, sequence=hook.site.shape[0] is not None)
            pooled = pooler(values[site])
            direction = torch.as_tensor(term.direction, dtype=pooled.dtype, device=pooled.device)
            total = total.to(pooled.device) + weight * (pooled[:, : len(direction)] @ direction)
        return total

    def _gains(self, state: State, gradient: NDArray[np.float32]) -> Gains:
        gains, start = [], self.first
        for word in state:
            current = self.word_tokens[word]
            length = int((current >= 0).sum())
            # A prompt longer than the window is cut: there are then fewer rows than tokens.
            rows = gradient[start : start + length]
            slopes = rows @ self.embeddings.T
            gain = np.zeros(len(self.word_tokens))
            for offset in range(min(length, len(rows), self.word_tokens.shape[1])):
                tokens = self.word_tokens[:, offset]
                # Gradient times the change of embedding, as in HotFlip (Ebrahimi et al. 2018).
                change = slopes[offset, tokens] - slopes[offset, current[offset]]
                gain += np.where(tokens >= 0, change, 0.0)
            gains.append(gain)
            start += length
        return np.array(gains)

    def _ids(self, text: str) -> list[int]:
        return self.window.token_ids([text])[0]

    def _word_tokens(self) -> NDArray[np.int64]:
        """The tokens of each word, `[word, token]`, padded with -1."""
        raw = self.space.tokens
        ids = (
            self.window.token_ids(self.space.vocabulary)
            if raw is None
            else [[token] for token in raw]
        )
        table = np.full((len(ids), max(map(len, ids), default=1) or 1), -1)
        for index, row in enumerate(ids):
            table[index, : len(row)] = row
        return table
