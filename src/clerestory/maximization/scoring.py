"""Prompts to scores: the model is run as far as the objective needs it, and no prompt twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

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
from clerestory.models.core.seeds import check_seeds
from clerestory.types import Role

__all__ = ["Announce", "Forecast", "ObjectiveGradient", "Scorer", "forecast"]

TIMED = 16
"""Prompts in the batch that is timed."""


@dataclass(eq=False)
class Scorer:
    """The objective's value of prompts, averaged over seeds.

    Attributes:
        model: The model.
        objective: What is scored; its terms must pool positions.
        seeds: One picture or activation a seed; only the first where noise makes no difference.
        batch: Samples in a batch of the model.
        role: Which classifiers score pictures: selection, so that evaluation ones stay unused.
        known: Scores by prompt.
    """

    model: Model
    objective: Objective
    seeds: Sequence[int] = (0,)
    batch: int = 64
    role: Role = "selection"
    known: dict[str, float] = field(default_factory=dict, repr=False)
    _evaluator: Evaluator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        # Scores are kept by prompt, so that no prompt is run twice: samples need not be.
        self._evaluator = Evaluator(self.model, cache=False, batch=self.batch)
        if any(term.pool == "none" for term in self._activation_terms):
            raise SearchError("A score is one number: pool positions by mean, max or last.")
        self.seeds = check_seeds(self.seeds)
        if self.noiseless:
            self.seeds = self.seeds[:1]
        for term in self._activation_terms:
            site = self.model.sites[parse(term.site).site]
            units = site.shape[1]
            if units is not None and len(term.direction) > units:
                # Only to raise the model's own error, which names the units that the site has.
                self.model.sites.select(f"{site.address}[{len(term.direction) - 1}]")

    @property
    def noiseless(self) -> bool:
        """Whether a prompt has the same score with every seed, as what is read from text has."""
        return is_seed_independent(self.model, [term for _, term in self.objective.terms])

    @property
    def extent(self) -> str:
        """How far the model is run: `as far as text`, `whole pictures, 2 seeds each`."""
        seeds = "" if len(self.seeds) == 1 else f", {len(self.seeds)} seeds each"
        if any(isinstance(term, LabelTerm) for _, term in self.objective.terms):
            return f"whole pictures{seeds}"
        stages = {self.model.sites[parse(term.site).site].stage for term in self._activation_terms}
        order = list(dict.fromkeys(site.stage for site in self.model.sites.values()))
        return f"as far as {max(stages, key=order.index)}{seeds}"

    def __call__(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        """The score of each prompt, `[prompt]`."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        if new:
            self.known |= dict(zip(new, self._score(new).tolist(), strict=True))
        return np.array([self.known[prompt] for prompt in prompts])

    @property
    def _activation_terms(self) -> list[DirectionTerm]:
        return [term for _, term in self.objective.terms if isinstance(term, DirectionTerm)]

    def _score(self, prompts: Sequence[str]) -> NDArray[np.float64]:
        terms = [term for _, term in self.objective.terms]
        values = measure_terms(
            self._evaluator, terms, prompts, self.seeds, role=self.role, log_odds=True
        ).values
        parts = [weight * values[term] for weight, term in self.objective.terms]
        return np.asarray(np.sum(parts, axis=0).reshape(len(prompts), len(self.seeds)).mean(1))


@dataclass(frozen=True)
class Forecast:
    """What a search will take.

    Attributes:
        prompts: How many are scored.
        seconds_each: Seconds for one.
        extent: How far the model is run.
    """

    prompts: int
    seconds_each: float
    extent: str

    @property
    def seconds(self) -> float:
        """Seconds for all."""
        return self.prompts * self.seconds_each

    def __str__(self) -> str:
        unit, size = next(
            (unit, size)
            for unit, size, most in (("s", 1, 100), ("min", 60, 6000), ("h", 3600, np.inf))
            if self.seconds < most
        )
        return (
            f"{self.prompts:,} prompts at {1000 * self.seconds_each:.1f} ms ({self.extent}): "
            f"about {self.seconds / size:.0f} {unit} at most."
        )


Announce = Callable[[Forecast], None]


def forecast(scorer: Scorer, prompts: Sequence[str], count: int) -> Forecast | None:
    """Score the first of these prompts, and forecast what a whole search takes.

    Args:
        scorer: Scores the prompts and keeps the scores.
        prompts: Prompts that are to be scored anyway; at most two batches of 16 are.
        count: How many prompts the whole search scores.

    Returns:
        The forecast; None where all of them are known, so that nothing was timed.
    """
    seconds_each = None
    # The first batch warms up: only the last one's time counts.
    for start in range(0, min(len(prompts), 2 * TIMED), TIMED):
        batch = prompts[start : start + TIMED]
        new = len({prompt for prompt in batch if prompt not in scorer.known})
        began = time.perf_counter()
        scorer(batch)
        if new:
            seconds_each = (time.perf_counter() - began) / new
    return None if seconds_each is None else Forecast(count, seconds_each, scorer.extent)


class ObjectiveGradient:
    """Estimates how much better a sequence gets by each word at each position, to first order.

    One gradient of the objective with respect to the token embeddings; a word counts by those of
    its tokens that stand where tokens of the present word do.

    Args:
        scorer: The objective and its model.
        space: The prompts.

    Raises:
        SearchError: The objective is not of text sites alone.
        SiteError: A site comes after the text encoder.
    """

    def __init__(self, scorer: Scorer, space: Space) -> None:
        terms = [term for _, term in scorer.objective.terms]
        self.sites = [parse(term.site).site for term in terms if isinstance(term, DirectionTerm)]
        drawn = any(isinstance(term, LabelTerm) for term in terms)
        self.window = find_text_window(
            scorer.model, [] if drawn else list(dict.fromkeys(self.sites))
        )
        self.model, self.objective, self.space = scorer.model, scorer.objective, space
        self.word_tokens = self._word_tokens()
        weight = self.window.encoder.get_input_embeddings().weight
        self.embeddings = weight.detach().float().cpu().numpy()
        lead = space.template.partition(WORDS)[0]
        self.first = int(self.window.begins) + (len(self._ids(lead)) if lead.strip() else 0)

    def __call__(self, states: Sequence[State]) -> list[Gains]:
        """`[position, word]` for each sequence."""
        prompts = [self.space.text(state) for state in states]
        _, gradients = token_gradients(
            self.model, prompts, self.sites, lambda values: self._objective(values, prompts)
        )
        return [self._gains(state, row) for state, row in zip(states, gradients, strict=True)]

    def _objective(self, values: Mapping[str, Tensor], prompts: Sequence[str]) -> Tensor:
        real = self.window.token_mask(prompts)
        total = torch.zeros(len(prompts))
        for weight, term in self.objective.terms:
            assert isinstance(term, DirectionTerm)
            site = parse(term.site).site
            hook = self.model.family.hooks_by_address[site]
            mask = real if hook.text_window else None
            pooler = Pooler(term.pool, mask, sequence=hook.site.shape[0] is not None)
            pooled = pooler(values[site])
            way = torch.as_tensor(term.direction, dtype=pooled.dtype, device=pooled.device)
            total = total.to(pooled.device) + weight * (pooled[:, : len(way)] @ way)
        return total

    def _gains(self, state: State, gradient: NDArray[np.float32]) -> Gains:
        gains, at = [], self.first
        for word in state:
            # Words may differ in their number of tokens; only those that stand where the present
            # ones do count.
            present = self.word_tokens[word]
            length = int((present >= 0).sum())
            # A prompt longer than the window is cut: `along` is then shorter than the word.
            along = gradient[at : at + length]
            every = along @ self.embeddings.T
            gain = np.zeros(len(self.word_tokens))
            for offset in range(min(length, len(along), self.word_tokens.shape[1])):
                tokens = self.word_tokens[:, offset]
                change = every[offset, tokens] - every[offset, present[offset]]
                # First-order estimate, as HotFlip (Ebrahimi et al. 2018): gradient times the change
                # of embedding.
                gain += np.where(tokens >= 0, change, 0.0)
            gains.append(gain)
            at += length
        return np.array(gains)

    def _ids(self, text: str) -> list[int]:
        return self.window.ids([text])[0]

    def _word_tokens(self) -> NDArray[np.int64]:
        """Each word's tokens, `[word, longest]`, -1 where it has no more."""
        raw = self.space.tokens
        ids = self.window.ids(self.space.vocabulary) if raw is None else [[one] for one in raw]
        table = np.full((len(ids), max(map(len, ids), default=1) or 1), -1)
        for index, row in enumerate(ids):
            table[index, : len(row)] = row
        return table
