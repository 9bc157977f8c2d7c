"""A dry batch: what the arrays will look like, and what the plan will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.models import Model, Run
from clerestory.models.core import runner as running
from clerestory.models.core.runs import SiteValues, step_coordinates
from clerestory.recordings.plan import Plan
from clerestory.recordings.store import PICTURES, Layout

__all__ = ["Survey", "survey"]

HEADROOM = 8.0
"""A site is kept in float16 where its largest value in the dry batch, times this, still fits."""


@dataclass(frozen=True)
class Survey:
    """What a plan will take, as far as its first batch tells.

    Attributes:
        layouts: The arrays by site, and `pictures`.
        samples: Number of samples.
        seconds: Time to draw and read them all.
        bytes: Size on disk, without metadata.
        pictures: Number of pictures.
    """

    layouts: Mapping[str, Layout]
    samples: int
    seconds: float
    bytes: int
    pictures: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "samples": self.samples,
            "pictures": self.pictures,
            "seconds": round(self.seconds, 1),
            "bytes": self.bytes,
            "dtypes": {name: layout.dtype for name, layout in self.layouts.items()},
        }

    def line(self) -> str:
        """In words, for a person."""
        kept = f"{self.pictures:,} pictures, " if self.pictures else "no pictures, "
        wide = [name for name, one in self.layouts.items() if one.dtype == "float32"]
        note = f" {len(wide)} of them in float32, too large for half." if wide else ""
        arrays = len(self.layouts) - (PICTURES in self.layouts)
        return (
            f"{self.samples:,} samples, {kept}{arrays} sites: about {_span(self.seconds)}, "
            f"{_size(self.bytes)} on disk.{note}"
        )


def survey(model: Model, plan: Plan) -> Survey:
    """Run the first batch, keep nothing of it, and say what the rest will be like.

    Args:
        model: What will be run.
        plan: What will be recorded.

    Returns:
        Layouts and estimates; the time includes whatever a first call costs.
    """
    rows = _dry_batch(model, plan)
    start = time.perf_counter()
    run = running.run_sweep(model, plan.request(rows))[0]
    # By proportion: batches cost alike, since all samples share their options.
    seconds = (time.perf_counter() - start) * len(plan) / len(rows)
    layouts = _layouts(plan, run)
    return Survey(
        layouts=layouts,
        samples=len(plan),
        seconds=seconds,
        bytes=len(plan) * sum(layout.bytes for layout in layouts.values()),
        pictures=len(plan) if plan.pictures else 0,
    )


def _dry_batch(model: Model, plan: Plan) -> range:
    """The first batch; where positions are kept, that of the longest prompt, which has the most."""
    if plan.pool != "none":
        return next(plan.batches(0))
    prompts = plan.table["prompt"]
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in prompts.drop_duplicates()}
    longest = int(prompts.map(lengths).to_numpy().argmax())
    return next(rows for rows in plan.batches(longest // plan.chunk) if longest in rows)


def _layouts(plan: Plan, run: Run) -> dict[str, Layout]:
    dims = ("step", "position", "unit") if plan.pool == "none" else ("step", "unit")
    found = {}
    for address, noted in run.site_values.items():
        values = noted.array()
        labels = _labels(noted, plan.read[address].units)
        found[address] = Layout(_dtype(values), values.shape[1:], dims, labels)
    if run.pictures is not None:
        found[PICTURES] = Layout("uint8", run.pictures.shape[1:], ("height", "width", "channel"))
    return found


def _dtype(values: NDArray[np.floating]) -> str:
    # Values that are not finite are left out: they are bad samples in any dtype.
    largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return "float16" if largest * HEADROOM <= float(np.finfo(np.float16).max) else "float32"


def _labels(noted: SiteValues, units: tuple[int, ...] | None) -> dict[str, Any]:
    labels = step_coordinates(noted.steps)
    names = {name: one[1] if isinstance(one, tuple) else one for name, one in labels.items()}
    return names if units is None else {**names, "unit": list(units)}


def _span(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
