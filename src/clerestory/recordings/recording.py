"""A recording, opened: its samples as a table, its activations as labelled arrays, lazily."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import RecordingError, SiteError
from clerestory.io.reading import wrap_errors
from clerestory.models.core.addresses import parse, select
from clerestory.recordings.store import PICTURES, Marker, Store
from clerestory.recordings.tree import VALUE

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Recording"]


class Recording:
    """What a folder holds, finished or not; what is not there yet is left out.

    Values are float32, whatever they are kept in. Bad samples, whose values are not finite, are in
    the table and left out of everything else.

    Args:
        store: The folder.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def open(cls, where: str | Path) -> Recording:
        """Open a recording.

        Args:
            where: A folder, or a URL that fsspec opens.

        Returns:
            The recording; no values are read yet.

        Raises:
            RecordingError: There is no recording, or its manifest or table was altered.
        """
        store = Store(where)
        # Read now, so that a damaged folder is refused where it is opened.
        _ = store.plan, store.layouts
        return cls(store)

    def __repr__(self) -> str:
        table = self.samples
        return (
            f"Recording({str(self.store.folder)!r}, {int(table['done'].sum())} of {len(table)} "
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
        found = [
            self.store.marker(chunk) for chunk in self.store.completed_chunks() if chunk < every
        ]
        return [marker for marker in found if marker is not None]

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each planned sample: prompt, seed, factors, `done`, and why it is `bad`."""
        table = self.store.table.rename_axis("sample").copy()
        table["done"], table["bad"] = False, ""
        for marker in self.markers:
            rows = self.store.plan.rows(marker.chunk)
            # `loc` includes its end.
            table.loc[rows.start : rows.stop - 1, "done"] = True
            for row, reason in marker.bad.items():
                table.loc[row, "bad"] = reason
        return table

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """The samples that are done and not bad: what the arrays have."""
        table = self.samples
        return np.flatnonzero(table["done"] & (table["bad"] == ""))

    @cached_property
    def _tree(self) -> xr.DataTree:
        from clerestory.recordings.tree import open_tree

        with wrap_errors(f"{self.store.folder}, activations", RecordingError):
            return open_tree(self.store.tree_store())

    def to_xarray(self) -> xr.DataTree:
        """What is recorded, as a tree: a group for each site, whose values are read when used.

        Returns:
            The root has the coordinates `sample`, `prompt`, `seed`, the factors, and `complete`.
            The group `text.blocks.0/mlp` has the variable `value`, `[sample, step, unit]` or
            `[sample, step, position, unit]`, float32. Samples that are not recorded yet, or bad,
            are left out.

        Raises:
            RecordingError: The folder is damaged; also when values are read later.
        """
        # No selection where all are there: it would make every later read an indexed one.
        return self._tree.isel(sample=self.rows) if self._partial else self._tree

    @property
    def _partial(self) -> bool:
        return len(self.rows) < len(self)

    def read(self, site: str) -> xr.DataArray:
        """One site's values with the coordinates of its samples, read when they are used.

        Args:
            site: An address, or a pattern that one site fits; units and steps may be chosen, as in
                `prior/embedding[3]` and `denoiser.mid.res.0/out@5`.

        Returns:
            `[sample, step, unit]` or `[sample, step, position, unit]`, float32, of the samples that
            are complete and not bad, with their prompts, seeds and factors.

        Raises:
            SiteError: No site, or several, are called so, or a unit or step was not recorded.
            RecordingError: The folder is damaged; also when values are read later.
        """
        request = parse(site)
        address = self._select(request.site)
        array: xr.DataArray = self._tree[f"{address}/{VALUE}"].rename(address)
        table = self.samples
        factors = [str(name) for name in table if name not in ("done", "bad")]
        array = array.assign_coords(
            {name: ("sample", table[name].to_numpy()) for name in factors}
            | {"branch": self.store.plan.branch}
        )
        if "unit" not in array.coords:
            array = array.assign_coords(unit=np.arange(array.sizes["unit"]))
        for axis, selected in (("unit", request.units), ("step", request.steps)):
            if selected is not None:
                missing = sorted(set(selected) - set(array[axis].to_numpy().tolist()))
                if missing:
                    raise SiteError(f"{axis} {missing[0]} of {address} was not recorded.")
                array = array.sel({axis: list(selected)})
        return array.isel(sample=self.rows) if self._partial else array

    def chunks(self, site: str) -> Iterator[NDArray[np.float32]]:
        """One site's values, chunk by chunk, so that memory does not grow with the recording.

        Args:
            site: An address, or a pattern that one site fits.

        Yields:
            `[sample, step, unit]` or `[sample, step, position, unit]`, in the order of `rows`.

        Raises:
            RecordingError: A chunk is missing or damaged.
        """
        for marker in self.markers:
            values = self._chunk(self.address(site), marker.chunk)
            # A chunk may have bad samples only.
            if len(values):
                yield values

    def _chunk(self, address: str, chunk: int) -> NDArray[np.float32]:
        """The good samples of a chunk."""
        rows = self.store.plan.rows(chunk)
        good = np.isin(np.arange(rows.start, rows.stop), self.rows)
        with wrap_errors(f"{self.store.folder}, {address}", RecordingError):
            values: Any = self.store.values(address)[rows.start : rows.stop]
            return np.asarray(values[good], np.float32)

    def pictures(self, rows: int | Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """The pictures of some samples.

        Args:
            rows: Samples, by their row in `samples`, in any order.

        Returns:
            uint8 `[sample, height, width, 3]`, in the order of `rows`.

        Raises:
            RecordingError: None were kept, one of them is not drawn yet, or a file is damaged.
        """
        if PICTURES not in self.store.layouts:
            raise RecordingError(f"{self.store.folder} holds no pictures: they were not kept.")
        wanted = np.atleast_1d(np.asarray(rows))
        table = self.samples["done"].to_numpy()
        for row in wanted:
            if not 0 <= row < len(table) or not table[row]:
                raise RecordingError(f"Sample {row} of {self.store.folder} is not drawn.")
        # By `oindex`, whose rows may repeat and come in any order; one picture is one inner chunk
        # of a shard.
        array: Any = self.store.values(PICTURES)
        with wrap_errors(f"{self.store.folder}, pictures", RecordingError):
            pictures: NDArray[np.uint8] = array.oindex[wanted]
            return pictures

    def batches(
        self, site: str, size: int = 4096, *, seed: int = 0, spread: int = 8
    ) -> Iterator[NDArray[np.float32]]:
        """Activations in random order, once through.

        Every step and position is a row. `spread` chunks are held at a time and mixed, so memory
        does not grow with the recording, and the order is random as far as those reach.

        Args:
            site: An address, or a pattern that one site fits.
            size: Rows of a batch.
            seed: Of the order.
            spread: Chunks that are mixed.

        Yields:
            float32 `[size, unit]`; the last may be shorter.

        Raises:
            RecordingError: `size` or `spread` is below 1, or a chunk is missing or damaged.
            SiteError: No site, or several, are called so.
        """
        if size < 1 or spread < 1:
            raise RecordingError(f"size is {size} and spread {spread}; both must be 1 or more.")
        address = self.address(site)
        rng = np.random.default_rng(seed)
        order = rng.permutation([marker.chunk for marker in self.markers])
        left = np.empty((0, self.store.layouts[address].shape[-1]), np.float32)
        for start in range(0, len(order), spread):
            parts = [left]
            for chunk in order[start : start + spread]:
                values = self._chunk(address, int(chunk))
                parts.append(values.reshape(-1, values.shape[-1]))
            pool = np.concatenate(parts)
            rng.shuffle(pool)
            whole = len(pool) // size * size
            yield from (pool[at : at + size] for at in range(0, whole, size))
            # A copy, or the view would keep the whole pool in memory.
            left = pool[whole:].copy()
        if len(left):
            yield left

    def address(self, site: str) -> str:
        """The one address that a pattern names.

        Args:
            site: An address, or a pattern that one site fits.

        Returns:
            The site's address.

        Raises:
            SiteError: It names no site, several, or a part of one.
        """
        if parse(site).units or parse(site).steps:
            raise SiteError(f"{site!r} names a part of a site; a whole site is wanted here.")
        return self._select(site)

    def _select(self, site: str) -> str:
        sizes: dict[str, int | None] = dict.fromkeys(self.sites)
        return next(iter(select(site, sizes, single=True, noun="site of this recording")))

    def info(self) -> dict[str, Any]:
        """How far it is: samples, done, bad ones, sites, bytes on disk, manifest."""
        table = self.samples
        return {
            "samples": len(table),
            "done": int(table["done"].sum()),
            "bad": {int(row): str(table["bad"][row]) for row in np.flatnonzero(table["bad"] != "")},
            "sites": self.sites,
            "bytes": sum(size for marker in self.markers for _, size in marker.files.values()),
            "manifest": self.manifest,
        }
