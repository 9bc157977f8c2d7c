"""A recording, opened: its samples as a table, its activations as labelled arrays, lazily."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import refusing
from clerestory.models.core.addresses import head_units, parse, select
from clerestory.models.core.types import Step
from clerestory.recordings.store import PICTURES, Layout, Marker, Store

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from clerestory.recordings.arrays import Arrays

__all__ = ["Recording"]


class Recording:
    """What a folder holds, finished or not; what is not there yet is left out.

    Values are float32, whatever they are kept in. Bad samples, whose values are not finite, are in
    the table and left out of everything else.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, where: str | Path) -> Recording:
        """Open a folder or URL; RecordingError where it holds no recording."""
        store = Store(where)
        _ = store.plan, store.layouts
        return cls(store)

    def __repr__(self) -> str:
        told = self.samples
        return (
            f"Recording({str(self.store.folder)!r}, {int(told['done'].sum())} of {len(told)} "
            f"samples, {len(self.sites)} sites)"
        )

    def __len__(self) -> int:
        return len(self.store.plan)

    @property
    def manifest(self) -> dict[str, Any]:
        """How it was made: plan, arrays, versions of libraries."""
        return self.store.manifest

    @property
    def sites(self) -> list[str]:
        """The addresses of the sites that are kept."""
        return [name for name in self.store.layouts if name != PICTURES]

    @cached_property
    def markers(self) -> list[Marker]:
        """The chunks that are done, as they were when this was first asked."""
        every = self.store.plan.chunks
        found = [self.store.marker(chunk) for chunk in self.store.done() if chunk < every]
        return [marker for marker in found if marker is not None]

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each planned sample: prompt, seed, factors, `done`, and why it is `bad`."""
        table = self.store.table.rename_axis("sample").copy()
        table["done"], table["bad"] = False, ""
        for marker in self.markers:
            rows = self.store.plan.rows(marker.chunk)
            table.loc[rows.start : rows.stop - 1, "done"] = True
            for row, reason in marker.bad.items():
                table.loc[row, "bad"] = reason
        return table

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The samples that are done and not bad: what the arrays have."""
        told = self.samples
        return np.flatnonzero(told["done"] & (told["bad"] == ""))

    @cached_property
    def _group(self) -> Arrays:
        return self.store.arrays()

    def to_xarray(self) -> Activations:
        """Every site by address, labelled, read from disk only where it is used."""
        return Activations(
            {site: _Kept(self, site, self.store.layouts[site]) for site in self.sites}
        )

    def pictures(self, rows: int | Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """The pictures of these samples, `[sample, height, width, 3]`.

        RecordingError where none were kept, or one of them is not drawn yet.
        """
        if PICTURES not in self.store.layouts:
            raise RecordingError(f"{self.store.folder} holds no pictures: they were not kept.")
        wanted = np.atleast_1d(np.asarray(rows))
        told = self.samples["done"].to_numpy()
        for row in wanted:
            if not 0 <= row < len(told) or not told[row]:
                raise RecordingError(f"Sample {row} of {self.store.folder} is not drawn.")
        array: Any = self._group.held(PICTURES)
        with refusing(f"{self.store.folder}, pictures", RecordingError):
            pictures: NDArray[np.uint8] = array.oindex[wanted]
            return pictures

    def batches(
        self, site: str, size: int = 4096, *, seed: int = 0, spread: int = 8
    ) -> Iterator[NDArray[np.float32]]:
        """Activations `[size, unit]` in random order, once through; the last may be shorter.

        Every step and position is a row. `spread` chunks are held at a time and mixed, so memory
        does not grow with the recording, and the order is random as far as those reach.
        """
        if size < 1 or spread < 1:
            raise RecordingError(f"size is {size} and spread {spread}; both must be 1 or more.")
        address = self.address(site)
        array: Any = self._group.held(address)
        rng = np.random.default_rng(seed)
        good = np.zeros(len(self), bool)
        good[self.rows] = True
        plan, order = self.store.plan, rng.permutation([marker.chunk for marker in self.markers])
        left = np.empty((0, array.shape[-1]), np.float32)
        for start in range(0, len(order), spread):
            parts = [left]
            for chunk in order[start : start + spread]:
                rows = plan.rows(int(chunk))
                with refusing(f"{self.store.folder}, {address}", RecordingError):
                    values = array[rows.start : rows.stop][good[rows.start : rows.stop]]
                parts.append(values.reshape(-1, values.shape[-1]).astype(np.float32))
            pool = np.concatenate(parts)
            rng.shuffle(pool)
            whole = len(pool) // size * size
            yield from (pool[at : at + size] for at in range(0, whole, size))
            left = pool[whole:].copy()
        if len(left):
            yield left

    def address(self, site: str) -> str:
        """The one address that `site` names; SiteError where it names none or several."""
        if parse(site).units or parse(site).steps:
            raise SiteError(f"{site!r} names a part of a site; a whole site is wanted here.")
        sizes: dict[str, int | None] = dict.fromkeys(self.sites)
        return next(iter(select(site, sizes, single=True, noun="site of this recording")))

    def info(self) -> dict[str, Any]:
        """How far it is: samples, done, bad ones, sites, bytes on disk, manifest."""
        told = self.samples
        return {
            "samples": len(told),
            "done": int(told["done"].sum()),
            "bad": {int(row): str(told["bad"][row]) for row in np.flatnonzero(told["bad"] != "")},
            "sites": self.sites,
            "bytes": sum(size for marker in self.markers for _, size in marker.files.values()),
            "manifest": self.manifest,
        }


@dataclass(frozen=True, eq=False)
class _Kept:
    """One site's array on disk."""

    recording: Recording
    site: str
    layout: Layout

    @property
    def steps(self) -> list[Step]:
        """The steps that it was read at."""
        labels = self.layout.labels
        nothing = [None] * len(labels["step"])
        times, sigmas = labels.get("timestep", nothing), labels.get("sigma", nothing)
        branch = self.recording.store.plan.branch
        told = zip(labels["step"], times, sigmas, strict=True)
        return [Step(index, branch, time, sigma) for index, time, sigma in told]

    def values(self) -> NDArray[np.float32]:
        """All of it, in memory."""
        with refusing(f"{self.recording.store.folder}, {self.site}", RecordingError):
            values: NDArray[np.float32] = self.labelled().to_numpy()
            return values

    def labelled(self) -> xr.DataArray:
        """The array with coordinates, its values still on disk."""
        import xarray as xr

        from clerestory.recordings.lazy_arrays import lazily

        recording, labels = self.recording, self.layout.labels
        array: Any = recording._group.held(self.site)
        table = recording.samples
        coords: dict[str, Any] = {"sample": np.arange(len(table)), "step": labels["step"]}
        coords |= {name: ("step", labels[name]) for name in ("timestep", "sigma") if name in labels}
        coords["unit"] = labels.get("unit", np.arange(array.shape[-1]))
        factors = [str(name) for name in table if name not in ("done", "bad")]
        coords |= {name: ("sample", table[name].to_numpy()) for name in factors}
        coords["branch"] = recording.store.plan.branch
        variable = xr.Variable(("sample", *self.layout.axes), lazily(array))
        whole = xr.DataArray(variable, coords=coords, name=self.site)
        return whole if len(recording.rows) == len(table) else whole.isel(sample=recording.rows)


class Activations(Mapping[str, "xr.DataArray"]):
    """What was read, by address: dims `sample step unit`, or `sample step position unit`.

    A mapping and not a Dataset, because sites differ in the number of their steps and units, and a
    Dataset has one length for each axis name. Labels cost more time than reading does, so an array
    gets its own when it is first asked for; `unlabelled` has the values without them.
    """

    def __init__(self, arrays: Mapping[str, _Kept]) -> None:
        self.unlabelled = dict(arrays)
        self._arrays = {address: cache(noted.labelled) for address, noted in arrays.items()}

    def __getitem__(self, address: str) -> xr.DataArray:
        asked = parse(address)
        names: dict[str, int | None] = dict.fromkeys(self._arrays)
        found = next(iter(select(asked.site, names, single=True, noun="site that was read")))
        array = self._arrays[found]()
        units = head_units(asked, found, array.attrs.get("units"), array.attrs.get("heads"))
        for axis, wanted in (("unit", units), ("step", asked.steps)):
            if wanted is not None:
                lacking = sorted(set(wanted) - set(array[axis].to_numpy().tolist()))
                if lacking:
                    raise SiteError(f"{axis} {lacking[0]} of {found} was not read.")
                array = array.sel({axis: list(wanted)})
        return array

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        lines = [f"  {name}  {dict(self[name].sizes)}" for name in self]
        return "\n".join(["Activations:", *lines])
