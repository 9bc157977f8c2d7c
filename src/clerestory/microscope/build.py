"""Builds a microscope from recordings, a site at a time; a build that was stopped resumes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clerestory.errors import EvidenceError, OutputError, RecordingError
from clerestory.io.parquet import write_parquet
from clerestory.io.validation import to_jsonable, validate
from clerestory.io.writing import atomic_file, open_planned_folder
from clerestory.microscope import summaries
from clerestory.microscope.folder import (
    DONE,
    FORMAT,
    PLAN,
    RELATED,
    SUMMED,
    Microscope,
    Plan,
    PlannedRecording,
    PlannedSite,
    figure_digests,
    file_digest,
)
from clerestory.microscope.maps import Maps
from clerestory.microscope.summaries import EXTREMES
from clerestory.naming.samples import may_be_shown
from clerestory.naming.values import mean_value
from clerestory.recordings import Recording
from clerestory.recordings.plan import ModelIdentity
from clerestory.reporting.pictures import open_picture
from clerestory.reporting.progress import progress_bars
from clerestory.types import Progress, ProgressOption

__all__ = ["build"]

MIN_SAMPLES = 60
"""Minimum number of samples of a recording."""
MAX_SIDE = 320
"""Pixels of a picture's longer side; larger pictures are reduced."""
BATCH = 64
"""Pictures that are read together."""
RESERVED = ("static", "pictures", "searched", "studies", "search", "compare", "blind")
"""Addresses of other pages, which no model may have."""
NEIGHBOURS = 8
"""Related units of each unit."""
BLOCK = 512
"""Units whose neighbours are computed together."""


def build(
    recordings: Sequence[Recording],
    out: Path,
    *,
    sites: str = "*",
    progress: ProgressOption = True,
) -> Microscope:
    """Write a microscope of the chosen `sites` to a folder.

    Pages show pictures of half of the prompts, which a digest of the prompt selects; the other half
    is held out for blind tests. The value of a unit is its mean over steps, and over positions if
    the recording has them.

    Args:
        recordings: Recordings of one model, with no site in common.
        out: A folder, new or empty; the same call resumes a build that was stopped.
        sites: Addresses or patterns, separated by commas.
        progress: True for progress bars, or a callback.

    Returns:
        The microscope.

    Raises:
        SiteError: A pattern names no recorded site, or selects a part of one.
        EvidenceError: A recording has fewer than 60 samples, or too few different prompts.
        RecordingError: The recordings are of several models, have a site in common, or have only
            some units of one.
        OutputError: The folder holds something else.
    """
    plan = _plan(recordings, sites)
    other = "a microscope of other recordings or sites"
    open_planned_folder(out, PLAN, to_jsonable(plan), other=other, error=OutputError)
    with progress_bars(progress) as report:
        for number, recording in enumerate(recordings):
            _save_samples(recording, number, out, plan.recordings[number].pictures, report)
        for number, site in enumerate(plan.sites):
            folder = out / "sites" / f"{number:03d}"
            # A site whose figures are complete is not read again.
            if not _is_complete(folder, SUMMED):
                _save_site(recordings[site.recording], site, folder, out)
            report("summarizing units", number + 1, len(plan.sites))
        folders = [out / "sites" / f"{number:03d}" for number in range(len(plan.sites))]
        if not (out / DONE).exists() or not all(_is_complete(each, RELATED) for each in folders):
            _save_neighbours(out, plan, report)
            # Last, since `Microscope` opens no folder without it.
            (out / DONE).touch()
    return Microscope(out)


def _plan(recordings: Sequence[Recording], sites: str) -> Plan:
    model, dictionaries = _model(recordings), {}
    planned_sites: dict[str, PlannedSite] = {}
    planned_recordings = []
    for number, recording in enumerate(recordings):
        if len(recording.rows) < MIN_SAMPLES:
            raise EvidenceError(
                f"{recording.store.folder} has {len(recording.rows)} samples: a microscope needs "
                f"{MIN_SAMPLES} or more."
            )
        digests = recording.dictionaries
        for address in recording.match(sites):
            if address in digests:
                dictionaries[address] = digests[address]
            layout = recording.layout(address)
            # Pages number the units of a site by their columns.
            if "unit" in layout.labels:
                raise RecordingError(
                    f"A microscope shows all units of a site, and only some of {address} were "
                    "recorded: select other sites, or record all units of it."
                )
            if address in planned_sites:
                raise RecordingError(f"{address} is in two of the recordings.")
            stage = address.partition("/")[0].partition(".")[0]
            steps = tuple(layout.labels["step"])
            planned_sites[address] = PlannedSite(address, stage, layout.shape[-1], steps, number)
        has_pictures = "pictures" in recording.store.layouts
        # Small pictures are stored exactly; JPEG saves most of the space of large ones.
        small = has_pictures and max(recording.store.layouts["pictures"].shape[:2]) <= MAX_SIDE // 2
        kind: Literal["png", "jpg", ""] = ("png" if small else "jpg") if has_pictures else ""
        table = recording.manifest["plan"]["table"]
        planned_recordings.append(PlannedRecording(len(recording.rows), table, kind))
    slug = _slug(model.name)
    # Those of the pages, attached ones as well: redraws take the same.
    model = replace(model, dictionaries=dictionaries)
    return Plan(FORMAT, slug, model, tuple(planned_recordings), tuple(planned_sites.values()))


def _model(recordings: Sequence[Recording]) -> ModelIdentity:
    """The model that all recordings have in common."""
    models = [
        validate(ModelIdentity, each.manifest["plan"]["model"], each.store.folder, RecordingError)
        for each in recordings
    ]
    # Precision and the way of loading may differ between machines; other bits in one precision are
    # weights that were changed.
    names = {(each.name, each.revision, each.weights, each.settings) for each in models}
    values = {(each.dtype, each.values) for each in models if each.values}
    if len(names) != 1 or len(values) != len({dtype for dtype, _ in values}):
        raise RecordingError("A microscope is of one model: these recordings have several or none.")
    return models[0]


def _slug(name: str) -> str:
    """A model's name, or the end of its path, for addresses of pages.

    >>> _slug("stabilityai/sd-turbo"), _slug("/models/My model/"), _slug("search")
    ('sd-turbo', 'My-model', 'search-model')
    """
    end = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.rstrip("/").rpartition("/")[2]).strip("-.")
    return f"{end}-model".lstrip("-") if end in RESERVED or not end else end


def _save_samples(
    recording: Recording, number: int, out: Path, kind: str, report: Progress
) -> None:
    """Save the table of samples, the words of its prompts, and pictures of type `kind`."""
    table = recording.samples.loc[recording.rows].drop(columns=["done", "bad"])
    table = table.reset_index(drop=True)
    table["named"] = [may_be_shown(prompt) for prompt in table["prompt"]]
    halves = table.drop_duplicates("prompt")["named"]
    # The halves are about equal, but with few prompts one may be nearly empty.
    if min(halves.sum(), (~halves).sum()) < EXTREMES:
        raise EvidenceError("There are too few different prompts to hold out half of them.")
    path = out / "samples" / f"{number}.parquet"
    path.parent.mkdir(exist_ok=True)
    with atomic_file(path) as part:
        write_parquet(table, part)
    visible = table.loc[table["named"], "prompt"].unique()
    words = summaries.Words.of(list(visible)).words
    with atomic_file(out / "samples" / f"{number}.words.json") as part:
        part.write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    if not kind:
        return
    folder = out / "pictures" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    # Pictures that an earlier build wrote are kept: they are most of the work.
    missing = [at for at in range(len(table)) if not _is_picture(folder / f"{at:06d}.{kind}")]
    for start in range(0, len(missing), BATCH):
        rows = missing[start : start + BATCH]
        for at, pixels in zip(rows, recording.pictures(recording.rows[rows]), strict=True):
            picture = Image.fromarray(pixels)
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            with atomic_file(folder / f"{at:06d}.{kind}") as part:
                picture.save(part, quality=88)  # which PNG ignores
        report("writing pictures", start + len(rows), len(missing))


def _is_picture(path: Path) -> bool:
    """Whether a picture exists and can be read to its end."""
    try:
        with open_picture(path) as picture:
            picture.load()
    except (OSError, SyntaxError, ValueError):  # what Pillow raises for damage
        return False
    return True


def _save_site(recording: Recording, site: PlannedSite, folder: Path, out: Path) -> None:
    """Save all figures of a site except its neighbours."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    table = pd.read_parquet(out / "samples" / f"{site.recording}.parquet")
    visible = np.flatnonzero(table["named"])
    # Numbers instead of texts: they are compared for every unit.
    prompts, _ = pd.factorize(table["prompt"])
    values, maps = _read(recording, site.address, np.where(table["named"], prompts, -1))
    visible_values, visible_prompts = values[visible], prompts[visible]
    figures: dict[str, NDArray[Any]] = {
        # Rows count visible samples only; pages need numbers of all samples.
        name: np.where(rows >= 0, visible[rows], -1).astype(np.int32)
        for name, rows in summaries.ranked(visible_values, visible_prompts).items()
    }
    # Of all samples: moments show no picture, so held-out samples may take part.
    figures |= {name: part.astype(np.float32) for name, part in summaries.moments(values).items()}
    figures["histogram"] = summaries.histograms(values)
    means, texts = _by_prompt(list(table["prompt"]), values, visible)
    words = summaries.Words.of(texts)
    figures |= summaries.words_of(means, words)
    hidden_means, hidden_texts = _by_prompt(
        list(table["prompt"]), values, np.flatnonzero(~table["named"])
    )
    # Words were chosen on the other half of the prompts.
    scores = summaries.selectivity(
        hidden_means, words.within(hidden_texts), np.asarray(figures["up-word"])[:, 0]
    )
    figures["selectivity"] = scores.astype(np.float32)
    # A row a unit, so that a page maps one row of the file and not all of it.
    figures["values"] = np.ascontiguousarray(values.T)
    for name, part in {**figures, **maps}.items():
        np.save(folder / f"{name}.npy", part)
    # Last, since a resumed build skips a site that has it.
    _write_marker(folder, SUMMED, [*figures, *maps])


def _by_prompt(
    prompts: Sequence[str], values: NDArray[np.float32], rows: NDArray[np.integer]
) -> tuple[NDArray[np.float32], list[str]]:
    """Values of some samples' prompts, means over their seeds, `[prompt, unit]`; the prompts."""
    # The effect of a word is over prompts.
    samples: dict[str, list[int]] = {}
    for row in rows:
        samples.setdefault(prompts[row], []).append(int(row))
    return np.array([values[mine].mean(0) for mine in samples.values()]), list(samples)


def _write_marker(folder: Path, marker: str, names: Sequence[str]) -> None:
    """Write the digests of figures, with which they count as complete."""
    digests = {name: file_digest(folder / f"{name}.npy") for name in names}
    with atomic_file(folder / marker) as part:
        part.write_text(json.dumps(digests) + "\n", "utf-8")


def _is_complete(folder: Path, marker: str) -> bool:
    """Whether the figures that a marker lists are as they were written."""
    digests = figure_digests(folder, marker)
    try:
        return bool(digests) and all(
            file_digest(folder / f"{name}.npy") == expected for name, expected in digests.items()
        )
    except OSError:
        return False


def _read(
    recording: Recording, address: str, prompts: NDArray[np.integer]
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    """Values `[sample, unit]`, and heat maps of each unit's samples with the highest activation.

    `prompts` has the number of each sample's prompt, -1 if pages may not show it. The recording is
    read once, a chunk at a time.
    """
    layout = recording.layout(address)
    units = layout.shape[-1]
    values = np.empty((len(recording.rows), units), np.float32)
    positions = layout.shape[-2] if "position" in layout.dims else 0
    side = int(positions**0.5)
    # Only square grids of positions are places in a picture; a text's positions are none.
    maps = Maps(units, side) if side > 1 and side * side == positions else None
    start = 0
    for part in recording.chunks(address):
        rows = np.arange(start, start + len(part))
        # Positions beyond the end of a prompt are NaN: a text's, which are no places in a picture.
        if maps is not None and np.isnan(part).any():
            maps = None
        if maps is not None:
            visible = rows[prompts[rows] >= 0]
            activations = part[visible - start].mean(1)
            maps.add(activations.transpose(0, 2, 1), visible, prompts[visible])
        values[rows] = mean_value(part)
        start += len(part)
    return values, {} if maps is None else maps.figures()


def _save_neighbours(out: Path, plan: Plan, report: Progress) -> None:
    """Save the neighbours of each unit among the units of its recording, by correlation."""
    total, completed = sum(site.units for site in plan.sites), 0
    for number, recording in enumerate(plan.recordings):
        sites = [
            (out / "sites" / f"{index:03d}", site.units)
            for index, site in enumerate(plan.sites)
            if site.recording == number
        ]
        # Sites are listed recording by recording, so units of one recording have numbers in a row.
        offset, count = completed, sum(units for _, units in sites)
        # Filled site by site, since it may take most of the memory.
        rows = np.empty((count, recording.samples), np.float32)
        start = 0
        for folder, units in sites:
            rows[start : start + units] = _standardize(np.load(folder / "values.npy"))
            start += units
        start = 0
        for folder, units in sites:
            pairs = [
                _nearest_units(rows, start + first, min(BLOCK, units - first))
                for first in range(0, units, BLOCK)
            ]
            np.save(folder / "near.npy", offset + np.concatenate([near for near, _ in pairs]))
            np.save(folder / "near-r.npy", np.concatenate([r for _, r in pairs]))
            _write_marker(folder, RELATED, ["near", "near-r"])
            start, completed = start + units, completed + units
            report("finding related units", completed, total)


def _nearest_units(
    rows: NDArray[np.float32], first: int, count: int
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """Neighbours of `count` units from the number `first`, and their correlations."""
    # One more than needed, since a unit is its own nearest neighbour.
    near, r = summaries.nearest(rows[first : first + count], rows, min(NEIGHBOURS + 1, len(rows)))
    keep = near != np.arange(first, first + count)[:, None]
    # A unit with exact copies may be missing from its own neighbours: the last one is then dropped.
    keep[keep.all(1), -1] = False
    shape = (count, near.shape[1] - 1)
    return near[keep].reshape(shape), r[keep].reshape(shape).astype(np.float32)


def _standardize(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean zero and length one; a constant row becomes zero."""
    centred = values - values.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(length > 0, length, 1), np.float32)
