"""First-order estimates of what each word would add to an objective, from one gradient."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.maximization.base import Gains
from clerestory.maximization.scoring import Scorer, objective_sites
from clerestory.maximization.space import WORDS, Space, State, text_window
from clerestory.models.core.text_windows import TextEncoder

__all__ = ["ObjectiveGradient"]

BATCH = 8
"""Samples that are differentiated together beyond the text encoders, where a step is in memory."""


class ObjectiveGradient:
    """First-order estimates of the gain of each word at each position of a sequence.

    They come from one gradient of the objective with respect to the token embeddings, of all text
    encoders that it depends on, through prior, denoiser and classifier where it is read there. Of a
    word with more tokens than the one it replaces, only as many tokens count.

    Args:
        scorer: The objective and its model.
        space: The prompts.

    Raises:
        SearchError: The model has no text encoder whose tokens are known, or its weights are
            offloaded.
        ModelError: A classifier in the objective has no gradient.
    """

    def __init__(self, scorer: Scorer, space: Space) -> None:
        self.model, self.space, self.seeds = scorer.model, space, scorer.seeds
        self.objective = scorer.objective.differentiable(scorer.role)
        sites = objective_sites([scorer.objective])
        stages = {self.model.sites[site].stage for site in sites}
        windows = self.model.family.text_windows
        # Another encoder's tokens are not on the way to a text site.
        is_text = bool(stages) and stages <= windows.keys() and not self.objective.reads_pictures
        own = text_window(self.model, sites)
        self.encoders = [
            _EncoderGains(window, space, has_raw_tokens=window is own)
            for stage, window in windows.items()
            if isinstance(window, TextEncoder)
            and f"{window.stage}/tokens" in self.model.sites
            and (stage in stages or not is_text)
        ]
        if not self.encoders:
            raise SearchError("The model has no text encoder whose tokens are known.")
        self.batch = scorer.batch if is_text else min(scorer.batch, BATCH)

    def __call__(self, states: Sequence[State]) -> list[Gains]:
        """`[position, word]` for each sequence."""
        prompts = [self.space.text(state) for state in states]
        sites = [encoder.site for encoder in self.encoders]
        found = self.model.gradients(
            self.objective,
            sites,
            prompts,
            self.seeds,
            # Of several encoders the objective may depend on one alone.
            independent="error" if len(sites) == 1 else "zero",
            batch=self.batch,
            progress=False,
        )
        gains: list[Gains] = []
        for encoder in self.encoders:
            gradients = found.gradients.site_values[encoder.site].array()[:, 0]
            # The seed is the faster index, and scores are means over seeds.
            means = gradients.reshape(len(prompts), -1, *gradients.shape[1:]).mean(1)
            added = encoder(states, prompts, means)
            pairs = zip(gains, added, strict=True)
            gains = [one + other for one, other in pairs] if gains else added
        return gains


class _EncoderGains:
    """What the gradient at the tokens of one text encoder promises of each word."""

    def __init__(self, window: TextEncoder, space: Space, *, has_raw_tokens: bool) -> None:
        self.window, self.space, self.site = window, space, f"{window.stage}/tokens"
        self.has_raw_tokens = has_raw_tokens
        if window.encoder.get_input_embeddings().weight.is_meta:
            raise SearchError(
                f"The token embeddings of {window.stage} are offloaded, so that words cannot be "
                "compared by them."
            )
        # Words begin after the template's own words.
        prefix = space.template.partition(WORDS)[0]
        self.first = len(window.token_ids([prefix])[0]) if prefix.strip() else 0

    def __call__(
        self, states: Sequence[State], prompts: Sequence[str], gradients: NDArray[np.float32]
    ) -> list[Gains]:
        # The first of the prompt's own tokens: others precede them, such as a start token.
        starts = self.window.token_mask(prompts).int().argmax(1).tolist()
        return [
            self._gains(state, np.nan_to_num(row[start:]))
            for state, row, start in zip(states, gradients, starts, strict=True)
        ]

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

    # Both when they are first needed: most searches take no gradient, and a large encoder has
    # hundreds of megabytes of embeddings.

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """The token embeddings, which every gradient is multiplied with, `[token, unit]`."""
        weight = self.window.encoder.get_input_embeddings().weight
        embeddings: NDArray[np.float32] = weight.detach().float().cpu().numpy()
        return embeddings

    @cached_property
    def word_tokens(self) -> NDArray[np.int64]:
        """The tokens of each word, `[word, token]`, padded with -1."""
        raw = self.space.tokens if self.has_raw_tokens else None
        ids = (
            self.window.token_ids(self.space.vocabulary)
            if raw is None
            else [[token] for token in raw]
        )
        table = np.full((len(ids), max(map(len, ids), default=1) or 1), -1)
        for index, row in enumerate(ids):
            table[index, : len(row)] = row
        return table
