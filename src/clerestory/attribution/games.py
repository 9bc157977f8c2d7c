"""The games of an attribution: paraphrases with their coalitions, and splits of their values.

Intervals are over templates: paraphrases of one template share their words, so the bootstrap
resamples templates, each with all of its paraphrases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clerestory.attribution.paraphrases import MIN_COUNT, template_groups
from clerestory.attribution.pieces import Removal, SegmentedPrompt
from clerestory.attribution.results import Estimate, Interaction, Share, Split
from clerestory.attribution.shapley import (
    MAX_EXACT,
    Game,
    Indices,
    all_coalitions,
    exact_indices,
    sampled_coalitions,
    sampled_indices,
    single_coalitions,
)
from clerestory.errors import EvidenceError
from clerestory.stats import bootstrap_means
from clerestory.types import Bools, Floats, Integers

__all__ = ["Games"]

SENSITIVITY_MARGIN = 0.1
"""Share of the largest Shapley value by which another removal must change a share to be flagged."""


@dataclass(frozen=True, eq=False)
class Games:
    """The paraphrases of a prompt and the coalitions that are measured of each.

    Attributes:
        prompt: The prompt in pieces.
        paraphrases: Those of which something remains without the pieces.
        removal: How pieces are removed, in one or both ways; the first is the main one.
        coalitions: By paraphrase `[coalition, piece]`: all of them, or two samples.
        budget: Coalitions per sample.
    """

    prompt: SegmentedPrompt
    paraphrases: tuple[SegmentedPrompt, ...]
    removal: tuple[Removal, ...]
    coalitions: tuple[Bools, ...]
    budget: int

    @classmethod
    def plan(
        cls,
        prompt: SegmentedPrompt,
        paraphrases: Sequence[SegmentedPrompt],
        removal: tuple[Removal, ...],
        budget: int,
    ) -> Games:
        """Choose the coalitions to measure.

        Args:
            prompt: The prompt in pieces.
            paraphrases: The replicates.
            removal: How pieces are removed, in one or both ways; the first is the main one.
            budget: Coalitions per sample, where there are too many pieces to measure all.

        Returns:
            The games, of the usable paraphrases alone.

        Raises:
            EvidenceError: Too few paraphrases have words left without the pieces.
        """
        pieces = len(prompt.pieces)
        usable = [each for each in paraphrases if all(map(each.text_without_pieces, removal))]
        if paraphrases and not usable:
            raise EvidenceError(
                "Without its pieces nothing is left of the prompt: give words around them."
            )
        if len(usable) < MIN_COUNT:
            raise EvidenceError(
                f"Too few paraphrases have words left without the pieces, {len(usable)}: "
                f"{MIN_COUNT} or more are needed, which are the replicates."
            )
        if pieces <= MAX_EXACT:
            coalitions = [all_coalitions(pieces)] * len(usable)
        else:
            coalitions = [
                np.unique(np.concatenate(sampled_coalitions(pieces, budget, seed)), axis=0)
                for seed in range(len(usable))
            ]
        return cls(prompt, tuple(usable), removal, tuple(coalitions), budget)

    @property
    def exact(self) -> bool:
        """Whether every coalition is measured."""
        return len(self.prompt.pieces) <= MAX_EXACT

    @property
    def single(self) -> Bools:
        """No piece, each piece by itself, and all pieces."""
        return single_coalitions(len(self.prompt.pieces))

    def texts(self) -> list[str]:
        """Every prompt to measure, some more than once."""
        return [text for removal in self.removal for text in self._texts(removal)]

    def single_texts(self) -> list[str]:
        """Prompts with no piece, with each by itself, and with all."""
        return [
            sentence.text(row, self.removal[0])
            for sentence in self.paraphrases
            for row in self.single
        ]

    def activations(self, measured: Mapping[str, Floats]) -> Floats:
        """Stack what was measured by text to `[replicate, single coalition, unit]`.

        Args:
            measured: By text `[unit]`, for the texts of `single_texts`.

        Returns:
            The first axis has the paraphrases in their order, the second the rows of `single`.
        """
        return self._stack(measured, self.single, self.removal[0])

    def splits(self, measured: Mapping[str, Floats]) -> Iterator[dict[Removal, Split]]:
        """Split the values of each target, in their order.

        Args:
            measured: By text the values `[target]`.

        Yields:
            The split by removal. That of the first removal is compared with that of another, if
            there is one with other texts.
        """
        first, *others = self.removal
        # Where both removals give the same texts, a value would be compared with itself.
        different = [each for each in others if self._texts(each) != self._texts(first)]
        groups = template_groups(self.paraphrases)
        for target in range(len(next(iter(measured.values())))):
            values = {text: row[target] for text, row in measured.items()}
            indices = {removal: self._indices(values, removal) for removal in self.removal}
            yield {
                removal: self._split(
                    indices[removal],
                    self._stack(values, self.single, removal),
                    indices[different[0]] if removal == first and different else None,
                    self._means(values, removal),
                    groups,
                )
                for removal in self.removal
            }

    def _texts(self, removal: Removal) -> list[str]:
        """The prompts of every coalition to measure, and of the single ones, by paraphrase."""
        return [
            sentence.text(row, removal)
            for sentence, coalitions in zip(self.paraphrases, self.coalitions, strict=True)
            for row in np.unique(np.concatenate([coalitions, self.single]), axis=0)
        ]

    def _stack(self, measured: Mapping[str, Any], coalitions: Bools, removal: Removal) -> Floats:
        """`[replicate, coalition, …]`."""
        return np.array(
            [
                [measured[sentence.text(row, removal)] for row in coalitions]
                for sentence in self.paraphrases
            ]
        )

    def _means(self, values: Mapping[str, float], removal: Removal) -> tuple[float, ...] | None:
        """The mean value of every coalition, in the order of `all_coalitions`."""
        if not self.exact:
            return None
        coalitions = all_coalitions(len(self.prompt.pieces))
        return tuple(self._stack(values, coalitions, removal).mean(0).tolist())

    def _indices(self, values: Mapping[str, float], removal: Removal) -> Indices:
        pieces = len(self.prompt.pieces)
        if self.exact:
            return exact_indices(self._stack(values, all_coalitions(pieces), removal))

        def game(sentence: SegmentedPrompt) -> Game:
            return lambda coalitions: np.array(
                [
                    values[sentence.text(row, removal)]
                    for row in np.atleast_2d(coalitions).astype(bool)
                ]
            )

        games = [game(sentence) for sentence in self.paraphrases]
        return sampled_indices(games, pieces, self.budget)

    def _split(
        self,
        indices: Indices,
        single: Floats,
        other: Indices | None,
        means: tuple[float, ...] | None,
        groups: Integers,
    ) -> Split:
        """Means and intervals of indices.

        `single` are the values `[replicate, single coalition]`, `other` the indices of another
        removal, and `groups` the paraphrases that are resampled together.
        """
        names = self.prompt.labels
        alone = single[:, 1:-1] - single[:, :1]
        total = single[:, -1] - single[:, 0]
        largest = max(float(np.abs(indices.shapley.mean(0)).max()), 1e-12)
        margin = SENSITIVITY_MARGIN * largest

        def sensitive(values: Floats, others: Floats | None) -> list[bool | None]:
            """Whether the other removal gives another mean; None without another."""
            if others is None or not values.shape[1]:
                return [None] * values.shape[1]
            # Paired: both removals were measured in the same paraphrases, so their differences are
            # resampled.
            low, high = _bounds(others - values, groups)
            differs = ((low > 0) | (high < 0)) & (np.abs((others - values).mean(0)) > margin)
            return [bool(each) for each in differs]

        shapley = sensitive(indices.shapley, None if other is None else other.shapley)
        pairs = sensitive(indices.interactions, None if other is None else other.interactions)
        return Split(
            shapley=tuple(
                Share(**vars(estimate), piece=name, removal_sensitive=flag)
                for name, estimate, flag in zip(
                    names, _estimates(indices.shapley, groups), shapley, strict=True
                )
            ),
            interactions=tuple(
                Interaction(**vars(estimate), pieces=(names[i], names[j]), removal_sensitive=flag)
                for (i, j), estimate, flag in zip(
                    indices.pairs, _estimates(indices.interactions, groups), pairs, strict=True
                )
            ),
            completeness_error=indices.completeness_error,
            sampling_error=indices.sampling_error,
            single=tuple(
                Share(**vars(estimate), piece=name)
                for name, estimate in zip(names, _estimates(alone, groups), strict=True)
            ),
            total=_estimates(total[:, None], groups)[0],
            synergy=_estimates((total - alone.sum(1))[:, None], groups)[0],
            values=means,
        )


def _estimates(values: Floats, groups: Integers) -> list[Estimate]:
    """The mean of each column of `[replicate, column]`, with its interval."""
    if not values.shape[1]:
        return []
    low, high = _bounds(values, groups)
    columns = np.stack([values.mean(0), low, high], axis=1).tolist()
    return [Estimate(*column) for column in columns]


def _bounds(values: Floats, groups: Integers) -> tuple[Floats, Floats]:
    # The same generator for every interval, so that an attribution is reproduced without a seed.
    return bootstrap_means(values, rng=np.random.default_rng(0), groups=groups)
