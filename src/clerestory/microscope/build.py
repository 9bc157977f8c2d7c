"""From recordings to a microscope: one pass over each, a site at a time, and on after a kill."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clerestory.errors import EvidenceError, OutputError, RecordingError
from clerestory.io.writing import atomic_file
from clerestory.microscope import summaries
from clerestory.microscope.folder import DONE, FORMAT, PLAN, Microscope
from clerestory.microscope.maps import Maps
from clerestory.microscope.summaries import EXTREMES
from clerestory.models.core.addresses import select
from clerestory.recordings import Recording

__all__ = ["Progress", "build"]

Progress = Callable[[str, int, int], None]
MIN_SAMPLES = 60
"""Samples that a page needs."""
MAX_SIDE = 320
"""Pixels of a picture's longer side, at most."""
RESERVED = ("static", "pictures", "searched", "studies", "search", "compare", "blind")
"""Addresses of other pages."""
NEIGHBOURS = 8
BLOCK = 512
"""Units whose neighbours are looked for together."""


def build(
    recordings: Sequence[Recording],
    out: Path,
    *,
    sites: str = "*",
    progress: Progress | None = None,
) -> Microscope:
    """Write a microscope of the chosen `sites` to a folder, new or begun by the same call.

    Of half of the prompts (told by a digest, whatever their order) pages show pictures; the other
    half is kept for blind tests. A value is the mean over steps, and over positions where these
    were kept. EvidenceError for fewer than 60 samples, RecordingError for recordings of several
    models or a site that two of them have, OutputError for a folder of something else.

    Args:
        recordings: Recordings of one model, with no site in common.
        out: The folder; the same call goes on after a kill.
        sites: Addresses or patterns, separated by commas.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        The microscope, opened.

    Raises:
        EvidenceError: A recording has fewer than 60 samples, or too few different prompts.
        RecordingError: The recordings are of several models, or have a site in common.
        OutputError: The folder holds something else.
    """
    report = progress or (lambda label, completed, total: None)
    plan = _plan(recordings, sites)
    _write_plan(out, plan)
    for number, recording in enumerate(recordings):
        _samples(recording, number, out, plan["recordings"][number]["pictures"], report)
    for number, one in enumerate(plan["sites"]):
        folder = out / "sites" / f"{number:03d}"
        if not (folder / "summed").exists():
            _site(recordings[one["recording"]], one, folder, out)
        report("summarizing units", number + 1, len(plan["sites"]))
    if not (out / DONE).exists():
        _nearest(out, plan, report)
        # Last of all: `Microscope` opens no folder without it.
        (out / DONE).touch()
    return Microscope(out)


def _plan(recordings: Sequence[Recording], sites: str) -> dict[str, Any]:
    """What will be built, checked."""
    model = _model(recordings)
    found: dict[str, dict[str, Any]] = {}
    recording_plans = []
    for number, recording in enumerate(recordings):
        if len(recording.rows) < MIN_SAMPLES:
            raise EvidenceError(
                f"{recording.store.folder} has {len(recording.rows)} samples: a unit's page needs "
                f"{MIN_SAMPLES} or more."
            )
        sizes: dict[str, int | None] = dict.fromkeys(recording.sites)
        for address in select(sites, sizes, noun="site of this recording"):
            if address in found:
                raise RecordingError(f"{address} is in two of the recordings.")
            layout = recording.store.layouts[address]
            found[address] = {
                "address": address,
                "stage": address.partition("/")[0].partition(".")[0],
                "units": layout.shape[-1],
                "steps": list(layout.labels["step"]),
                "recording": number,
            }
        has_pictures = "pictures" in recording.store.layouts
        # Small pictures are stored exactly; of large ones JPEG saves most of the space.
        small = has_pictures and max(recording.store.layouts["pictures"].shape[:2]) <= MAX_SIDE // 2
        recording_plans.append(
            {
                "samples": len(recording.rows),
                "table": recording.manifest["plan"]["table"],
                "pictures": ("png" if small else "jpg") if has_pictures else "",
            }
        )
    return {
        "format": FORMAT,
        "slug": _slug(model["name"]),
        "model": model,
        "recordings": recording_plans,
        "sites": [*found.values()],
    }


def _model(recordings: Sequence[Recording]) -> dict[str, Any]:
    """The one model that they are of."""
    models = [one.manifest["plan"]["model"] for one in recordings]
    if not recordings or any(
        (one["name"], one["revision"]) != (models[0]["name"], models[0]["revision"])
        for one in models
    ):
        raise RecordingError("A microscope is of one model: these recordings have several or none.")
    return dict(models[0])


def _slug(name: str) -> str:
    """A model's name, or the end of its path, as it can stand in an address.

    >>> _slug("stabilityai/sd-turbo"), _slug("/models/My model/"), _slug("search")
    ('sd-turbo', 'My-model', 'search-model')
    """
    end = re.sub(r"[^A-Za-z0-9_.-]+", "-", name.rstrip("/").rpartition("/")[2]).strip("-.")
    return f"{end}-model".lstrip("-") if end in RESERVED or not end else end


def _write_plan(out: Path, plan: dict[str, Any]) -> None:
    path = out / PLAN
    text = json.dumps(plan, indent=1, ensure_ascii=False) + "\n"
    if path.exists():
        # Text against text: what was written goes on only for the very same recordings and sites.
        if path.read_text("utf-8") != text:
            raise OutputError(f"{out} has a microscope of other recordings or sites.")
        return
    if out.exists() and any(not one.name.startswith(".") for one in out.iterdir()):
        raise OutputError(f"{out} is not empty; give a new or empty folder.")
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as part:
        part.write_text(text, "utf-8")


def may_be_shown(prompt: str) -> bool:
    """Whether pages may show a prompt's pictures; else it is kept for blind tests."""
    # By a digest and not by position: a prompt stays in its half when a recording is made anew.
    return hashlib.blake2b(prompt.encode(), digest_size=1).digest()[0] % 2 == 0


def _samples(recording: Recording, number: int, out: Path, kind: str, report: Progress) -> None:
    """The table, its words, and the pictures."""
    table = recording.samples.loc[recording.rows].drop(columns=["done", "bad"])
    table = table.reset_index(drop=True)
    table["named"] = [may_be_shown(prompt) for prompt in table["prompt"]]
    halves = table.drop_duplicates("prompt")["named"]
    # The digest splits about in half, but of few prompts it may leave one side nearly empty.
    if min(halves.sum(), (~halves).sum()) < EXTREMES:
        raise EvidenceError("There are too few different prompts for a half that is kept back.")
    place = out / "samples" / f"{number}.parquet"
    place.parent.mkdir(exist_ok=True)
    table.to_parquet(place.with_suffix(".part"))
    place.with_suffix(".part").replace(place)
    shown = table.loc[table["named"], "prompt"].unique()
    words = summaries.Words.of(list(shown)).words
    with atomic_file(out / "samples" / f"{number}.words.json") as part:
        part.write_text(json.dumps(words, ensure_ascii=False), "utf-8")
    if not kind:
        return
    folder = out / "pictures" / str(number)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [at for at in range(len(table)) if not (folder / f"{at:06d}.{kind}").exists()]
    for start in range(0, len(missing), 64):
        rows = missing[start : start + 64]
        for at, pixels in zip(rows, recording.pictures(recording.rows[rows]), strict=True):
            picture = Image.fromarray(pixels)
            picture.thumbnail((MAX_SIDE, MAX_SIDE))
            path = folder / f"{at:06d}.{kind}"
            picture.save(path.with_suffix(".part"), "PNG" if kind == "png" else "JPEG", quality=88)
            path.with_suffix(".part").replace(path)
        report("writing pictures", start + len(rows), len(missing))


def _site(recording: Recording, one: dict[str, Any], folder: Path, out: Path) -> None:
    """Everything of a site but its neighbours."""
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    table = pd.read_parquet(out / "samples" / f"{one['recording']}.parquet")
    shown = np.flatnonzero(table["named"])
    prompts, _ = pd.factorize(table["prompt"])
    values, maps = _read(recording, one["address"], np.where(table["named"], prompts, -1))
    there = values[shown]
    rows = summaries.ranked(there, prompts[shown])
    figures: dict[str, NDArray[Any]] = {
        name: np.where(ranks >= 0, shown[ranks], -1).astype(np.int32)
        for name, ranks in rows.items()
    }
    figures |= {name: part.astype(np.float32) for name, part in summaries.moments(values).items()}
    figures["histogram"] = summaries.histograms(values)
    names = list(dict.fromkeys(prompts[shown]))
    means = np.array([there[prompts[shown] == name].mean(0) for name in names])
    texts = [table["prompt"].iloc[int(np.argmax(prompts == name))] for name in names]
    figures |= summaries.words_of(means, summaries.Words.of(texts))
    # A row a unit, so that a page maps one row of the file and not all of it.
    figures["values"] = np.ascontiguousarray(values.T)
    for name, part in {**figures, **maps}.items():
        np.save(folder / f"{name}.npy", part)
    # Last, since the next call skips a site that has it.
    (folder / "summed").touch()


def _read(
    recording: Recording, address: str, prompts: NDArray[np.integer]
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    """`[sample, unit]`, and heat maps of the pictures with the highest activation of each unit.

    `prompts` says which one a sample is of, -1 where pages may not show it. The recording is read
    once, a chunk at a time.
    """
    layout = recording.store.layouts[address]
    units = layout.shape[-1]
    values = np.empty((len(recording.rows), units), np.float32)
    square = layout.shape[-2] if "position" in layout.dims else 0
    side = int(square**0.5)
    keep = Maps(units, side) if side > 1 and side * side == square else None
    start = 0
    for part in recording.chunks(address):
        activations = part.mean(1) if part.ndim > 2 else part
        rows = np.arange(start, start + len(activations))
        if keep is not None:
            may = rows[prompts[rows] >= 0]
            keep.add(activations[may - start].transpose(0, 2, 1), may, prompts[may])
        values[rows] = activations.mean(1) if activations.ndim > 2 else activations
        start += len(activations)
    return values, {} if keep is None else keep.figures()


def _nearest(out: Path, plan: dict[str, Any], report: Progress) -> None:
    """Neighbours among the units of the same recording, by correlation over samples."""
    sites = [(out / "sites" / f"{index:03d}", site) for index, site in enumerate(plan["sites"])]
    starts = np.cumsum([0, *(site["units"] for _, site in sites)])
    total, completed = int(starts[-1]), 0
    for number in range(len(plan["recordings"])):
        indices = [index for index, (_, site) in enumerate(sites) if site["recording"] == number]
        folders = [sites[index][0] for index in indices]
        numbers = np.concatenate([np.arange(starts[index], starts[index + 1]) for index in indices])
        rows = np.empty((len(numbers), plan["recordings"][number]["samples"]), np.float32)
        for index, folder in zip(indices, folders, strict=True):
            first = int(starts[index] - starts[indices[0]])
            rows[first : first + sites[index][1]["units"]] = _standardize(
                np.load(folder / "values.npy")
            )
        start = 0
        for index, folder in zip(indices, folders, strict=True):
            units = sites[index][1]["units"]
            pairs = [
                _nearest_units(rows, start + first, min(BLOCK, units - first))
                for first in range(0, units, BLOCK)
            ]
            np.save(folder / "near.npy", numbers[np.concatenate([near for near, _ in pairs])])
            np.save(folder / "near-r.npy", np.concatenate([r for _, r in pairs]))
            start, completed = start + units, completed + units
            report("finding related units", completed, total)


def _nearest_units(
    rows: NDArray[np.float32], first: int, count: int
) -> tuple[NDArray[np.integer], NDArray[np.float32]]:
    """The nearest of so many units, themselves left out."""
    near, alike = summaries.nearest(
        rows[first : first + count], rows, min(NEIGHBOURS + 1, len(rows))
    )
    keep = near != np.arange(first, first + count)[:, None]
    # A unit that equals others exactly may not be among its own nearest: then the last one goes.
    keep[keep.all(1), -1] = False
    shape = (count, near.shape[1] - 1)
    return near[keep].reshape(shape), alike[keep].reshape(shape).astype(np.float32)


def _standardize(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean zero and length one; those that never change are all zero."""
    centred = values - values.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(length > 0, length, 1), np.float32)
