"""Filling a recording: chunk by chunk, those that have no marker yet.

A killed recorder, a worker on another machine and a resume are the same thing: somebody fills
chunks of one plan.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError, RecordingError
from clerestory.models import Model, Run
from clerestory.models.core import runner as running
from clerestory.models.core.types import Branch, Pool
from clerestory.models.core.weight_digests import encoder_digests
from clerestory.recordings.plan import Plan, check_same, make_plan
from clerestory.recordings.recording import Recording
from clerestory.recordings.store import PICTURES, Layout, Store
from clerestory.recordings.survey import Survey, survey
from clerestory.reporting.progress import progress_bars
from clerestory.types import Progress, ProgressOption

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fill", "fill_chunk", "record", "record_plan", "start_recording"]

OnSurvey = Callable[[Survey], None]
# A full disk, a full quota, and a file larger than the file system or a limit allows.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def record(
    model: Model,
    prompts: str | Path | Sequence[str] | pd.DataFrame,
    seeds: int | Sequence[int] = 0,
    *,
    sites: str | Sequence[str],
    out: str | Path,
    pictures: bool = True,
    pool: Pool = "mean",
    branch: Branch = "cond",
    batch: int = 16,
    chunk: int | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> Recording:
    """Run a model and write what its sites compute to disk.

    A recording may have more samples than fit into memory. The same call resumes one that was
    stopped.

    Args:
        model: What is run.
        prompts: A list of prompts; a DataFrame with a column `prompt`, whose other columns are
            kept as factors; or the path of a `.txt`, `.csv`, `.parquet` or `.toml` file.
        seeds: One seed or several; every prompt is drawn with each of them.
        sites: Patterns of the sites to read, as `Model.run` takes them.
        out: A folder, or a URL that fsspec opens. It is new, or holds a recording of this plan.
        pictures: Whether to draw pictures and store them. Without, the model stops after the last
            stage that is read.
        pool: What becomes of a site's positions, as in `Model.run`.
        branch: Which side of classifier-free guidance is read.
        batch: Samples that are drawn together.
        chunk: Samples that are stored together, and lost together when the process is killed; by
            default 8 batches with pictures, 64 without. It is rounded up to whole batches.
        progress: True for a bar on a terminal or in a notebook, False for silence, or a callback.
        **options: Generation options of `Options`, such as `steps` and `guidance`.

    Returns:
        The recording, complete.

    Raises:
        RecordingError: `out` holds a recording of another plan or another process writes to it.
        OutputError: `out` holds something else, or the disk is full.
        SiteError, PromptError, SeedError, ModelError: The model cannot run what is asked.
    """
    plan = make_plan(
        model,
        prompts,
        seeds,
        sites=sites,
        pictures=pictures,
        pool=pool,
        branch=branch,
        batch=batch,
        chunk=chunk,
        **options,
    )
    with progress_bars(progress) as report:
        return Recording(record_plan(model, plan, out, progress=report))


def record_plan(
    model: Model,
    plan: Plan,
    out: str | Path,
    *,
    progress: Progress | None = None,
    on_survey: OnSurvey | None = None,
) -> Store:
    """Record a plan, or resume the recording of it.

    Args:
        model: What is run.
        plan: What is drawn and read.
        out: A folder or URL, new or begun with the same plan.
        progress: Receives how many samples are complete.
        on_survey: Receives what the plan will take, before a new recording begins.

    Returns:
        The folder, complete.

    Raises:
        RecordingError: `out` holds a recording of another plan or another process writes to it.
        OutputError: `out` holds something else, or the disk is full.
    """
    store = Store(out)
    with store.lock():
        start_recording(store, model, plan, on_survey)
        fill(store, model, progress)
    return store


def start_recording(
    store: Store, model: Model, plan: Plan, on_survey: OnSurvey | None = None
) -> None:
    """Write the plan into a new folder, or check that the folder was begun with it.

    The folder is to be locked meanwhile (`Store.locked`), and while it is filled.

    Args:
        store: The folder.
        model: What is run; its first batch lays out the arrays.
        plan: What is recorded.
        on_survey: Receives what the plan will take, if the folder is new.

    Raises:
        RecordingError: The folder was begun with another plan.
        OutputError: The disk is full.
    """
    if store.exists:
        check_same(plan, store.manifest["plan"])
        return
    _ = plan.parquet  # what could not be read again is refused before anything is drawn
    with _threads(plan.threads):
        found = survey(model, plan)
    if on_survey is not None:
        on_survey(found)
    if store.exists:  # by somebody else meanwhile, where no lock holds: in an object store
        check_same(plan, store.manifest["plan"])
        return
    with _room(store, plan):
        store.create(plan, found.layouts, encoder_digests(model.pipeline))


def fill(
    store: Store, model: Model, progress: Progress | None = None, again: Sequence[int] = ()
) -> None:
    """Fill every chunk that has no marker.

    Args:
        store: The recording, begun and locked.
        model: The model that it was planned with.
        progress: Receives how many samples are complete.
        again: Further chunks to fill, which keep their markers until then.

    Raises:
        OutputError: The disk is full.
    """
    plan, missing = store.plan, sorted({*store.missing_chunks(), *again})
    store.complete_marked()
    done = len(plan) - sum(len(plan.rows(chunk)) for chunk in missing)

    def report(rows: int) -> None:
        nonlocal done
        done += rows
        if progress is not None:
            progress("recording", done, len(plan))

    report(0)
    for chunk in missing:
        fill_chunk(store, model, chunk, report)


def fill_chunk(
    store: Store, model: Model, chunk: int, report: Callable[[int], None] = lambda rows: None
) -> None:
    """Draw and read the samples of one chunk, write them, and mark the chunk as done.

    Args:
        store: The recording, begun.
        model: The model that it was planned with.
        chunk: Which one.
        report: Receives the number of samples of each batch as it is drawn.

    Raises:
        RecordingError: A batch has more positions than the layout.
        OutputError: The disk is full.
    """
    plan, first = store.plan, store.plan.rows(chunk).start
    count = len(plan.rows(chunk))
    arrays = {
        name: np.empty((count, *layout.shape), layout.dtype)
        for name, layout in store.layouts.items()
    }
    bad: dict[int, str] = {}
    lengths: dict[str, NDArray[np.int32]] = {}
    for rows in plan.batches(chunk):
        with _threads(plan.threads):
            run = running.run_sweep(model, plan.request(rows))[0]
        place = slice(rows.start - first, rows.stop - first)
        for name, values in _values(run):
            target = _target(arrays[name][place], values, store.layouts[name], name)
            if "position" in store.layouts[name].dims:
                lengths.setdefault(name, np.empty(count, np.int32))[place] = target.shape[2]
            _put(target, values, name, bad, rows.start)
        report(len(rows))
    with _room(store, plan):
        store.write(chunk, arrays, bad, lengths)


def _values(run: Run) -> Iterator[tuple[str, NDArray[Any]]]:
    for address, noted in run.site_values.items():
        yield address, noted.array()
    if run.pictures is not None:
        yield PICTURES, run.pictures


def _target(array: NDArray[Any], values: NDArray[Any], layout: Layout, name: str) -> NDArray[Any]:
    """Where a batch's values go; the positions that other batches have beyond them are NaN."""
    if "position" not in layout.dims:
        return array
    count, most = values.shape[2], array.shape[2]
    if count > most:
        raise RecordingError(
            f"{name} has {count} positions in a batch, and {most} in that of the longest prompt, "
            "by which the recording was laid out."
        )
    array[:, :, count:] = np.nan
    return array[:, :, :count]


def _put(
    array: NDArray[Any],
    values: NDArray[Any],
    name: str,
    bad: dict[int, str],
    first: int,
) -> None:
    """Copy values of a batch, noting the rows that hold what cannot be kept."""
    with np.errstate(over="ignore"):
        # In the array's dtype: what float16 cannot hold becomes infinite here, and the sample bad.
        array[...] = values
    if array.dtype == np.uint8 or _finite(array):
        return
    fine = np.isfinite(array).reshape(len(values), -1).all(1)
    for row in np.flatnonzero(~fine).tolist():
        # Told apart, since too large is a matter of the dtype and not finite one of the model.
        finite = bool(np.isfinite(values[row]).all())
        reason = f"beyond {array.dtype}" if finite else "not finite"
        # The first site that is bad is the reason.
        bad.setdefault(first + row, f"{name}: {reason}")


def _finite(values: NDArray[Any]) -> bool:
    """Whether all are; their sum tells in one pass."""
    with np.errstate(invalid="ignore"):
        # A sum that overflows costs a second look only; one that is finite has no NaN or infinity
        # in it.
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
        if store.exists:
            kept = sum(len(plan.rows(chunk)) for chunk in store.completed_chunks())
        raise OutputError(
            f"The disk of {store.folder} is full: {kept:,} of {len(plan):,} samples are kept. Make "
            "room and give the same command again; it goes on from there."
        ) from error
