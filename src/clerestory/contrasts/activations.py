"""Activations of a recording as contrasts need them: a matrix for each site and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from clerestory.recordings.latents import mean_latents
from clerestory.types import Integers

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["RecordedActivations"]


class RecordedActivations(Mapping[str, NDArray[np.float32]]):
    """Activations `[sample, unit]` by address, an address for each step; read on access.

    Of a module that is called several times in a step: the mean of the calls, all of which an edit
    at that address changes.

    Attributes:
        steps: By address, its site and the rows of its step.
        units: By address, the numbers of the units in the columns, if not all were recorded.
    """

    def __init__(self, recording: Recording, rows: Integers) -> None:
        """Prepare to read some samples of a recording.

        Args:
            recording: The recording.
            rows: Positions in `recording.rows`.
        """
        self.recording, self.rows = recording, rows
        self.steps: dict[str, tuple[str, list[int]]] = {}
        self.units: dict[str, list[int]] = {}
        for site in recording.sites:
            labels = recording.layout(site).labels
            # A site outside the denoiser has one step, 0, without a timestep: its address has no
            # step.
            stepless = set(labels["step"]) == {0} and "timestep" not in labels
            # A step is an address of its own, so that every later file
            # treats a site and a step alike.
            for index, step in enumerate(labels["step"]):
                address = site if stepless else f"{site}@{step}"
                self.steps.setdefault(address, (site, []))[1].append(index)
                # Where some units were recorded, a column's number is not the unit's.
                if "unit" in labels:
                    self.units[address] = list(labels["unit"])
        self._last: tuple[str, NDArray[np.float32]] | None = None

    def __getitem__(self, address: str) -> NDArray[np.float32]:
        site, calls = self.steps[address]
        attached = self.recording.latents(site)
        if attached is not None:
            # By the step, since all steps of a hundred thousand latents may not fit into memory.
            if self._last is None or self._last[0] != address:
                means = mean_latents(self.recording, attached, self.rows, calls)
                self._last = (address, means)
            return self._last[1]
        # Addresses of a site's steps are adjacent: its array is read once for all of them.
        if self._last is None or self._last[0] != site:
            array = self.recording.read(site).isel(sample=self.rows)
            # Positions after the end of a prompt are NaN, which xarray's mean skips.
            values = array.mean("position") if "position" in array.dims else array
            self._last = (site, values.to_numpy())
        # A view of a single call: most sites have no more, and arrays may be large.
        rows = self._last[1]
        return rows[:, calls[0]] if len(calls) == 1 else rows[:, calls].mean(1)

    def __iter__(self) -> Iterator[str]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)
