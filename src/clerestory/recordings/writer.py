"""Filling a recording: chunk by chunk, those that have no marker yet.

A killed recorder, a worker on another machine and a resume are the same thing: somebody fills
chunks of one plan.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError
from clerestory.models import Model, Run
from clerestory.models.core import runner as running
from clerestory.models.core.family import Progress
from clerestory.models.core.weight_digests import encoder_marks
from clerestory.recordings.plan import Plan, check_same
from clerestory.recordings.store import PICTURES, Store
from clerestory.recordings.survey import Survey, survey

__all__ = ["begin", "fill", "fill_chunk", "record"]

Told = Callable[[Survey], None]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def record(
    model: Model,
    plan: Plan,
    out: str | Path,
    *,
    progress: Progress | None = None,
    told: Told | None = None,
) -> Store:
    """Record a plan into `out`, or go on with what is there of it.

    `told` hears what the plan will take before it begins. RecordingError where the folder holds
    another plan or somebody is writing to it, OutputError where it is in use or the disk is full.
    """
    store = Store(out)
    with store.locked():
        begin(store, model, plan, told)
        fill(store, model, progress)
    return store


def begin(store: Store, model: Model, plan: Plan, told: Told | None = None) -> None:
    """Write the plan into a new folder, or check that the folder was begun with it.

    The folder is to be locked meanwhile (`Store.locked`), and while it is filled.
    """
    if store.begun:
        check_same(plan, store.manifest["plan"])
        return
    _ = plan.packed  # what could not be read again is refused before anything is drawn
    with _threads(plan.threads):
        found = survey(model, plan)
    if told is not None:
        told(found)
    if store.begun:  # by somebody else meanwhile, where no lock holds: in an object store
        check_same(plan, store.manifest["plan"])
        return
    with _room(store, plan):
        store.begin(plan, found.layouts, encoder_marks(model.pipeline))


def fill(
    store: Store, model: Model, progress: Progress | None = None, again: Sequence[int] = ()
) -> None:
    """Fill every chunk that has no marker, and those `again`, which keep theirs until then."""
    plan, missing = store.plan, sorted({*store.missing(), *again})
    done = len(plan) - sum(len(plan.rows(chunk)) for chunk in missing)

    def tell(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress(done, len(plan))

    tell(0)
    for chunk in missing:
        fill_chunk(store, model, chunk, tell)


def fill_chunk(
    store: Store, model: Model, chunk: int, tell: Callable[[int], None] = lambda rows: None
) -> None:
    """Draw and read the samples of one chunk, write them, and mark the chunk as done."""
    plan, first = store.plan, store.plan.rows(chunk).start
    count = len(plan.rows(chunk))
    arrays = {
        name: np.empty((count, *layout.shape), layout.dtype)
        for name, layout in store.layouts.items()
    }
    bad: dict[int, str] = {}
    for rows in plan.batches(chunk):
        with _threads(plan.threads):
            run = running.sweep(model, plan.request(rows))[0]
        place = slice(rows.start - first, rows.stop - first)
        for name, values in _values(run):
            _put(arrays[name], place, values, name, bad, rows.start)
        tell(len(rows))
    with _room(store, plan):
        store.write(chunk, arrays, bad)


def _values(run: Run) -> Iterator[tuple[str, NDArray[Any]]]:
    for address, noted in run.activations.unlabelled.items():
        yield address, noted.values()
    if run.pictures is not None:
        yield PICTURES, run.pictures


def _put(
    array: NDArray[Any],
    place: slice,
    values: NDArray[Any],
    name: str,
    bad: dict[int, str],
    first: int,
) -> None:
    """Copy values of a batch, noting the rows that hold what cannot be kept."""
    with np.errstate(over="ignore"):
        array[place] = values
    if array.dtype == np.uint8 or _finite(array[place]):
        return
    fine = np.isfinite(array[place]).reshape(len(values), -1).all(1)
    for row in np.flatnonzero(~fine).tolist():
        finite = bool(np.isfinite(values[row]).all())
        reason = f"beyond {array.dtype}" if finite else "not finite"
        bad.setdefault(first + row, f"{name}: {reason}")


def _finite(values: NDArray[Any]) -> bool:
    """Whether all are; their sum tells in one pass."""
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(values.sum(dtype=np.float32)))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Work with the planned number of threads: another number gives other last bits."""
    import torch

    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


@contextmanager
def _room(store: Store, plan: Plan) -> Iterator[None]:
    """OutputError in one line where there is no room left on the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        kept = 0
        if store.begun:
            kept = sum(len(plan.rows(chunk)) for chunk in store.done())
        raise OutputError(
            f"The disk of {store.folder} is full: {kept:,} of {len(plan):,} samples are kept. Make "
            "room and give the same command again; it goes on from there."
        ) from error
