"""The games of an attribution: paraphrases with their coalitions, and splits of their values.

The coalitions of a paraphrase share its seeds, and other paraphrases have others. Paraphrases of
one template share their words: they are averaged first, and intervals are over templates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from clerestory.attribution.paraphrases import MIN_COUNT, template_groups, template_means
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
from clerestory.stats.clustered_intervals import mean_interval, share_interval
from clerestory.types import Bools, Floats, Integers

__all__ = ["MIN_TEMPLATES", "Games", "Sample", "estimates"]

MIN_TEMPLATES = 12
"""Templates below which a claim about others is undecided."""
SENSITIVITY_MARGIN = 0.1
"""Share of the largest Shapley value by which another removal must change a share to be flagged."""


class Sample(NamedTuple):
    """A prompt with the seeds of its paraphrase, which values are averaged over."""

    text: str
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Games:
    """The paraphrases of a prompt and the coalitions that are measured of each.

    Attributes:
        prompt: The prompt in pieces.
        paraphrases: Those of which something remains without the pieces.
        seeds: By paraphrase, as many of each.
        removal: How pieces are removed, in one or both ways; the first is the main one.
        coalitions: By paraphrase `[coalition, piece]`: all of them, or two samples.
        budget: Coalitions per sample.
    """

    prompt: SegmentedPrompt
    paraphrases: tuple[SegmentedPrompt, ...]
    seeds: tuple[tuple[int, ...], ...]
    removal: tuple[Removal, ...]
    coalitions: tuple[Bools, ...]
    budget: int

    @classmethod
    def plan(
        cls,
        prompt: SegmentedPrompt,
        paraphrases: Sequence[SegmentedPrompt],
        seeds: Callable[[str], tuple[int, ...]],
        removal: tuple[Removal, ...],
        budget: int,
    ) -> Games:
        """Choose the coalitions to measure.

        Args:
            prompt: The prompt in pieces.
            paraphrases: The replicates.
            seeds: Gives the seeds of a paraphrase by its text.
            removal: How pieces are removed, in one or both ways; the first is the main one.
            budget: Coalitions per sample, where there are too many pieces to measure all.

        Returns:
            The games, of the usable paraphrases alone.

        Raises:
            EvidenceError: Too few paraphrases have words left without the pieces.
        """
        pieces = len(prompt.pieces)
        # An empty prompt cannot be drawn in every family, and would be no baseline of this prompt.
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
                # A seed for each paraphrase, so that the errors of sampling
                # average out over paraphrases.
                np.unique(np.concatenate(sampled_coalitions(pieces, budget, seed)), axis=0)
                for seed in range(len(usable))
            ]
        return cls(
            prompt,
            paraphrases=tuple(usable),
            seeds=tuple(seeds(each.full_text) for each in usable),
            removal=removal,
            coalitions=tuple(coalitions),
            budget=budget,
        )

    @property
    def exact(self) -> bool:
        """Whether every coalition is measured."""
        return len(self.prompt.pieces) <= MAX_EXACT

    @property
    def single(self) -> Bools:
        """No piece, each piece by itself, and all pieces."""
        return single_coalitions(len(self.prompt.pieces))

    @property
    def groups(self) -> Integers:
        """The template of each paraphrase, as a number."""
        return template_groups(self.paraphrases)

    def samples(self) -> list[Sample]:
        """Everything to measure, some more than once."""
        return [sample for removal in self.removal for sample in self._samples(removal)]

    def single_samples(self) -> list[Sample]:
        """Prompts with no piece, with each by itself, and with all."""
        return [
            Sample(sentence.text(row, self.removal[0]), seeds)
            for sentence, seeds in zip(self.paraphrases, self.seeds, strict=True)
            for row in self.single
        ]

    def activations(self, measured: Mapping[Sample, Floats]) -> Floats:
        """Stack what was measured to `[template, single coalition, unit]`.

        Args:
            measured: By sample `[unit]`, for those of `single_samples`.

        Returns:
            The mean of each template; the second axis has the rows of `single`.
        """
        return template_means(self._stack(measured, self.single, self.removal[0]), self.groups)

    def split(
        self, measured: Mapping[Sample, Floats], target: int, *, bounded: bool
    ) -> dict[Removal, Split]:
        """Split the values of a target.

        Args:
            measured: By sample the values `[target]`.
            target: The target's index.
            bounded: Whether its values lie between 0 and 1.

        Returns:
            The split by removal. That of the first removal is compared with that of another, if
            there is one with other texts.
        """
        first, *others = self.removal
        # Where both removals give the same texts, a value would be compared with itself.
        comparable = [each for each in others if self._samples(each) != self._samples(first)]
        values = {sample: float(row[target]) for sample, row in measured.items()}
        indices = {removal: self._indices(values, removal) for removal in self.removal}
        return {
            removal: self._split(
                indices[removal],
                template_means(self._stack(values, self.single, removal), self.groups),
                # Only the main way is flagged: the comparison is the same from the other side.
                indices[comparable[0]] if removal == first and comparable else None,
                self._means(values, removal),
                # Estimates from sampled coalitions can leave the bounds of the exact values.
                bounded and self.exact,
            )
            for removal in self.removal
        }

    def _samples(self, removal: Removal) -> list[Sample]:
        """The samples of every coalition to measure, and of the single ones, by paraphrase."""
        return [
            Sample(sentence.text(row, removal), seeds)
            for sentence, seeds, coalitions in zip(
                self.paraphrases, self.seeds, self.coalitions, strict=True
            )
            for row in np.unique(np.concatenate([coalitions, self.single]), axis=0)
        ]

    def _stack(self, measured: Mapping[Sample, Any], coalitions: Bools, removal: Removal) -> Floats:
        """`[replicate, coalition, …]`."""
        return np.array(
            [
                [measured[Sample(sentence.text(row, removal), seeds)] for row in coalitions]
                for sentence, seeds in zip(self.paraphrases, self.seeds, strict=True)
            ]
        )

    def _means(self, values: Mapping[Sample, float], removal: Removal) -> tuple[float, ...] | None:
        """The mean value of every coalition, in the order of `all_coalitions`."""
        if not self.exact:
            return None
        coalitions = all_coalitions(len(self.prompt.pieces))
        means = template_means(self._stack(values, coalitions, removal), self.groups)
        return tuple(means.mean(0).tolist())

    def _indices(self, values: Mapping[Sample, float], removal: Removal) -> Indices:
        """The indices of each template, the mean of its paraphrases."""
        pieces = len(self.prompt.pieces)
        if self.exact:
            indices = exact_indices(self._stack(values, all_coalitions(pieces), removal))
        else:

            def game(sentence: SegmentedPrompt, seeds: tuple[int, ...]) -> Game:
                return lambda coalitions: np.array(
                    [
                        values[Sample(sentence.text(row, removal), seeds)]
                        for row in np.atleast_2d(coalitions).astype(bool)
                    ]
                )

            games = list(map(game, self.paraphrases, self.seeds))
            indices = sampled_indices(games, pieces, self.budget, range(len(games)))
        return replace(
            indices,
            # Indices are linear in the values, so means of indices are indices of means.
            shapley=template_means(indices.shapley, self.groups),
            interactions=template_means(indices.interactions, self.groups),
        )

    def _split(
        self,
        indices: Indices,
        single: Floats,
        other: Indices | None,
        means: tuple[float, ...] | None,
        bounded: bool,
    ) -> Split:
        """Means and intervals of indices.

        `single` are the values `[template, single coalition]`, `other` the indices of another
        removal.
        """
        names, pieces = self.prompt.labels, len(self.prompt.pieces)
        alone = single[:, 1:-1] - single[:, :1]
        total = single[:, -1] - single[:, 0]
        # A floor, where no piece adds anything: any difference would exceed a margin of 0.
        largest = max(float(np.abs(indices.shapley.mean(0)).max()), 1e-12)
        margin = SENSITIVITY_MARGIN * largest

        def limit(of_rates: float) -> float | None:
            """The largest size of a figure that is `of_rates` at most for values in 0 … 1."""
            return of_rates if bounded else None

        # A share lies in −1 … 1, so the difference of two in −2 … 2; pairs are twice as wide.
        shapley = _removal_sensitive(
            indices.shapley, None if other is None else other.shapley, limit(2), margin
        )
        pairs = _removal_sensitive(
            indices.interactions, None if other is None else other.interactions, limit(4), margin
        )
        return Split(
            shapley=tuple(
                Share(**vars(estimate), piece=name, removal_sensitive=flag)
                for name, estimate, flag in zip(
                    names, estimates(indices.shapley, limit(1)), shapley, strict=True
                )
            ),
            # A pair's second difference has two values of either sign.
            interactions=tuple(
                Interaction(**vars(estimate), pieces=(names[i], names[j]), removal_sensitive=flag)
                for (i, j), estimate, flag in zip(
                    indices.pairs, estimates(indices.interactions, limit(2)), pairs, strict=True
                )
            ),
            completeness_error=indices.completeness_error,
            sampling_error=indices.sampling_error,
            single=tuple(
                Share(**vars(estimate), piece=name)
                for name, estimate in zip(names, estimates(alone, limit(1)), strict=True)
            ),
            total=estimates(total[:, None], limit(1))[0],
            # All pieces and, but for one, as often none, less each piece alone.
            synergy=estimates((total - alone.sum(1))[:, None], limit(pieces))[0],
            values=means,
            templates=len(single),
            interval="binomial" if bounded else "t",
        )


def _removal_sensitive(
    values: Floats, others: Floats | None, limit: float | None, margin: float
) -> list[bool | None]:
    """Whether the other removal gives another mean of each column; None without another."""
    if others is None or not values.shape[1]:
        return [None] * values.shape[1]
    # Paired: both removals were measured in the same paraphrases.
    differences = estimates(others - values, limit)
    return [(each.low > 0 or each.high < 0) and abs(each.value) > margin for each in differences]


def estimates(values: Floats, limit: float | None) -> list[Estimate]:
    """The mean of each column of `[template, column]`, with its 95% interval.

    Args:
        values: Figures of each template.
        limit: The largest size that a figure can have; None where there is none.

    Returns:
        An estimate for each column: `share_interval` of values with a limit, `mean_interval` of
        others.
    """
    if not values.shape[1]:
        return []
    if limit is None:
        low, high = mean_interval(values)
    else:
        # Sums of differences of rates exceed their limit by rounding errors.
        columns = (values / limit).clip(-1, 1).T
        # Scaled to −1 … 1, for which the interval is made, and back.
        low, high = limit * np.array([share_interval(column) for column in columns]).T
    rows = np.stack([values.mean(0), low, high], axis=1).tolist()
    return [Estimate(*row) for row in rows]
