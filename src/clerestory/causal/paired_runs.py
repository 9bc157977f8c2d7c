"""Pairs of prompts that are run alike, with and without gradients, for patching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor

from clerestory.checks import check_minimum
from clerestory.errors import EvidenceError, OptionError, SiteError
from clerestory.evaluation.objectives import Objective, parse_objective
from clerestory.models import Model
from clerestory.models.core.addresses import SiteSelection, check_width
from clerestory.models.core.gradient_questions import DifferentiableObjective, GradientQuestion
from clerestory.models.core.gradients import BatchGradients, differentiate
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request, list_samples
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.core.types import Edit, Sample, Step
from clerestory.models.gradients import as_differentiable
from clerestory.types import Floats, Role

__all__ = [
    "BatchRunner",
    "PairedSamples",
    "Parts",
    "Reading",
    "Visit",
    "check_calls",
    "objective_of",
]

Visit: TypeAlias = tuple[str, int, int]
"""A site, the index of a step, and the number of the call within it."""
Parts: TypeAlias = Mapping[Visit, Tensor]
"""`[sample, position, unit]` of each visit, float32 on the CPU."""


def objective_of(objective: Any, read: str | Sequence[str], role: Role) -> DifferentiableObjective:
    """What is differentiated, of what a caller may name.

    Args:
        objective: An objective, its text, or a function.
        read: What a function reads.
        role: Which of two classifiers of a name predicts labels.

    Returns:
        The objective.

    Raises:
        ClerestoryError: It is none, or a classifier has no gradient.
    """
    if isinstance(objective, str):
        objective = parse_objective(objective)
    if isinstance(objective, Objective):
        return objective.differentiable(role)
    return as_differentiable(objective, [read] if isinstance(read, str) else read)


@dataclass(frozen=True, eq=False)
class PairedSamples:
    """Pairs of prompts × seeds; a sample of each has the same seed."""

    clean: Sequence[str]
    corrupted: Sequence[str]
    items: list[int]
    seeds: list[int]
    both: tuple[tuple[Sample, ...], tuple[Sample, ...]]

    @classmethod
    def of(
        cls,
        model: Model,
        clean: Sequence[str],
        corrupted: Sequence[str],
        seeds_per_item: int,
        seeds: int | Sequence[int] | None,
        options: Mapping[str, Any],
    ) -> PairedSamples:
        """List the samples.

        Args:
            model: The model.
            clean: Prompts.
            corrupted: As many others.
            seeds_per_item: Seeds of each pair.
            seeds: Seeds of all pairs instead.
            options: How samples are drawn.

        Returns:
            The pairs; the seed is the faster index.
        """
        if isinstance(clean, str) or isinstance(corrupted, str) or len(clean) != len(corrupted):
            raise EvidenceError("Give as many corrupted prompts as clean ones, in two lists.")
        if not clean:
            raise EvidenceError("There is no pair of prompts.")
        explicit = None if seeds is None else check_seeds(seeds)
        # Pairs with the same clean prompt have seeds of their own as well.
        earlier = [list(clean[:at]).count(prompt) for at, prompt in enumerate(clean)]
        chosen = [
            explicit or item_seeds(prompt, seeds_per_item, number)
            for prompt, number in zip(clean, earlier, strict=True)
        ]
        items = [item for item, own in enumerate(chosen) for _ in own]
        flat = [seed for own in chosen for seed in own]
        drawn = model.options(**options)
        first, second = (
            list_samples(model, [prompts[item] for item in items], flat, drawn, paired=True)
            for prompts in (clean, corrupted)
        )
        return cls(clean, corrupted, items, flat, (first, second))

    def samples(self, rows: range, *, corrupted: bool = False) -> tuple[Sample, ...]:
        """The samples of a batch."""
        return self.both[corrupted][rows.start : rows.stop]

    def batches(self, batch: int, how: BatchRunner) -> Iterator[range]:
        """Rows that are run together: one batch of the model each."""
        check_minimum(OptionError, 1, batch=batch)
        options = self.both[0][0].options
        model, read = how.model, [site.address for site in how.objective.sites]
        sites = [*how.sites, *model.sites.select(read)] if read else how.sites
        # As a run limits its batches, by all sites that are read and patched.
        bases = list(dict.fromkeys(model.hooks_by_address[site].base for site in sites))
        size = min(batch, model.family.batch_limit(bases, options) or batch)
        for start in range(0, len(self.items), size):
            yield range(start, min(start + size, len(self.items)))

    def check_positions(self, how: BatchRunner) -> None:
        """EvidenceError where prompts of a pair have other positions at a site with tokens."""
        windows = {
            name for site in how.sites if (name := how.model.hooks_by_address[site].text_window)
        }
        for name in windows:
            window = how.model.family.text_window(name, "cond")
            counts = [window.end_mask(list(each)).sum(1) for each in (self.clean, self.corrupted)]
            for clean, corrupted, one, other in zip(
                self.clean, self.corrupted, *(each.tolist() for each in counts), strict=True
            ):
                if one != other:
                    raise EvidenceError(
                        f"{clean!r} has {one} tokens and {corrupted!r} {other}, so that positions "
                        "of text sites do not match: choose words of as many tokens, or sites "
                        "without tokens."
                    )


@dataclass(frozen=True, eq=False)
class Reading:
    """What a run without a graph gave: the objective `[sample]` and the values of sites."""

    objective: Floats
    parts: Parts


def check_calls(parts: Parts) -> None:
    """Check that patches by step are patches by call.

    Args:
        parts: What sites have.

    Raises:
        SiteError: A module is called several times in a step.
    """
    for address, _, call in parts:
        if call:
            raise SiteError(
                f"{address} is called several times in a step, so that it cannot be patched step "
                "by step."
            )


@dataclass(frozen=True, eq=False)
class BatchRunner:
    """Runs batches of samples, with and without gradients."""

    model: Model
    objective: DifferentiableObjective
    sites: Mapping[str, SiteSelection]
    last_steps: int | None = None
    checkpoint: bool = True

    def read(
        self, samples: Sequence[Sample], edits: Sequence[Edit] = (), *, keeps: bool = True
    ) -> Reading:
        """Run samples without a graph.

        Args:
            samples: One batch.
            edits: Edits.
            keeps: Whether the values of the sites are kept.

        Returns:
            The objective and the values.
        """
        sink = _ValueSink(self.sites)
        batch = self._run(samples, self.sites if keeps else {}, sink, edits, values_only=True)
        return Reading(batch.objective, sink.parts)

    def differentiate(
        self,
        samples: Sequence[Sample],
        sites: Mapping[str, SiteSelection],
        sink: Any,
        edits: Sequence[Edit] = (),
    ) -> BatchGradients:
        """Run samples and their backward pass.

        Args:
            samples: One batch.
            sites: The sites.
            sink: Takes values and gradients.
            edits: Edits.

        Returns:
            What the batch gave.
        """
        return self._run(samples, sites, sink, edits, values_only=False)

    def _run(
        self,
        samples: Sequence[Sample],
        sites: Mapping[str, SiteSelection],
        sink: Any,
        edits: Sequence[Edit],
        *,
        values_only: bool,
    ) -> BatchGradients:
        question = GradientQuestion(
            self.objective,
            sites,
            self.last_steps,
            recompute=self.checkpoint,
            may_be_independent=True,
            values_only=values_only,
        )
        request = Request(
            samples=tuple(samples),
            read={},
            edit_sets=(tuple(edits),),
            pool="none",
            branch="cond",
            pictures=False,
            stop="auto",
            batch=len(samples),
            taps={},
            progress=False,
        )
        with hold_pipeline(self.model.pipeline):
            _, batches = differentiate(self.model, request, question, lambda sweep, rows: sink)
        (batch,) = batches
        return batch


class _ValueSink:
    """Keeps values."""

    def __init__(self, sites: Mapping[str, SiteSelection]) -> None:
        self._sites = sites
        self.parts: dict[Visit, Tensor] = {}

    def value(self, address: str, value: Tensor, step: Step) -> None:
        check_width(address, self._sites[address].units, value.shape[-1])
        self.parts[address, step.index, step.call] = value.float().cpu().clone()

    def gradient(self, address: str, gradient: Tensor, step: Step) -> None:
        raise AssertionError("a run without a graph has no gradients")
