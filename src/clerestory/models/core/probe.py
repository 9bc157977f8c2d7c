"""What short runs show about a pipeline of which only this is known: it takes a prompt.

Two runs differ in their prompt alone. Whatever rows of a network's first inputs differ between them
are the conditional branch, the others the unconditional one; no name of an argument is needed. The
same runs show in which order modules are called, which are never called, and how often a network
is called in each step.
"""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from clerestory.models.core.hooks import watch_inputs, watch_outputs
from clerestory.models.core.rows import is_row_list
from clerestory.models.core.types import Branch

__all__ = [
    "CallPattern",
    "ModuleTrace",
    "StagePattern",
    "Trace",
    "call_patterns",
    "count_rows",
    "count_steps",
    "has_batch_of",
    "record_trace",
]

TOLERANCE = 1e-2
"""Limit of the difference between a row and that of the same sample drawn alone, relative to its
largest value."""


@dataclass(frozen=True)
class CallPattern:
    """The branches of guidance in one call of a network.

    Attributes:
        branches: The branch of each row that one sample has.
        by_row: Whether rows are samples; else all rows are one sample's, of one branch.
    """

    branches: tuple[Branch, ...]
    by_row: bool = True


@dataclass(frozen=True)
class StagePattern:
    """How a stage is called.

    Attributes:
        calls: The calls of one step; of a stage without steps, all of its calls.
        scheduler: The name of the scheduler whose steps are the stage's; "" without steps.
    """

    calls: tuple[CallPattern, ...]
    scheduler: str = ""


@dataclass
class ModuleTrace:
    """The calls of a module during a run.

    Attributes:
        first_call: When it returned first, counted in calls of all modules.
        last_call: When it returned last.
        shape: The shape of the first tensor that it gave, or of its list of tensors as one; ()
            without any.
        follows_rows: Whether it always has as many rows as its stage's network has at that call.
    """

    first_call: int
    last_call: int
    shape: tuple[int, ...] = ()
    follows_rows: bool = True


@dataclass(frozen=True)
class NetworkCall:
    """The inputs of one call of a stage's network.

    Attributes:
        rows: Of each row, the tensors that it is given.
        shapes: The shapes of tensors, and of lists of tensors as one, by argument: its name, or its
            index if it was passed by position.
    """

    rows: Sequence[Sequence[Tensor]]
    shapes: Mapping[str | int, tuple[int, ...]]


@dataclass
class Trace:
    """One run.

    Attributes:
        modules: The modules that were called, by their paths in the pipeline.
        calls: The calls of each stage's network.
        steps: For each step of a scheduler: its name, the stage that was called last, and how many
            calls that stage had until then.
    """

    modules: dict[str, ModuleTrace] = field(default_factory=dict)
    calls: dict[str, list[NetworkCall]] = field(default_factory=lambda: defaultdict(list))
    steps: list[tuple[str, str, int]] = field(default_factory=list)


@contextmanager
def record_trace(
    modules: Mapping[str, tuple[str, nn.Module]],
    networks: Mapping[str, nn.Module],
    schedulers: Mapping[str, Any],
) -> Iterator[Trace]:
    """Record what is called, for as long as this is open.

    Args:
        modules: Stages and modules by the modules' paths in the pipeline.
        networks: The network of each stage, whose inputs are kept.
        schedulers: Schedulers by name.

    Yields:
        The trace, which is complete at the end.
    """
    recorder = _Recorder({path: stage for path, (stage, _) in modules.items()})
    with ExitStack() as hooks:
        hooks.enter_context(watch_inputs(networks, recorder.enter))
        hooks.enter_context(
            watch_outputs({path: module for path, (_, module) in modules.items()}, recorder.leave)
        )
        for name, scheduler in schedulers.items():
            step = functools.partial(recorder.step, name)
            hooks.enter_context(count_steps(scheduler, step))
        yield recorder.trace


class _Recorder:
    """Writes a trace, from the calls of one thread."""

    def __init__(self, stages: Mapping[str, str]) -> None:
        self.trace, self.thread, self.stages = Trace(), threading.get_ident(), stages
        self.rows: dict[str, int] = {}
        self.returns, self.latest = 0, ""

    def enter(self, stage: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        inputs: list[tuple[str | int, Any]] = [*enumerate(args), *kwargs.items()]
        values = [value for _, value in inputs]
        count = count_rows(values)
        self.rows[stage], self.latest = count, stage
        self.trace.calls[stage].append(
            NetworkCall(
                [_row(values, count, index) for index in range(count)],
                {name: _rows_and_shape(value)[1] for name, value in inputs},
            )
        )

    def leave(self, path: str, output: Any) -> None:
        if threading.get_ident() != self.thread:
            return
        self.returns += 1
        count, shape = _rows_and_shape(output)
        first = ModuleTrace(self.returns, self.returns, shape)
        module_trace = self.trace.modules.setdefault(path, first)
        module_trace.last_call = self.returns
        # Text encoders have calls of their own, before the first one of the denoiser.
        module_trace.follows_rows &= count == self.rows.get(self.stages[path], count)

    def step(self, scheduler: str) -> None:
        if threading.get_ident() == self.thread:
            calls = len(self.trace.calls[self.latest])
            self.trace.steps.append((scheduler, self.latest, calls))


@contextmanager
def count_steps(scheduler: Any, callback: Callable[[], None]) -> Iterator[None]:
    """Call a function before every step of a scheduler, for as long as this is open.

    Args:
        scheduler: A diffusers scheduler.
        callback: What is called.

    Yields:
        Nothing.
    """
    step, own = scheduler.step, scheduler.__dict__.get("step")

    # diffusers looks at the signature of `step` to see what it takes.
    @functools.wraps(step)
    def step_and_count(*args: Any, **kwargs: Any) -> Any:
        callback()
        return step(*args, **kwargs)

    scheduler.__dict__["step"] = step_and_count
    try:
        yield
    finally:
        scheduler.__dict__.pop("step", None)
        if own is not None:
            scheduler.__dict__["step"] = own


def count_rows(values: Sequence[Any]) -> int:
    """The number of rows of a network's inputs.

    Args:
        values: Its arguments.

    Returns:
        The length of the first list of tensors, or the first axis of the first tensor with two
        axes or more, else with one; 1 without any.
    """
    sizes: list[tuple[int, int]] = []
    for value in values:
        if is_row_list(value):
            sizes.append((len(value), 2))
        elif isinstance(value, Tensor) and value.ndim:
            sizes.append((value.shape[0], value.ndim))
    return next((size for size, axes in sizes if axes > 1), sizes[0][0] if sizes else 1)


def call_patterns(first: Trace, second: Trace) -> dict[str, StagePattern]:
    """The calls of each stage, from two runs that differ in their prompt alone.

    Args:
        first: A run.
        second: The same with another prompt.

    Returns:
        A pattern for each stage; none for a stage whose calls differ in number from step to step
        or from run to run, or whose rows cannot be told apart.
    """
    patterns = {}
    for stage, calls in first.calls.items():
        others = second.calls.get(stage, [])
        ends = [(name, count) for name, other, count in first.steps if other == stage]
        per_step = ends[0][1] if ends else len(calls)
        regular = [count for _, count in ends] == [*range(per_step, len(calls) + 1, per_step)]
        alike = len(calls) == len(others) and all(
            len(call.rows) == len(calls[index % per_step].rows)
            for index, call in enumerate(calls if ends else [])
        )
        if not alike or (ends and not regular) or len({name for name, _ in ends}) > 1:
            continue
        # Later steps begin with latents that differ in all rows.
        found = [
            _call_pattern(*pair) for pair in zip(calls[:per_step], others[:per_step], strict=True)
        ]
        known = [pattern for pattern in found if pattern is not None]
        if len(known) == len(found) and any("cond" in each.branches for each in known):
            patterns[stage] = StagePattern(tuple(known), ends[0][0] if ends else "")
    return patterns


def _call_pattern(call: NetworkCall, other: NetworkCall) -> CallPattern | None:
    """The branches of a call; None where its rows are neither one branch nor one row of each."""
    if len(call.rows) != len(other.rows):
        return CallPattern(("cond",), by_row=False)
    # An empty prompt is cut as the longest of its batch in some pipelines (Kandinsky 3).
    branches: list[Branch] = [
        "uncond" if _equal(*_overlap(*pair)) else "cond"
        for pair in zip(call.rows, other.rows, strict=True)
    ]
    if len(set(branches)) == len(branches):
        return CallPattern(tuple(branches))
    if len(set(branches)) == 1:
        return CallPattern((branches[0],), by_row=False)
    return None


def has_batch_of(
    batch: Trace, alone: Sequence[Trace], patterns: Mapping[str, StagePattern]
) -> bool:
    """Whether a batch has the rows of samples that were drawn alone, branch by branch.

    Args:
        batch: A run of several samples at once.
        alone: A run of each of them.
        patterns: How the stages are called.

    Returns:
        False where a network has other rows, or has them in another order.
    """
    for stage, pattern in patterns.items():
        calls = [trace.calls[stage][: len(pattern.calls)] for trace in (batch, *alone)]
        if len({len(each) for each in calls}) > 1 or not all(each.by_row for each in pattern.calls):
            return False
        for together, *apart in zip(*calls, strict=True):
            # A branch of all samples, then the next one, as diffusers joins them.
            expected = [call.rows[row] for row in range(len(apart[0].rows)) for call in apart]
            if len(expected) != len(together.rows) or not all(
                _equal(*pair, tolerance=TOLERANCE)
                for pair in zip(together.rows, expected, strict=True)
            ):
                return False
    return True


def _overlap(
    first: Sequence[Tensor], second: Sequence[Tensor]
) -> tuple[list[Tensor], list[Tensor]]:
    """The parts of two rows at the positions that both have."""
    if [each.ndim for each in first] != [each.ndim for each in second]:
        return list(first), list(second)
    cuts = [
        tuple(slice(min(sides)) for sides in zip(one.shape, other.shape, strict=True))
        for one, other in zip(first, second, strict=True)
    ]
    return (
        [each[cut] for each, cut in zip(first, cuts, strict=True)],
        [each[cut] for each, cut in zip(second, cuts, strict=True)],
    )


def _equal(first: Sequence[Tensor], second: Sequence[Tensor], tolerance: float = 0.0) -> bool:
    """Whether two rows are given the same, up to a share of the largest value."""
    if [each.shape for each in first] != [each.shape for each in second]:
        return False
    return all(
        bool((one - other).abs().max() <= tolerance * one.abs().max())
        for one, other in zip(first, second, strict=True)
        if one.numel()
    )


def _row(values: Sequence[Any], count: int, index: int) -> list[Tensor]:
    """What one row of a call is given."""
    row = []
    for value in values:
        if isinstance(value, Mapping):
            row += _row([*value.values()], count, index)
        elif (is_row_list(value) and len(value) == count) or (
            isinstance(value, Tensor) and value.ndim and value.shape[0] == count
        ):
            row.append(_copy(value[index]))
    return row


def _copy(value: Tensor) -> Tensor:
    """A copy that later steps do not write to."""
    return value.detach().to("cpu", torch.float32, copy=True)


def _rows_and_shape(output: Any) -> tuple[int, tuple[int, ...]]:
    """The number of rows of a value, -1 where it has none, and the shape of its first tensor."""
    if isinstance(output, list) and is_row_list(output):
        return len(output), (len(output), *output[0].shape)
    values = list(output.values()) if isinstance(output, Mapping) else output
    value = values[0] if isinstance(values, list | tuple) and values else values
    if isinstance(value, list) and is_row_list(value):
        return len(value), (len(value), *value[0].shape)
    if isinstance(value, Tensor):
        return (value.shape[0] if value.ndim else 1), tuple(value.shape)
    return -1, ()
