"""The engine of gradients: one run that autograd records, and one backward pass for each batch.

`encode` and `draw` run as always, with one attachment for both. At each site that is asked for the
value becomes a node of its own in the graph, whose gradient goes to a sink during the backward
pass; a sink pools it, or multiplies it by a change, so that no gradient is kept as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clerestory.errors import ClerestoryError, ModelError, OptionError, SiteError, describe_error
from clerestory.models.core.addresses import SiteSelection, check_width
from clerestory.models.core.attachment import Attachment, Probe, Tap
from clerestory.models.core.checkpoints import checkpoint_calls
from clerestory.models.core.family import SiteHook, StageCall
from clerestory.models.core.gradient_checks import (
    GradientSizes,
    memory_error,
    no_dependence,
    obstacles,
)
from clerestory.models.core.gradient_questions import (
    DifferentiableObjective,
    GradientQuestion,
    GradientSink,
    ObjectiveSite,
)
from clerestory.models.core.graph_recording import GraphRecorder, record_graph
from clerestory.models.core.hooks import attach
from clerestory.models.core.latents import AttachedDictionary, make_tap
from clerestory.models.core.parts import Part, split_into_parts
from clerestory.models.core.pipeline_errors import is_out_of_memory
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.requests import Request
from clerestory.models.core.runner import Sweep, open_sweep
from clerestory.models.core.types import Branch, Pool, Sample, Step

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["BatchGradients", "PoolerOfSites", "differentiate"]

DENOISER, DECODER = "denoiser", "vae"
"""The stage whose steps may be truncated, and the one that is called once without steps."""


@dataclass(eq=False)
class BatchGradients:
    """What the backward pass of a batch gave.

    Attributes:
        rows: The samples.
        objective: Its value, `[sample]`.
        sink: What took values and gradients.
        visited: The steps at which each site was read.
        connected: The steps at which a gradient came.
        truncated: The steps that have none because they are not among the last ones.
        imprecise: Sites whose gradients are so small that float16 has fewer digits of them.
    """

    rows: range
    objective: NDArray[np.float64]
    sink: Any
    visited: dict[str, list[Step]] = field(default_factory=dict)
    connected: dict[str, set[Step]] = field(default_factory=dict)
    truncated: set[int] = field(default_factory=set)
    imprecise: tuple[str, ...] = ()

    def is_truncated(self, hook: SiteHook, step: Step) -> bool:
        """Whether a site has no gradient at a step because it is not among the last ones."""
        # What is handed to the denoiser has no steps.
        is_step = hook.site.stage == DENOISER and step.timestep is not None
        return is_step and step.index in self.truncated


MakeSink = Callable[[Sweep, range], GradientSink]
ResolvedSites = Mapping[ObjectiveSite, tuple[str, SiteSelection]]
"""The address, units and steps of what an objective reads."""


def differentiate(
    model: Model, request: Request, question: GradientQuestion, make_sink: MakeSink
) -> tuple[Sweep, list[BatchGradients]]:
    """Run samples, and differentiate the objective with respect to sites.

    Args:
        model: The model; its parameters get no gradients.
        request: The samples, edits, branch, pool and batch; what it reads is replaced.
        question: What is differentiated.
        make_sink: Makes what takes the gradients of a batch.

    Returns:
        The sweep, which knows sites and masks, and what each batch gave.

    Raises:
        SiteError: A site is not reached, or the objective does not depend on it.
        ModelError: Values are not finite, or a part of the model passes no gradients.
        ClerestoryError: As `Model.run`.
    """
    with hold_pipeline(model.pipeline):
        model.rebind()
        work = GradientWork(replace(request, progress=False), question, make_sink)
        read = work.request_of(model)
        with open_sweep(model, replace(read, progress=request.progress)) as (sweep, progress):
            parts = split_into_parts(list(sweep.batches()), 1, 1)
            batches = []
            for part, batch in zip(parts, _compute(model, sweep, work, parts), strict=True):
                if not question.may_be_independent:
                    _check_connected(model, question, batch)
                batches.append(batch)
                progress("differentiating", part.rows.stop, len(request.samples))
    return sweep, batches


@dataclass(frozen=True, eq=False)
class GradientWork:
    """Differentiates parts of a request; see `PartWork`.

    Attributes:
        request: The samples, edits, branch, pool and batch.
        question: What is differentiated.
        make_sink: Makes what takes the gradients of a batch.
    """

    request: Request
    question: GradientQuestion
    make_sink: MakeSink

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples of the request."""
        return self.request.samples

    def request_of(self, model: Model) -> Request:
        """The request, with all that is read of a model.

        Args:
            model: The model.

        Returns:
            A copy.
        """
        objective = self.question.objective
        read = dict(self.question.sites)
        for address, selection in _resolve(model, objective).values():
            read[address] = selection.union(read.get(address, selection))
        return replace(self.request, read=read, pictures=objective.reads_pictures)

    @contextmanager
    def open(self, model: Model) -> Iterator[Callable[[Part], BatchGradients]]:
        """Prepare a model."""
        with open_sweep(model, self.request_of(model)) as (sweep, _):
            yield partial(self.differentiate, model, sweep)

    def differentiate(self, model: Model, sweep: Sweep, part: Part) -> BatchGradients:
        """Run a part and its backward pass.

        Args:
            model: The model.
            sweep: The open sweep of the request.
            part: The part.

        Returns:
            What it gave.
        """
        resolved, sink = _resolve(model, self.question.objective), self.make_sink(sweep, part.rows)
        return _Batch(sweep, self.question, resolved, part.rows, sink).run()


def _compute(
    model: Model, sweep: Sweep, work: GradientWork, parts: Sequence[Part]
) -> Iterator[BatchGradients]:
    """What each part gives, here or on the workers of the model's pool."""
    if model.pool is not None and len(parts) > 1:
        return model.pool.compute(model, work, parts)
    return (work.differentiate(model, sweep, part) for part in parts)


class PoolerOfSites:
    """Pools values of sites of a batch, with one pooler for those that share a text window.

    Args:
        sweep: Knows sites and masks.
        rows: The samples of the batch.
        pool: How positions are pooled.
        branch: The branch of guidance that is read.
        keeps_double: As for `Pooler`.
    """

    def __init__(
        self, sweep: Sweep, rows: range, pool: Pool, branch: Branch, *, keeps_double: bool = False
    ) -> None:
        self._sweep, self._samples = sweep, sweep.batch_samples(rows)
        self._pool, self._branch, self._keeps_double = pool, branch, keeps_double
        self._poolers: dict[tuple[str, bool, bool], Pooler] = {}

    def __call__(self, address: str, value: Tensor, units: Sequence[int] | None) -> Tensor:
        """Pool a value.

        Args:
            address: Its site.
            value: `[sample, position, unit]`.
            units: Indices of units; None for all.

        Returns:
            `[sample, unit]`, or with positions where they are kept.

        Raises:
            SiteError: The site has no such unit.
        """
        check_width(address, units, value.shape[-1])
        pooled = self._pooler(self._sweep.hooks[address])(value)
        return pooled if units is None else pooled[..., list(units)]

    def _pooler(self, hook: SiteHook) -> Pooler:
        window, has_sequence, closed = (
            hook.text_window,
            hook.site.shape[0] is not None,
            bool(hook.stream),
        )
        key = window, has_sequence, closed
        if key not in self._poolers:
            mask = None
            if window and self._pool != "none":
                mask = self._sweep.token_mask(self._samples, self._pool, self._branch, window)
            self._poolers[key] = Pooler(
                self._pool,
                mask,
                sequence=has_sequence,
                closed=closed,
                keeps_double=self._keeps_double,
            )
        return self._poolers[key]


class _Batch:
    """One batch: its taps and probes, its run and its backward pass."""

    def __init__(
        self,
        sweep: Sweep,
        question: GradientQuestion,
        resolved: ResolvedSites,
        rows: range,
        sink: GradientSink,
    ) -> None:
        self.sweep, self.question, self.sink, self.resolved = sweep, question, sink, resolved
        self.samples = sweep.batch_samples(rows)
        self.result = BatchGradients(rows, np.empty(0), sink)
        self.found: dict[ObjectiveSite, list[tuple[Step, Tensor]]] = {}
        # What has no steps is in the graph once: to compute it again would only take time.
        family = sweep.family
        self.networks: dict[str, nn.Module] = {
            stage: family.stage_modules[stage]
            for stage in family.stages
            if stage in family.stage_modules
            and stage not in family.text_windows
            and stage != DECODER
        }
        self.sizes = GradientSizes(family.pipeline)
        self.attachment = self._attach()

    def run(self) -> BatchGradients:
        try:
            return self._run()
        except (MemoryError, RuntimeError) as error:
            # An edit or a tap raises the caller's own.
            if error is self.attachment.caller_error or not is_out_of_memory(error):
                raise
            found = error.__cause__ or error
            count = len(self.samples)
            raise memory_error(found, count, recompute=self.question.recompute) from error

    def _run(self) -> BatchGradients:
        sweep, family, question = self.sweep, self.sweep.family, self.question
        with (
            record_graph(family.pipeline) as recorder,
            attach(self.attachment, family.stage_modules),
            checkpoint_calls(
                self.networks,
                self.attachment,
                recorder,
                is_kept=self._is_kept,
                recompute=question.recompute,
            ),
            recorder.pause() if question.values_only else nullcontext(),
        ):
            with sweep.run_pipeline(self.attachment):
                drawn = self._run_pipeline()
            # Now: what was not reached would be missing below.
            self.attachment.finish(family.stage_modules)
            value = self._objective(recorder, drawn)
            self.result.objective = value.detach().double().cpu().numpy()
            self._check_finite(self.result.objective)
            if value.requires_grad and self.attachment.anchors:
                # Samples of a batch do not interact: the gradient of the sum is that of each.
                self._backward(value.sum())
                self.result.imprecise = self.sizes.imprecise(question.objective.name)
        # Taps hold these lists, and this batch its taps: a circle that would keep the graph until
        # it is collected.
        for steps in self.found.values():
            steps.clear()
        self.attachment.anchors.clear()
        return self.result

    def _run_pipeline(self) -> Any:
        family, until = self.sweep.family, self.sweep.until
        encoded = family.encode(self.samples, until, self.sweep.request.branch)
        if encoded is None:
            return None
        return family.draw(self.samples, encoded, self.attachment.handoff, until)

    def _objective(self, recorder: GraphRecorder, drawn: Any) -> Tensor:
        objective = self.question.objective
        values = {
            site: torch.stack([value for _, value in steps], 1)
            for site, steps in self.found.items()
        }
        pictures = recorder.picture_tensor(drawn) if objective.reads_pictures else None
        value = objective(values, pictures)
        if not isinstance(value, Tensor) or value.shape != (len(self.samples),):
            found = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise OptionError(
                f"The objective {objective.name} gave {found} for {len(self.samples)} samples; it "
                "must give a tensor with one number for each."
            )
        return value

    def _backward(self, value: Tensor) -> None:
        try:
            # Nothing is written to `.grad` of any tensor.
            torch.autograd.grad(value, self.attachment.anchors, allow_unused=True)
        except ClerestoryError:
            raise
        except RuntimeError as error:
            if error is self.attachment.caller_error:
                raise
            raise ModelError(
                f"The gradient of {self.question.objective.name} does not pass through this model "
                f"({describe_error(error, 300)}){obstacles(self.sweep.family.pipeline)}."
            ) from error

    def _attach(self) -> Attachment:
        taps = [self._objective_tap(site) for site in self.resolved]
        probes = []
        for address, selection in self.question.sites.items():
            taps.append(self._value_tap(address, selection))
            if not self.question.values_only:
                probes.append(self._probe(address, selection))
        return self.sweep.graph_attachment(self.result.rows, taps, probes, frozenset(self.networks))

    def _objective_tap(self, site: ObjectiveSite) -> Tap:
        address, selection = self.resolved[site]
        pool = PoolerOfSites(self.sweep, self.result.rows, site.pool, "cond", keeps_double=True)
        steps = self.found.setdefault(site, [])

        def callback(value: Tensor, step: Step) -> None:
            pooled = pool(address, value, selection.units)
            # Where a step is computed again, its operations must be the same ones.
            if not self.attachment.is_replaying:
                steps.append((step, pooled))

        tap = make_tap(self.sweep.hooks[address], callback, "cond", selection.steps, copies=False)
        return replace(tap, in_graph=True)

    def _value_tap(self, address: str, selection: SiteSelection) -> Tap:
        hook, steps = self.sweep.hooks[address], self.result.visited.setdefault(address, [])

        def callback(value: Tensor, step: Step) -> None:
            value = value.detach()
            steps.append(step)
            self.sink.value(
                address, value if hook.latents is None else hook.latents.encode(value), step
            )

        return Tap(hook.base, callback, self.sweep.request.branch, selection.steps, copies=False)

    def _probe(self, address: str, selection: SiteSelection) -> Probe:
        hook, connected = (
            self.sweep.hooks[address],
            self.result.connected.setdefault(address, set()),
        )

        def callback(gradient: Tensor, step: Step) -> None:
            # What a network itself takes and gives is outside of its call, which has no graph.
            if self.result.is_truncated(hook, step):
                return
            if hook.latents is not None:
                gradient = _latent_gradient(hook.latents, gradient)
            connected.add(step)
            self.sizes.add(address, gradient)
            self.sink.gradient(address, gradient, step)

        return Probe(hook.base, callback, self.sweep.request.branch, selection.steps)

    def _is_kept(self, stage: str, call: StageCall) -> bool:
        """Whether a call of a network is among the last steps, which have gradients."""
        count = self.question.last_steps
        if self.question.values_only:
            return False
        if count is None or stage != DENOISER:
            return True
        pipeline = getattr(self.sweep.family, "denoising_pipeline", None)
        timesteps = getattr(getattr(pipeline, "scheduler", None), "timesteps", None)
        if timesteps is None:
            raise OptionError(
                f"last_steps is {count}, and the number of steps of this pipeline is not known."
            )
        kept = call.index >= len(timesteps) - count
        if not kept:
            self.result.truncated.add(call.index)
        return kept

    def _check_finite(self, values: NDArray[np.float64]) -> None:
        if not np.isfinite(values).all():
            raise ModelError(
                f"The objective {self.question.objective.name} is not finite: it is not defined "
                "for what it reads, the weights have NaN, or their precision cannot hold the "
                "values; open the model with another dtype, such as float32."
            )


def _resolve(model: Model, objective: DifferentiableObjective) -> ResolvedSites:
    """The site of this model that each address of an objective names."""
    found = {}
    for site in objective.sites:
        ((address, selection),) = model.sites.select(site.address, single=True).items()
        _, units = model.sites[address].shape
        if units is not None and site.least_units > units:
            raise SiteError(
                f"The objective {objective.name} reads unit {site.least_units - 1} of {address}, "
                f"which has {units}."
            )
        found[site] = address, selection
    return found


def _latent_gradient(attached: AttachedDictionary, gradient: Tensor) -> Tensor:
    """The gradient with respect to latents, whose changes are decoded and added to the value."""
    dictionary = attached.on(gradient.device)
    shape = (*gradient.shape[:-1], attached.dictionary.latents)
    with torch.enable_grad():
        latents = gradient.new_zeros(shape).float().requires_grad_()
        added = dictionary.decode_difference(latents)
        (result,) = torch.autograd.grad(added, latents, gradient.to(added.dtype))
    return result


def _check_connected(model: Model, question: GradientQuestion, batch: BatchGradients) -> None:
    """SiteError where the objective does not depend on a site at any step."""
    absent = [address for address in question.sites if not batch.connected[address]]
    if not absent:
        return
    steps = {step.index for step in batch.visited[absent[0]]}
    is_step = model.sites[absent[0]].stage == DENOISER and bool(steps)
    truncated = absent[0] if is_step and steps <= batch.truncated else ""
    name, last_steps = question.objective.name, question.last_steps
    raise no_dependence(name, absent, model.pipeline, truncated, last_steps)
