"""Runs all batches of a request, in this process or on the workers of the model's pool."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clerestory.models.core.attention import AttentionCapture, BatchMaps
from clerestory.models.core.attention_backends import switch_to_sdpa
from clerestory.models.core.finiteness import check_finite
from clerestory.models.core.parts import Part, split_into_parts
from clerestory.models.core.pipeline_state import hold_pipeline
from clerestory.models.core.requests import Request
from clerestory.models.core.runner import BatchOutput, Sweep, open_sweep
from clerestory.models.core.runs import Run
from clerestory.models.core.types import Sample

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["run_sweep"]


def run_sweep(model: Model, request: Request, *, allow_bad: bool = False) -> list[Run]:
    """Run the samples once for each set of edits; sets with the same early edits share it.

    Args:
        model: The model.
        request: What is drawn, read and edited.
        allow_bad: Whether samples that are not finite are named in `Run.bad`, instead of an error.

    Returns:
        A run for each set of edits, in order.

    Raises:
        ClerestoryError: As `check_request`, and SiteError where a site, step or branch that is
            edited or read was not reached.
        EditError, ModelError: A value is not finite, and bad samples are not to be marked.
    """
    with hold_pipeline(model.pipeline):
        # Its sites are those of the modules that the pipeline has now.
        model.rebind()
        return _run_parts(model, request, allow_bad)


def _run_parts(model: Model, request: Request, allow_bad: bool) -> list[Run]:
    total, completed = len(request.samples) * len(request.edit_sets), 0
    outputs: list[list[BatchOutput]] = [[] for _ in request.edit_sets]
    with open_sweep(model, request) as (sweep, progress):
        for part, drawn in _draw_parts(model, sweep):
            # All sets of a batch before the next batch: only one batch of shared encodings is held
            # at a time.
            for index, batch in zip(part.sets, drawn, strict=True):
                if not allow_bad:
                    read, _, bad = batch
                    # Now rather than at the end, which may be hours away.
                    check_finite(request.samples, part.rows, bad, read, request.edit_sets[index])
                outputs[index].append(batch)
                completed += len(part.rows)
                progress("drawing" if request.pictures else "reading", completed, total)
    return [sweep.join(batches) for batches in outputs]


def _draw_parts(model: Model, sweep: Sweep) -> Iterator[tuple[Part, Iterable[BatchOutput]]]:
    """Each part with what it gives, drawn here or by the model's pool."""
    request, pool = sweep.request, model.pool
    batches, sets = list(sweep.batches()), len(request.edit_sets)
    # Taps are functions of this process, and have no effect in another one.
    if pool is not None and not request.taps and _is_portable(request.attention):
        parts = split_into_parts(batches, sets, pool.workers)
        # A single part would have one worker only, and waits for none of them here.
        if len(parts) > 1:
            for part, output in zip(parts, pool.compute(model, _work(request), parts), strict=True):
                if output.maps is not None and request.attention is not None:
                    request.attention.add(part.rows, output.maps)
                yield part, output.sets
            return
    for part in split_into_parts(batches, sets, 1):
        yield part, sweep.draw_batch(part)


@dataclass(frozen=True)
class PartOutput:
    """What a part of a sweep gives.

    Attributes:
        sets: What its samples read and drew, of each set of edits.
        maps: The maps of attention that were read.
    """

    sets: list[BatchOutput]
    maps: BatchMaps | None


@dataclass(frozen=True)
class SweepWork:
    """Draws parts of a request.

    Attributes:
        request: The request, without what belongs to one process.
        rebuild: Makes what reads attention for another process's model; None for nothing.
    """

    request: Request
    rebuild: Callable[[Model], AttentionCapture] | None

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The samples of the request."""
        return self.request.samples

    @contextmanager
    def open(self, model: Model) -> Iterator[Callable[[Part], PartOutput]]:
        """Prepare a model; see `PartWork`."""
        capture = None if self.rebuild is None else self.rebuild(model)
        with ExitStack() as opened:
            if capture is not None:
                opened.enter_context(switch_to_sdpa(model.pipeline, capture.layers))
            request = replace(self.request, attention=capture)
            sweep, _ = opened.enter_context(open_sweep(model, request))

            def draw(part: Part) -> PartOutput:
                drawn = list(sweep.draw_batch(part))
                return PartOutput(drawn, None if capture is None else capture.take(part.rows))

            yield draw


def _is_portable(capture: AttentionCapture | None) -> bool:
    return capture is None or capture.rebuild is not None


def _work(request: Request) -> SweepWork:
    capture = request.attention
    silent = replace(request, attention=None, progress=False)
    return SweepWork(silent, None if capture is None else capture.rebuild)
