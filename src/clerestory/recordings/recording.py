"""An opened recording: samples as a table, activations as labelled arrays that are read lazily."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.arguments import checked
from clerestory.checks import check_minimum
from clerestory.errors import DictionaryError, RecordingError, SiteError
from clerestory.io.reading import wrap_errors
from clerestory.models.core.addresses import Address, SiteSelection, head_units, parse, select
from clerestory.models.core.latents import AttachedDictionary, attached_to, base_of
from clerestory.models.core.runs import select_labels
from clerestory.recordings.latents import encode_parts, latent_layout
from clerestory.recordings.layout import PICTURES, Layout
from clerestory.recordings.markers import Marker
from clerestory.recordings.store import Store
from clerestory.recordings.tree import COMPLETE, VALUE

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

__all__ = ["Recording"]


class Recording:
    """The complete samples of a recording, which may be unfinished.

    Values are float32, also where they are stored as float16. Bad samples, whose values are not
    finite, are in the table and nowhere else.

    Args:
        store: The files of the recording.
    """

    @checked()
    def __init__(self, store: Store) -> None:
        self.store = store
        self._dictionaries: dict[str, AttachedDictionary] = {}

    @classmethod
    @checked(RecordingError)
    def open(cls, where: str | Path) -> Recording:
        """Open a recording.

        Args:
            where: A folder, or a URL that fsspec opens.

        Returns:
            The recording; its values are read when they are used.

        Raises:
            RecordingError: There is no recording, or its manifest or table was altered.
        """
        store = Store(where)
        # Read now, so that a damaged recording is refused when it is opened.
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
        """Plan, layouts of arrays, versions of libraries, digests of files."""
        return self.store.manifest

    @property
    def sites(self) -> list[str]:
        """Addresses of the recorded sites, and after each those of its latents."""
        recorded = [name for name in self.store.layouts if name != PICTURES]
        attached = self._dictionaries.values()
        return [
            site
            for base in recorded
            for site in (base, *(each.address for each in attached if each.base == base))
        ]

    @checked(DictionaryError)
    def attach(self, dictionary: Any, name: str, *, site: str | None = None) -> str:
        """Make the latents of a dictionary the units of a site `SITE:NAME` of this recording.

        They are computed when they are read, from the recorded values of the site; nothing is
        written. Latents that were recorded themselves are there already, and stay as they are.

        Args:
            dictionary: A `clerestory.dictionaries.Dictionary`.
            name: What follows the site's address and a colon: letters, digits, `_`, `-` and `.`.
            site: The address of the site; by default the one that the dictionary was trained on.

        Returns:
            The address of the new site, such as `prior/embedding:glass16k`.

        Raises:
            DictionaryError: The name is taken, the dictionary names no site, the site was not
                recorded with all of its units, or latents of another dictionary were recorded
                under this name.
            SiteError: The site was not recorded.
        """
        units = {address: layout.shape[-1] for address, layout in self.store.layouts.items()}
        wanted = base_of(dictionary, name, site, units)
        recorded = f"{wanted}:{name}"
        if recorded in self.store.layouts:
            # The base site need not have been recorded.
            self._check_recorded(recorded, dictionary)
            return recorded
        base = self.address(wanted)
        layout = self.store.layouts[base]
        if "unit" in layout.labels:
            raise DictionaryError(
                f"{self.store.folder} has some units of {base} only, and a dictionary encodes all."
            )
        attached = attached_to(dictionary, name, base, units, self._dictionaries)
        self._dictionaries[name] = attached
        return attached.address

    def _check_recorded(self, address: str, dictionary: Any) -> None:
        """DictionaryError if the latents at an address were recorded with another dictionary."""
        digest = self.store.plan.model.dictionaries.get(address)
        if digest != getattr(dictionary, "digest", None):
            raise DictionaryError(
                f"{address} was recorded with another dictionary (digest {digest} there, "
                f"{getattr(dictionary, 'digest', None)} here): choose another name."
            )

    @property
    def dictionaries(self) -> dict[str, str]:
        """Digests of dictionaries by the addresses of their latents, recorded or attached."""
        recorded = self.store.plan.model.dictionaries
        attached = self._dictionaries.values()
        return {**recorded, **{each.address: each.dictionary.digest for each in attached}}

    def latents(self, address: str) -> AttachedDictionary | None:
        """The dictionary whose latents an address names.

        Args:
            address: Address of a site.

        Returns:
            The attached dictionary; None for a site whose values were recorded.
        """
        attached = self._dictionaries.get(address.partition(":")[2])
        return attached if attached is not None and attached.address == address else None

    def layout(self, address: str) -> Layout:
        """The layout of a site's values.

        Args:
            address: Address of a site.

        Returns:
            Its shape and labels; of latents those that they would have if they were recorded.
        """
        attached = self.latents(address)
        if attached is None:
            return self.store.layouts[address]
        return latent_layout(self.store.layouts[attached.base], attached.dictionary.latents)

    @cached_property
    def markers(self) -> list[Marker]:
        """Markers of the complete chunks, as of the first access."""
        return self.store.markers.read_all()

    @cached_property
    def samples(self) -> pd.DataFrame:
        """One row per planned sample: prompt, seed, factors, `done`, and the reason if `bad`."""
        # A copy: the store's own table has no columns of progress.
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
        """Row numbers of the samples that are complete and not bad, which the arrays have."""
        table = self.samples
        return np.flatnonzero(table["done"] & (table["bad"] == ""))

    @cached_property
    def _tree(self) -> xr.DataTree:
        from clerestory.recordings.tree import open_tree

        with wrap_errors(f"{self.store.folder}, activations", RecordingError):
            tree = open_tree(self.store.tree_store())
        # From the markers: the coordinate on disk is for other readers, and nothing verifies it.
        done = ("sample", self.samples["done"].to_numpy())
        tree.dataset = tree.to_dataset(inherit=False).assign_coords({COMPLETE: done})
        return tree

    def to_xarray(self) -> xr.DataTree:
        """The recording as an xarray tree with a group per site; values are read when used.

        Returns:
            The root has the coordinates `sample`, `prompt`, `seed`, the factors, and `complete`.
            The group `text.blocks.0/mlp` has the variable `value`, `[sample, step, unit]` or
            `[sample, step, position, unit]`, float32. Samples that are not recorded yet, or bad,
            are left out.

        Raises:
            RecordingError: The folder is damaged; also when values are read later.
        """
        # No selection of all samples: it would make every later read an indexed one.
        return self._tree.isel(sample=self.rows) if self._partial else self._tree

    @property
    def _partial(self) -> bool:
        return len(self.rows) < len(self)

    @checked(SiteError)
    def read(self, site: str) -> xr.DataArray:
        """The values of one site with the coordinates of its samples, read when used.

        Args:
            site: An address, or a pattern that matches one site; it may select units, heads and
                steps: `prior/embedding[3]`, `text.blocks.0/q[h2]`, `denoiser.mid.res.0/out@5`.

        Returns:
            `[sample, step, unit]` or `[sample, step, position, unit]`, float32, of the samples that
            are complete and not bad, with their prompts, seeds and factors.

        Raises:
            SiteError: No site or several match, or a unit, head or step was not recorded.
            RecordingError: The folder is damaged; also when values are read later.
        """
        request = parse(site)
        (address,) = self._select(request.site, single=True)
        attached = self.latents(address)
        if attached is not None:
            return self._read_latents(attached, request)
        array: xr.DataArray = self._tree[f"{address}/{VALUE}"].rename(address)
        table = self.samples
        factors = [str(name) for name in table if name not in ("done", "bad")]
        array = array.assign_coords(
            # From the table rather than from Zarr, which would read a file for each factor.
            {name: ("sample", table[name].to_numpy()) for name in factors}
            | {"branch": self.store.plan.branch}
        )
        if "unit" not in array.coords:
            array = array.assign_coords(unit=np.arange(array.sizes["unit"]))
        layout = self.store.layouts[address]
        array = select_labels(array, request, layout.units, layout.heads)
        return array.isel(sample=self.rows) if self._partial else array

    def _read_latents(self, attached: AttachedDictionary, request: Address) -> xr.DataArray:
        """Latents with the coordinates of the values that they encode, computed now."""
        import xarray as xr

        steps = "" if request.steps is None else f"@{','.join(map(str, request.steps))}"
        values = self.read(f"{attached.base}{steps}")
        count = attached.dictionary.latents
        # Latents have no heads.
        selected = head_units(request, attached.address, count, None)
        units = tuple(range(count)) if selected is None else selected
        if units[-1] >= count:
            raise SiteError(f"{attached.address} has no unit {units[-1]}; it has {count}.")
        parts = [
            part
            for rows in range(0, len(values), self.store.plan.chunk)
            for part in encode_parts(
                attached, values[rows : rows + self.store.plan.chunk].to_numpy(), units
            )
        ]
        shape = (0, *values.shape[1:-1], len(units))
        encoded = np.concatenate(parts) if parts else np.empty(shape, np.float32)
        coordinates = values.drop_vars("unit").coords
        array = xr.DataArray(encoded, coordinates, values.dims, attached.address)
        return array.assign_coords(unit=np.array(units))

    @checked(SiteError)
    def chunks(self, site: str) -> Iterator[NDArray[np.float32]]:
        """The values of one site chunk by chunk, in constant memory.

        Args:
            site: An address, or a pattern that matches one site.

        Yields:
            `[sample, step, unit]` or `[sample, step, position, unit]`, in the order of `rows`;
            latents in parts of chunks.

        Raises:
            RecordingError: A chunk is missing or damaged.
        """
        address = self.address(site)
        attached = self.latents(address)
        for marker in self.markers:
            _, values = self.read_chunk(attached.base if attached else address, marker.chunk)
            # A chunk may have bad samples only.
            if len(values):
                yield from [values] if attached is None else encode_parts(attached, values)

    @checked(SiteError)
    def read_chunk(self, site: str, chunk: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The values of one site in one chunk.

        Args:
            site: An address, or a pattern that matches one site.
            chunk: The chunk of one of the `markers`.

        Returns:
            The rows of the chunk's samples that are not bad, and their values, `[sample, step,
            unit]` or `[sample, step, position, unit]`.

        Raises:
            RecordingError: The chunk is missing or damaged.
        """
        address, rows = self.address(site), self.store.plan.rows(chunk)
        attached = self.latents(address)
        if attached is not None:
            samples, encoded = self.read_chunk(attached.base, chunk)
            return samples, np.concatenate(list(encode_parts(attached, encoded)))
        samples = np.arange(rows.start, rows.stop)
        good = np.isin(samples, self.rows)
        with wrap_errors(f"{self.store.folder}, {address}", RecordingError):
            values: Any = self.store.values(address)[rows.start : rows.stop]
            return samples[good], np.asarray(values[good], np.float32)

    @checked()
    def pictures(self, rows: int | Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Pictures of samples.

        Args:
            rows: Row numbers in `samples`, in any order.

        Returns:
            uint8 `[sample, height, width, 3]`, in the order of `rows`.

        Raises:
            RecordingError: No pictures were stored, a sample is incomplete, or a file is damaged.
        """
        if PICTURES not in self.store.layouts:
            raise RecordingError(f"{self.store.folder} holds no pictures: they were not stored.")
        indices = np.atleast_1d(np.asarray(rows))
        done = self.samples["done"].to_numpy()
        for row in indices:
            if not 0 <= row < len(done) or not done[row]:
                raise RecordingError(f"Sample {row} of {self.store.folder} is not drawn.")
        # `oindex` takes repeated rows in any order; one picture is one inner chunk of a shard.
        array: Any = self.store.values(PICTURES)
        with wrap_errors(f"{self.store.folder}, pictures", RecordingError):
            pictures: NDArray[np.uint8] = array.oindex[indices]
            return pictures

    @checked()
    def batches(
        self, site: str, size: int = 4096, *, seed: int = 0, buffer_chunks: int = 8
    ) -> Iterator[NDArray[np.float32]]:
        """One pass over the activations of a site in random order.

        Every step and position is a row, except positions beyond the end of a prompt. Rows are
        shuffled in a buffer of `buffer_chunks` chunks, taken in random order, so that memory does
        not grow with the recording.

        Args:
            site: An address, or a pattern that matches one site.
            size: Rows per batch.
            seed: Random seed of the order.
            buffer_chunks: Number of chunks that are shuffled together.

        Yields:
            float32 `[size, unit]`; the last may be shorter.

        Raises:
            RecordingError: `size` or `buffer_chunks` is below 1, or a chunk is missing or damaged.
            SiteError: No site or several match.
        """
        check_minimum(RecordingError, 1, size=size, buffer_chunks=buffer_chunks)
        address = self.address(site)
        if self.latents(address) is not None:
            raise SiteError(f"{site} are latents, which are not recorded: take {address}'s base.")
        rng = np.random.default_rng(seed)
        # Chunks at random, then rows within a few chunks: a full shuffle would read the disk at
        # random.
        order = rng.permutation([marker.chunk for marker in self.markers])
        remainder = np.empty((0, self.store.layouts[address].shape[-1]), np.float32)
        for start in range(0, len(order), buffer_chunks):
            parts = [remainder]
            for chunk in order[start : start + buffer_chunks]:
                _, values = self.read_chunk(address, int(chunk))
                rows = values.reshape(-1, values.shape[-1])
                # Positions beyond the end of a prompt are NaN; bad samples are not in the arrays.
                parts.append(rows[~np.isnan(rows[:, 0])])
            pool = np.concatenate(parts)
            rng.shuffle(pool)
            whole = len(pool) // size * size
            yield from (pool[at : at + size] for at in range(0, whole, size))
            # A copy, or the view would keep the whole pool in memory.
            remainder = pool[whole:].copy()
        if len(remainder):
            yield remainder

    @checked(SiteError)
    def address(self, site: str) -> str:
        """The address of the one site that a pattern matches.

        Args:
            site: An address, or a pattern that matches one site.

        Returns:
            The site's address.

        Raises:
            SiteError: It matches no site or several, or selects a part of one.
        """
        return _whole_sites(site, self._select(site, single=True))[0]

    @checked(SiteError)
    def match(self, patterns: str | Sequence[str]) -> list[str]:
        """The addresses of the recorded sites that patterns name.

        Args:
            patterns: Addresses with `*` for anything, such as `text.*/mlp`; `*` alone for all
                sites, latents as well, which are here because somebody asked for them.

        Returns:
            The addresses, in the order of `sites`.

        Raises:
            SiteError: A pattern names no site, or selects a part of one.
        """
        if patterns == "*":
            return self.sites
        return _whole_sites(patterns, self._select(patterns))

    def _select(
        self, patterns: str | Sequence[str], *, single: bool = False
    ) -> dict[str, SiteSelection]:
        layouts = {site: self.layout(site) for site in self.sites}
        return select(
            patterns,
            {site: layout.units for site, layout in layouts.items()},
            single=single,
            noun="site of this recording",
            heads={site: layout.heads for site, layout in layouts.items()},
        )

    def info(self) -> dict[str, Any]:
        """Numbers of samples and complete samples, bad samples, sites, bytes on disk, manifest."""
        table = self.samples
        return {
            "samples": len(table),
            "done": int(table["done"].sum()),
            "bad": {int(row): str(table["bad"][row]) for row in np.flatnonzero(table["bad"] != "")},
            "sites": self.sites,
            "bytes": sum(size for marker in self.markers for _, size in marker.files.values()),
            "manifest": self.manifest,
        }


def _whole_sites(
    patterns: str | Sequence[str], selections: Mapping[str, SiteSelection]
) -> list[str]:
    for selection in selections.values():
        if selection != SiteSelection():
            raise SiteError(f"{patterns!r} selects a part of a site; give a whole site.")
    return list(selections)
