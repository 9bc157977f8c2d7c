"""Recording: the chunks of a plan that are not complete are filled, one by one.

Resuming after a kill and working on several machines are the same: processes fill chunks of one
plan.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.arguments import checked
from clerestory.errors import OutputError, RecordingError
from clerestory.models import Model, Run
from clerestory.models.core import sweeps as running
from clerestory.models.core.finiteness import is_finite
from clerestory.models.core.types import OPTION_NAMES, Branch, Pool
from clerestory.models.core.weight_digests import encoder_digests
from clerestory.recordings.layout import PICTURES, Layout
from clerestory.recordings.plan import Plan, check_same, make_plan
from clerestory.recordings.recording import Recording
from clerestory.recordings.store import Store
from clerestory.recordings.survey import Survey, survey
from clerestory.reporting.progress import progress_bars
from clerestory.types import Progress, ProgressOption

__all__ = ["fill", "fill_chunk", "record", "record_plan", "start_recording"]

OnSurvey = Callable[[Survey], None]
# A full disk, a full quota, and a file larger than the file system or a limit allows.
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@checked(options=OPTION_NAMES)
def record(
    model: Model,
    prompts: str | Path | Sequence[str] | pd.DataFrame,
    seeds: int | Sequence[int] | None = None,
    *,
    sites: str | Sequence[str],
    out: str | Path,
    seeds_per_item: int | None = None,
    seed: int = 0,
    pictures: bool = True,
    pool: Pool = "mean",
    branch: Branch = "cond",
    batch: int = 16,
    chunk: int | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> Recording:
    """Run a model and write the activations of its sites to disk.

    A recording may have more samples than fit into memory. The same call resumes one that was
    interrupted.

    Args:
        model: The model.
        prompts: A list of prompts; a DataFrame with a column `prompt`, whose other columns are
            factors; or the path of a `.txt`, `.csv`, `.parquet` or `.toml` file.
        seeds: One seed or several; every prompt is drawn with each of them. By default 0.
        sites: Patterns of the sites to read, as `Model.run` takes them.
        out: A folder, or a URL that fsspec opens. It is new, or holds a recording of this plan.
        seeds_per_item: Instead of `seeds`: the number of seeds of each item, derived from `seed`
            and the item. They are shared by all prompts with the same value of the column `item`;
            without that column, every prompt is an item. Evidence about items needs this: with
            seeds that all items share, it is about these seeds.
        seed: Gives other seeds for the same items.
        pictures: Whether to draw pictures and store them. If not, the model stops after the last
            stage that is read.
        pool: Pooling of positions, as in `Model.run`.
        branch: Branch of classifier-free guidance that is read.
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
        SiteError, PromptError, SeedError, ModelError: The model cannot run the plan.
    """
    plan = make_plan(
        model,
        prompts,
        seeds,
        sites=sites,
        seeds_per_item=seeds_per_item,
        seed=seed,
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
        model: The model.
        plan: The plan.
        out: A folder or URL, new or with a recording of the same plan.
        progress: Receives the number of complete samples.
        on_survey: Receives the estimates of a new recording before it starts.

    Returns:
        The complete recording.

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
    """Write the plan to a new folder, or check that the folder has this plan.

    The folder must be locked (`Store.lock`), also while it is filled.

    Args:
        store: The folder.
        model: The model; one batch is run to determine the layouts of a new recording.
        plan: The plan.
        on_survey: Receives the estimates of a new recording.

    Raises:
        RecordingError: The folder has another plan.
        OutputError: The disk is full.
    """
    if store.exists:
        check_same(plan, store.manifest["plan"])
        store.restore_files(plan)
        _keep_values(store, plan)
        return
    _ = plan.parquet  # a table that is too large to be read again is refused before drawing
    with _threads(plan.threads):
        # One batch of it shows the shapes, which some families know only then.
        estimate = survey(model, plan)
    if on_survey is not None:
        on_survey(estimate)
    if store.exists:  # created meanwhile by another process, in an object store without locks
        check_same(plan, store.manifest["plan"])
    else:
        with _check_space(store, plan):
            store.create(plan, estimate.layouts, encoder_digests(model.pipeline))
    _keep_values(store, plan)


def _keep_values(store: Store, plan: Plan) -> None:
    """Keep the values of further arguments, of which the manifest has digests only."""
    if plan.options.extra:
        store.plan = replace(store.plan, options=plan.options)


def fill(
    store: Store, model: Model, progress: Progress | None = None, again: Sequence[int] = ()
) -> None:
    """Fill every chunk that has no marker, or lacks files that its marker lists.

    Args:
        store: The recording, locked.
        model: The model of the plan.
        progress: Receives the number of complete samples.
        again: Further chunks to fill, which keep their markers until then.

    Raises:
        OutputError: The disk is full.
    """
    plan, missing = store.plan, store.markers.incomplete_chunks()
    store.restore_complete(missing)
    missing = sorted({*missing, *again})
    completed = len(plan) - sum(len(plan.rows(chunk)) for chunk in missing)

    def report(rows: int) -> None:
        nonlocal completed
        completed += rows
        if progress is not None:
            progress("recording", completed, len(plan))

    report(0)
    for chunk in missing:
        fill_chunk(store, model, chunk, report)


def fill_chunk(
    store: Store, model: Model, chunk: int, report: Callable[[int], None] = lambda rows: None
) -> None:
    """Draw and read the samples of one chunk, write them, and then its marker.

    Args:
        store: The recording.
        model: The model of the plan.
        chunk: Index of the chunk.
        report: Receives the number of samples of each batch after it is drawn.

    Raises:
        RecordingError: A batch has more positions than the layout.
        OutputError: The disk is full.
    """
    plan, first = store.plan, store.plan.rows(chunk).start
    count = len(plan.rows(chunk))
    arrays = {
        # Empty and not zeros: every row is written below.
        name: np.empty((count, *layout.shape), layout.dtype)
        for name, layout in store.layouts.items()
    }
    bad: dict[int, str] = {}
    lengths: dict[str, NDArray[np.int32]] = {}
    for rows in plan.batches(chunk):
        with _threads(plan.threads):
            # One bad sample should not cost the others: it is marked, and left out when read.
            run = running.run_sweep(model, plan.request(rows), allow_bad=True)[0]
        selection = slice(rows.start - first, rows.stop - first)
        for name, values in _values(run):
            target = _target(arrays[name][selection], values, store.layouts[name], name)
            filled = None
            if "position" in store.layouts[name].dims:
                filled = run.site_values[name].lengths
                lengths.setdefault(name, np.empty(count, np.int32))[selection] = (
                    target.shape[2] if filled is None else filled
                )
            _copy(target, values, name, bad, rows.start, filled)
        for row, reason in run.bad.items():
            bad.setdefault(rows.start + row, reason)
        report(len(rows))
    with _check_space(store, plan):
        store.write(chunk, arrays, bad, lengths)


def _values(run: Run) -> Iterator[tuple[str, NDArray[Any]]]:
    for address, site in run.site_values.items():
        yield address, site.array()
    if run.pictures is not None:
        yield PICTURES, run.pictures


def _target(array: NDArray[Any], values: NDArray[Any], layout: Layout, name: str) -> NDArray[Any]:
    """The part of an array for a batch; further positions, which other batches have, become NaN."""
    if "position" not in layout.dims:
        return array
    count, limit = values.shape[2], array.shape[2]
    if count > limit:
        raise RecordingError(
            f"{name} has {count} positions in a batch, more than the {limit} of the longest "
            "prompt, for which the array was created."
        )
    array[:, :, count:] = np.nan
    return array[:, :, :count]


def _copy(
    array: NDArray[Any],
    values: NDArray[Any],
    name: str,
    bad: dict[int, str],
    first: int,
    lengths: NDArray[np.integer] | None = None,
) -> None:
    """Copy values of a batch, and note the rows whose values cannot be stored.

    `lengths` are the numbers of positions of samples, beyond which values are NaN.
    """
    with np.errstate(over="ignore"):
        # Values that float16 cannot represent become infinite, and their sample is bad.
        array[...] = values
    if array.dtype == np.uint8 or is_finite(array):
        return
    finite = np.isfinite(array)
    if lengths is not None:
        finite |= (np.arange(array.shape[2]) >= lengths[:, None])[:, None, :, None]
    finite = finite.reshape(len(values), -1).all(1)
    for row in np.flatnonzero(~finite).tolist():
        # Too large is a matter of the dtype, not finite one of the model.
        overflow = bool(np.isfinite(values[row]).all())
        reason = f"beyond {array.dtype}" if overflow else "not finite"
        # The first such site is the reason.
        bad.setdefault(first + row, f"{name}: {reason}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Use the planned number of threads: another number changes the last bits."""
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
def _check_space(store: Store, plan: Plan) -> Iterator[None]:
    """Raise OutputError, with the number of stored samples, if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        stored = 0
        if store.exists:
            stored = sum(len(plan.rows(marker.chunk)) for marker in store.markers.read_all())
        raise OutputError(
            f"The disk of {store.folder} is full: {stored:,} of {len(plan):,} samples are stored. "
            "Free some space and give the same command again, which resumes there."
        ) from error
