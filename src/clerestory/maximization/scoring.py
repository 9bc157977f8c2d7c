"""Prompts to scores: the model is run as far as the objective needs it, and no prompt twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from clerestory.classifiers import classifier
from clerestory.errors import SearchError
from clerestory.evaluation.objectives import Along, Drawn, Objective, Term
from clerestory.evaluation.terms import Matrix, noiseless, read_terms
from clerestory.maximization.base import Gains
from clerestory.maximization.space import Space, State
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.gradients import text_window, token_gradients
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.seeds import check_seeds
from clerestory.types import Role

__all__ = ["Scorer", "Slope"]

CERTAIN = 1e-6
"""How near to 0 and 1 a classifier's probability counts."""


@dataclass(eq=False)
class Scorer:
    """The objective's value of prompts, the mean over `seeds`; text sites need one seed only.

    `known` keeps what was scored, by prompt. `role` says which of two classifiers answers.
    """

    model: Model
    objective: Objective
    seeds: Sequence[int] = (0,)
    batch: int = 64
    role: Role = "selection"
    known: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if any(term.pool == "none" for term in self._along):
            raise SearchError("A score is one number: pool positions by mean, max or last.")
        self.seeds = check_seeds(self.seeds)
        if self.noiseless:
            self.seeds = self.seeds[:1]
        for term in self._along:
            site = self.model.sites[parse(term.site).site]
            width, known = len(term.direction), site.shape[1]
            if known is not None and width > known:
                self.model.sites.select(f"{site.address}[{width - 1}]")

    @property
    def noiseless(self) -> bool:
        """Whether a prompt has the same score with every seed: all of it is read from the text."""
        return noiseless(self.model, [term for _, term in self.objective.terms])

    @property
    def reach(self) -> str:
        """How far the model has to run: `as far as text`, `whole pictures, 2 seeds each`."""
        seeds = "" if len(self.seeds) == 1 else f", {len(self.seeds)} seeds each"
        stages = {self.model.sites[parse(term.site).site].stage for term in self._along}
        if self._drawn:
            return f"whole pictures{seeds}"
        last = list(dict.fromkeys(site.stage for site in self.model.sites.values()))
        return f"as far as {max(stages, key=last.index)}{seeds}"

    def __call__(self, texts: Sequence[str]) -> Matrix:
        """A score for each prompt."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            self.known |= dict(zip(new, self._scored(new).tolist(), strict=True))
        return np.array([self.known[text] for text in texts])

    @property
    def _along(self) -> list[Along]:
        return [term for _, term in self.objective.terms if isinstance(term, Along)]

    @property
    def _drawn(self) -> list[Drawn]:
        return [term for _, term in self.objective.terms if isinstance(term, Drawn)]

    def _scored(self, texts: Sequence[str]) -> Matrix:
        values = self._values(texts)
        parts = [weight * values[term] for weight, term in self.objective.terms]
        return np.asarray(np.sum(parts, axis=0).reshape(len(texts), len(self.seeds)).mean(1))

    def _values(self, texts: Sequence[str]) -> dict[Term, Matrix]:
        """Each term, `[prompt × seed]`."""
        terms = [term for _, term in self.objective.terms]
        seen = read_terms(self.model, terms, texts, self.seeds, sees=self._seen, batch=self.batch)
        return seen.values

    def _seen(self, term: Drawn, pictures: NDArray[np.uint8]) -> Matrix:
        judge = classifier(term.classifier, role=self.role)
        odds = judge(pictures)[:, judge.classes.index(term.shows)].astype(float)
        return np.asarray(logit(odds.clip(CERTAIN, 1 - CERTAIN)))


class Slope:
    """How much better a sequence gets by each word at each place, to first order.

    One gradient of the objective with respect to the tokens; a word is told by the tokens that
    stand where its own would. SearchError, SiteError where the objective is not of text sites.
    """

    def __init__(self, scorer: Scorer, space: Space) -> None:
        terms = [term for _, term in scorer.objective.terms]
        self.sites = [parse(term.site).site for term in terms if isinstance(term, Along)]
        drawn = any(isinstance(term, Drawn) for term in terms)
        self.window = text_window(scorer.model, [] if drawn else list(dict.fromkeys(self.sites)))
        self.model, self.objective, self.space = scorer.model, scorer.objective, space
        self.pieces = self._pieces()
        weight = self.window.encoder.get_input_embeddings().weight
        self.embeddings = weight.detach().float().cpu().numpy()
        lead = space.template.partition("{}")[0]
        self.before = int(self.window.begins) + (len(self._ids(lead)) if lead.strip() else 0)

    def __call__(self, states: Sequence[State]) -> list[Gains]:
        """`[word, vocabulary]` for each sequence."""
        texts = [self.space.text(state) for state in states]
        _, slopes = token_gradients(
            self.model, texts, self.sites, lambda seen: self._value(seen, texts)
        )
        return [self._gains(state, slope) for state, slope in zip(states, slopes, strict=True)]

    def _value(self, seen: Mapping[str, Tensor], texts: Sequence[str]) -> Tensor:
        counted = self.window.token_mask(texts)
        total = torch.zeros(len(texts))
        for weight, term in self.objective.terms:
            assert isinstance(term, Along)
            site = parse(term.site).site
            hook = self.model.family.hooks_by_address[site]
            real = counted if hook.text_window else None
            pooled = Pooler(term.pool, real, row=hook.site.shape[0] is not None)(seen[site])
            way = torch.as_tensor(term.direction, dtype=pooled.dtype, device=pooled.device)
            total = total.to(pooled.device) + weight * (pooled[:, : len(way)] @ way)
        return total

    def _gains(self, state: State, slope: NDArray[np.float32]) -> Gains:
        gains, at = [], self.before
        for place in state:
            own = self.pieces[place]
            length = int((own >= 0).sum())
            reach = slope[at : at + length]
            every = reach @ self.embeddings.T
            gain = np.zeros(len(self.pieces))
            for offset in range(min(length, len(reach), self.pieces.shape[1])):
                there = self.pieces[:, offset]
                change = every[offset, there] - every[offset, own[offset]]
                gain += np.where(there >= 0, change, 0.0)
            gains.append(gain)
            at += length
        return np.array(gains)

    def _ids(self, text: str) -> list[int]:
        return self.window.ids([text])[0]

    def _pieces(self) -> NDArray[np.int64]:
        """Each word's tokens, `[vocabulary, most]`, -1 where it has no more."""
        raw = self.space.tokens
        ids = self.window.ids(self.space.vocabulary) if raw is None else [[one] for one in raw]
        table = np.full((len(ids), max(map(len, ids), default=1) or 1), -1)
        for row, own in enumerate(ids):
            table[row, : len(own)] = own
        return table
