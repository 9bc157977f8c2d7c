"""From what taps see, batch by batch, to labelled arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import SiteError
from clerestory.models.core.addresses import Selection
from clerestory.models.core.family import SiteHook
from clerestory.models.core.hooks import Tap
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.types import Activations, Branch, Pool, Sample, Site, Step

__all__ = ["Batch", "BatchValues", "gathered", "packed", "step_labels", "taps_into"]

BatchValues = dict[str, list[tuple[Step, NDArray[np.float32]]]]
"""What is read in one batch: by address, for each step, `[sample, unit]` or with positions."""
Batch = Mapping[str, tuple[Sequence[Step], NDArray[np.float32]]]
"""What was read in one batch: by address, the steps and `[sample, step, unit]`."""


def packed(values: BatchValues) -> Batch:
    """The values of a batch, with one array for each site.

    Many small arrays, made between the large ones of a model that runs, keep the memory of those
    from being given back: gigabytes for some thousand samples.
    """
    return {
        address: ([step for step, _ in read], _stacked([value for _, value in read]))
        for address, read in values.items()
    }


def _stacked(values: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The values of all steps, the step as second axis; one step is not copied."""
    if not values:
        return np.empty(0, np.float32)
    return values[0][:, None] if len(values) == 1 else np.stack(values, axis=1)


def taps_into(
    values: BatchValues,
    read: Mapping[str, Selection],
    hooks: Mapping[str, SiteHook],
    pool: Pool,
    branch: Branch,
    counted: Callable[[str], Tensor],
) -> list[Tap]:
    """One tap for each site to be read, writing into `values`.

    `counted` says which positions of a text window are pooler_.
    """

    @cache
    def pooler(window: str, row: bool) -> Pooler:
        return Pooler(pool, counted(window) if window and pool != "none" else None, row=row)

    def tap(address: str, selection: Selection) -> Tap:
        units = None if selection.units is None else list(selection.units)
        pooler_ = pooler(hooks[address].text_window, hooks[address].site.shape[0] is not None)
        parts = values.setdefault(address, [])

        def callback(value: Tensor, step: Step) -> None:
            if units is not None and units[-1] >= value.shape[-1]:
                raise SiteError(f"{address} has no unit {units[-1]}; it has {value.shape[-1]}.")
            part = pooler_(value.detach())
            parts.append((step, (part if units is None else part[..., units]).cpu().numpy()))

        return Tap(address, callback, branch, selection.steps)

    return [tap(address, selection) for address, selection in read.items()]


def gathered(
    batches: Sequence[Batch],
    read: Mapping[str, Selection],
    hooks: Mapping[str, SiteHook],
    samples: Sequence[Sample],
    pool: Pool,
    branch: Branch,
) -> Activations:
    """Join what the batches read to one labelled array for each site."""

    @cache
    def labels() -> Mapping[str, Any]:
        return {
            "sample": np.arange(len(samples)),
            "prompt": ("sample", np.array([sample.prompt for sample in samples], dtype=object)),
            "seed": ("sample", [sample.seed for sample in samples]),
            "branch": branch,
        }

    dims = ("sample", "step", "position", "unit") if pool == "none" else ("sample", "step", "unit")
    return Activations(
        {
            address: _read(
                hooks[address].site,
                [batch[address] for batch in batches],
                selection,
                dims,
                labels,
                branch,
            )
            for address, selection in read.items()
        }
    )


@dataclass(frozen=True)
class _Read:
    """What was read at one site, batch by batch; labels only where they are asked for."""

    site: Site
    steps: Sequence[Step]
    batches: Sequence[NDArray[np.float32]]
    selection: Selection
    dims: tuple[str, ...]
    labels: Callable[[], Mapping[str, Any]]

    def values(self) -> NDArray[np.float32]:
        """`[sample, step, unit]`, or with positions before units."""
        return self.batches[0] if len(self.batches) == 1 else np.concatenate(self.batches)

    def labelled(self) -> xr.DataArray:
        """The values with their coordinates."""
        values, site, steps = self.values(), self.site, self.steps
        selection = self.selection.units
        units = np.arange(values.shape[-1]) if selection is None else np.array(selection)
        coords = {**self.labels(), **step_labels(steps), "unit": units}
        shape = {"units": site.shape[1], "heads": site.heads} if site.heads else {}
        return xr.DataArray(values, dims=self.dims, coords=coords, name=site.address, attrs=shape)


def step_labels(steps: Sequence[Step]) -> dict[str, Any]:
    """The coordinates of the axis `step`: its indices, timesteps and sigmas where it has them."""
    labels: dict[str, Any] = {"step": [step.index for step in steps]}
    for name in ("timestep", "sigma"):
        if all(getattr(step, name) is not None for step in steps):
            labels[name] = ("step", [getattr(step, name) for step in steps])
    return labels


def _read(
    site: Site,
    batches: Sequence[tuple[Sequence[Step], NDArray[np.float32]]],
    selection: Selection,
    dims: tuple[str, ...],
    labels: Callable[[], Mapping[str, Any]],
    branch: Branch,
) -> _Read:
    """What was read; SiteError, at once, where a step or branch that was asked for lacks."""
    steps = batches[0][0]
    missing = set(selection.steps or ()) - {step.index for step in steps}
    if missing or not steps:
        which = f"step {min(missing)}" if missing else f"{branch} branch"
        raise SiteError(f"{site.address} has no {which} in a run with these options.")
    return _Read(site, steps, [values for _, values in batches], selection, dims, labels)
