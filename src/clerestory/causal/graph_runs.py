"""Runs of pairs of prompts in which some parts of the model take values of another run.

A part is *frozen* where it has the value of the clean run whatever comes before it. The graph of
some parts is run on the corrupted prompts with every other part frozen, so that what the corrupted
words change reaches the objective through these parts alone.
Source: Wang et al. 2022 (arXiv:2211.00593), Marks et al. 2024 (arXiv:2403.19647).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
from torch import Tensor

from clerestory.causal.graph_nodes import SitePart, units_by_site
from clerestory.causal.paired_runs import (
    BatchRunner,
    PairedSamples,
    Parts,
    Reading,
    Visit,
    check_calls,
)
from clerestory.causal.patched_sites import PartPatch
from clerestory.errors import EvidenceError
from clerestory.models.core.gradient_questions import ObjectiveSite
from clerestory.models.core.types import Step
from clerestory.types import Floats

__all__ = ["GraphBatch", "GraphRuns", "StopAtSite"]

MAX_BYTES = 4 << 30
"""What batches may take together; beyond it they are run again when they are needed."""
Values: TypeAlias = Mapping[Visit, Tensor]
PartsBySite: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class RecordingPatch(PartPatch):
    """A patch that keeps what its site had before it.

    Attributes:
        seen: Where the value is kept, by the address with its step.
    """

    seen: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, value: Tensor) -> Tensor:
        """Keep a value and patch it."""
        self.seen[self.site] = value.detach().float().cpu().clone()
        return super().__call__(value)


@dataclass(frozen=True)
class StopAtSite:
    """An objective that ends a run at a site, where only values on the way are wanted.

    Attributes:
        address: The site.
        name: What messages call it.
        reads_pictures: Never.
    """

    address: str
    name: str = "the values of sites"
    reads_pictures: bool = False

    @property
    def sites(self) -> Sequence[ObjectiveSite]:
        """The site."""
        return (ObjectiveSite(self.address),)

    def __call__(self, values: Mapping[ObjectiveSite, Tensor], pictures: Tensor | None) -> Tensor:
        """Zeros that depend on the site's values, so that it is run."""
        (value,) = values.values()
        return 0.0 * value.flatten(1).sum(1)


class KeptGradients:
    """A sink that keeps the values and gradients of a batch."""

    def __init__(self) -> None:
        self.values: dict[Visit, Tensor] = {}
        self.gradients: dict[Visit, Tensor] = {}

    def value(self, address: str, value: Tensor, step: Step) -> None:
        """Keep a value."""
        self.values[address, step.index, step.call] = value.float().cpu().clone()

    def gradient(self, address: str, gradient: Tensor, step: Step) -> None:
        """Keep a gradient."""
        self.gradients[address, step.index, step.call] = gradient.float().cpu().clone()


class GraphRuns:
    """Runs of one half of the samples.

    Args:
        how: Runs batches; its sites are those of the parts.
        pairs: The samples.
        parts: What may be a node.
        batch: Samples that are run together.
    """

    def __init__(
        self, how: BatchRunner, pairs: PairedSamples, parts: Sequence[SitePart], batch: int
    ) -> None:
        self.how, self.pairs, self.parts = how, pairs, tuple(parts)
        self.rows = list(pairs.batches(batch, how))
        self._batches: dict[int, GraphBatch] = {}

    def batch(self, rows: range) -> GraphBatch:
        """The batch of some rows; as many are in memory as `MAX_BYTES` allow, at least one.

        Args:
            rows: The rows.

        Returns:
            The batch, with its clean and corrupted runs.
        """
        if rows.start not in self._batches:
            # Let go before the next one is read.
            while self._batches and sum(each.bytes for each in self._batches.values()) > MAX_BYTES:
                del self._batches[next(iter(self._batches))]
            self._batches[rows.start] = GraphBatch(self.how, self.pairs, self.parts, rows)
        return self._batches[rows.start]

    def over_batches(self, measure: Callable[[GraphBatch], Floats]) -> Floats:
        """Measure batch by batch.

        Args:
            measure: Gives `[sample, …]`.

        Returns:
            `[sample, …]` of all samples.
        """
        return np.concatenate([measure(self.batch(rows)) for rows in self.rows])


class GraphBatch:
    """The clean and the corrupted runs of a batch, and interventions on them.

    Args:
        how: Runs batches.
        pairs: The samples.
        parts: What may be a node.
        rows: The samples of the batch.
    """

    def __init__(
        self, how: BatchRunner, pairs: PairedSamples, parts: Sequence[SitePart], rows: range
    ) -> None:
        self.how, self.rows, self.parts = how, rows, tuple(parts)
        self._clean_samples = pairs.samples(rows)
        self._corrupted_samples = pairs.samples(rows, corrupted=True)
        self._all = units_by_site(parts)
        self.clean: Reading = how.read(self._clean_samples)
        self.corrupted: Reading = how.read(self._corrupted_samples)
        check_calls(self.clean.parts)
        _check_shapes(self.clean.parts, self.corrupted.parts)
        self._gradients: dict[bool, Values] = {}

    @property
    def bytes(self) -> int:
        """What the batch has in memory, with gradients at both runs."""
        return 4 * sum(value.nbytes for value in self.clean.parts.values())

    @property
    def total(self) -> Floats:
        """What the corrupted prompts add to the objective, `[sample]`."""
        return self.corrupted.objective - self.clean.objective

    def graph(self, kept: Sequence[SitePart]) -> Floats:
        """What the corrupted prompts add through some parts, with all others frozen, `[sample]`."""
        return self._added(self._freeze(self._others(kept)), corrupted=True)

    def without(self, removed: Sequence[SitePart]) -> Floats:
        """What the corrupted prompts add with some parts frozen, `[sample]`."""
        return self._added(self._freeze(units_by_site(removed)), corrupted=True)

    def alone(self, part: SitePart) -> Floats:
        """What patching one part of the corrupted runs into the clean ones adds, `[sample]`."""
        return self._added(self._patches(self.corrupted.parts, {part.site: part.units}))

    def direct(
        self, sender: SitePart | None, receivers: Sequence[SitePart], *, draws: bool = True
    ) -> tuple[Floats, Parts]:
        """What one part, or the words, give to the others and to the objective directly.

        Every other part is frozen, so that nothing passes through it.

        Args:
            sender: The part that takes its corrupted value; None for the words.
            receivers: Parts whose values are wanted.
            draws: Whether the objective is wanted; otherwise the run ends at the last part.

        Returns:
            What it adds to the objective, `[sample]` (zeros where it is not wanted), and what the
            sites of the receivers would have been.
        """
        values = dict(self.clean.parts)
        if sender is not None:
            for visit, value in self.corrupted.parts.items():
                if visit[0] == sender.site:
                    values[visit] = _replaced(values[visit], value, sender.units)
        read = {part.site for part in receivers}
        seen: dict[str, Tensor] = {}
        edits = [
            RecordingPatch(f"{site}@{step}", value.numpy(), None, seen)
            if site in read
            else PartPatch(f"{site}@{step}", value.numpy())
            for (site, step, _), value in values.items()
            if site in self._all
        ]
        if draws:
            added = self._added(edits, corrupted=sender is None)
        else:
            samples = self._corrupted_samples if sender is None else self._clean_samples
            stop = StopAtSite(self.parts[-1].site)
            added = replace(self.how, objective=stop).read(samples, edits, keeps=False).objective
        return added, {
            visit: seen[f"{visit[0]}@{visit[1]}"] for visit in values if visit[0] in read
        }

    def given(self, received: Parts, receiver: SitePart) -> Floats:
        """What a part adds to the objective with values that another gave it, `[sample]`."""
        return self._added(self._patches(received, {receiver.site: receiver.units}))

    def gradients(self, *, corrupted: bool) -> Values:
        """Gradients of the objective at the clean or the corrupted runs, kept for the batch."""
        if corrupted not in self._gradients:
            sink = KeptGradients()
            samples = self._corrupted_samples if corrupted else self._clean_samples
            self.how.differentiate(samples, self.how.sites, sink)
            self._gradients[corrupted] = sink.gradients
        return self._gradients[corrupted]

    def losses(self, kept: Sequence[SitePart]) -> tuple[Floats, Floats]:
        """Estimates of what freezing each part of a graph would take from it.

        The mean of the gradients at the graph's own run and at the clean one, times the change:
        the trapezoid rule on the way between them.

        Args:
            kept: The parts of the graph.

        Returns:
            What the graph adds, `[sample]`, and the estimates, `[sample, part of kept]`.
        """
        sink = KeptGradients()
        found = self.how.differentiate(
            self._corrupted_samples, self.how.sites, sink, self._freeze(self._others(kept))
        )
        plain = self.gradients(corrupted=False)
        products: dict[str, Floats] = {}
        for visit, gradient in sink.gradients.items():
            slope = (gradient + plain.get(visit, 0 * gradient)) / 2
            change = sink.values[visit] - self.clean.parts[visit]
            products[visit[0]] = products.get(visit[0], 0) + (slope * change).sum(1).numpy()
        return found.objective - self.clean.objective, self._summed(products, kept)

    def estimates(self, received: Parts, receivers: Sequence[SitePart]) -> Floats:
        """Estimates of `given` for several parts, from the gradients at both runs.

        Args:
            received: What the sites of the receivers would be.
            receivers: The parts.

        Returns:
            `[sample, receiver]`.
        """
        slopes = [self.gradients(corrupted=corrupted) for corrupted in (False, True)]
        products: dict[str, Floats] = {}
        for visit, value in received.items():
            change = value - self.clean.parts[visit]
            for gradients in slopes:
                if visit in gradients:
                    half = (gradients[visit] * change).sum(1).numpy() / 2
                    products[visit[0]] = products.get(visit[0], 0) + half
        return self._summed(products, receivers)

    def _summed(self, products: Mapping[str, Floats], parts: Sequence[SitePart]) -> Floats:
        nothing = np.zeros(len(self.rows))
        return np.stack(
            [
                products[part.site][:, list(part.units)].sum(1)
                if part.site in products
                else nothing
                for part in parts
            ],
            1,
        )

    def _others(self, kept: Sequence[SitePart]) -> PartsBySite:
        """The units of all sites that are not those of some parts."""
        own = units_by_site(kept)
        return {
            site: tuple(sorted(set(units) - set(own.get(site, ()))))
            for site, units in self._all.items()
        }

    def _freeze(self, units: PartsBySite) -> list[PartPatch]:
        return self._patches(self.clean.parts, units)

    def _patches(self, values: Parts, units: PartsBySite) -> list[PartPatch]:
        return [
            PartPatch(f"{site}@{step}", value.numpy(), units[site])
            for (site, step, _), value in values.items()
            if units.get(site)
        ]

    def _added(self, edits: Sequence[PartPatch], *, corrupted: bool = False) -> Floats:
        samples = self._corrupted_samples if corrupted else self._clean_samples
        return self.how.read(samples, edits, keeps=False).objective - self.clean.objective


def _replaced(value: Tensor, other: Tensor, units: Sequence[int]) -> Tensor:
    result = value.clone()
    result[..., list(units)] = other[..., list(units)]
    return result


def _check_shapes(clean: Parts, corrupted: Parts) -> None:
    for visit, value in clean.items():
        other = corrupted.get(visit)
        if other is None or other.shape != value.shape:
            raise EvidenceError(
                f"{visit[0]} has other positions in a clean run than in its corrupted one: choose "
                "words of as many tokens."
            )
