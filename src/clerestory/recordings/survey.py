"""A dry run of one batch: layouts of the arrays, and estimates of time and disk space."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from clerestory.models import Model, Run
from clerestory.models.core import sweeps as running
from clerestory.models.core.runs import SiteValues, step_coordinates
from clerestory.recordings.layout import PICTURES, Labels, Layout
from clerestory.recordings.plan import Plan
from clerestory.reporting.quantities import byte_size, duration

__all__ = ["Survey", "survey"]

HEADROOM = 8.0
"""A site is stored in float16 if its largest value in the dry run, times this, fits."""


@dataclass(frozen=True)
class Survey:
    """Layouts and estimates of a recording, from one batch.

    Attributes:
        layouts: Layouts by site, and of `pictures`.
        samples: Number of samples.
        seconds: Estimated time for all samples.
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
        """The estimates in one sentence."""
        pictures = f"{self.pictures:,} pictures, " if self.pictures else "no pictures, "
        count = sum(layout.dtype == "float32" for layout in self.layouts.values())
        note = f" {count} of them in float32, too large for half." if count else ""
        arrays = len(self.layouts) - (PICTURES in self.layouts)
        return (
            f"{self.samples:,} samples, {pictures}{arrays} sites: about {duration(self.seconds)}, "
            f"{byte_size(self.bytes)} on disk.{note}"
        )


def survey(model: Model, plan: Plan) -> Survey:
    """Run one batch without storing it, and estimate the recording from it.

    Args:
        model: The model.
        plan: The plan.

    Returns:
        Layouts and estimates; the time includes the overhead of a first call.
    """
    rows = _dry_batch(model, plan)
    start = time.perf_counter()
    run = running.run_sweep(model, plan.request(rows), allow_bad=True)[0]
    # In proportion: batches take the same time, since all samples share their options.
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
    """The first batch, or that of the longest prompt if positions are stored."""
    if plan.pool != "none":
        return next(plan.batches(0))
    prompts = plan.table["prompt"]
    # The array's axis of positions must hold the longest prompt.
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in prompts.drop_duplicates()}
    longest = int(prompts.map(lengths).to_numpy().argmax())
    return next(rows for rows in plan.batches(longest // plan.chunk) if longest in rows)


def _layouts(plan: Plan, run: Run) -> dict[str, Layout]:
    dims = ("step", "position", "unit") if plan.pool == "none" else ("step", "unit")
    layouts = {}
    for address, site in run.site_values.items():
        values = site.array()
        labels = _labels(site, plan.read[address].units)
        # The width counts with the heads alone: heads are ranges of all units of a site.
        width = site.width if site.heads else None
        shape = values.shape[1:]
        layouts[address] = Layout(_dtype(values), shape, dims, labels, width, site.heads)
    if run.pictures is not None:
        layouts[PICTURES] = Layout("uint8", run.pictures.shape[1:], ("height", "width", "channel"))
    return layouts


def _dtype(values: NDArray[np.floating]) -> str:
    # Values that are not finite do not count: their samples are bad in any dtype.
    largest = float(np.nanmax(np.abs(values), initial=0.0, where=np.isfinite(values)))
    return "float16" if largest * HEADROOM <= float(np.finfo(np.float16).max) else "float32"


def _labels(site: SiteValues, units: tuple[int, ...] | None) -> Labels:
    labels: Any = {
        # xarray's form of a coordinate along another dimension is (dimension, values).
        name: values[1] if isinstance(values, tuple) else values
        for name, values in step_coordinates(site.steps).items()
    }
    if units is not None:
        labels["unit"] = list(units)
    return cast(Labels, labels)
