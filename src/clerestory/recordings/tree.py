"""A recording's Zarr hierarchy, which `xarray.open_datatree` reads as it is.

The root has a coordinate for each column of the table, along `sample`, and `complete`. A site
`text.blocks.0/mlp` is the group `mlp` in the group `text.blocks.0`, with an array `value`; pictures
are the group `pictures`. Names that several groups use, such as `unit`, differ in size from group
to group, which is why sites are not variables of one group.

String coordinates and Zarr's warnings are dealt with here and nowhere else.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from zarr.storage import WrapperStore

from clerestory.errors import RecordingError
from clerestory.io.reading import check_count, parse_json
from clerestory.recordings.folder import Folder, digest
from clerestory.recordings.layout import PICTURES, Layout

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    import zarr
    from zarr.abc.store import Store as ZarrStore
    from zarr.core.buffer import Buffer

    from clerestory.recordings.plan import Plan

__all__ = ["ARRAYS", "CheckedStore", "DigestingStore", "File", "create_tree", "open_tree"]

ARRAYS, METADATA = "activations.zarr", "zarr.json"
COMPLETE, VALUE, LENGTH = "complete", "value", "length"
FILE_NAMES: Any = {"name": "default", "separator": "."}
"""Zarr's chunk keys, `c.0.0.0`: one folder an array, so that one folder is flushed to disk."""
COORDINATE_ROWS = 100_000
MOST_LABELS = 2**28
"""Bytes of a file of metadata or of coordinates."""
OVERHEAD = 64
"""Bytes of checksums and of a shard's index, for each sample, at most."""
CODECS = {"bytes", "crc32c", "vlen-utf8", "sharding_indexed"}
"""What the recorder writes with. None of them unpacks to more than a file's own size, so a small
file cannot take much memory."""

File = tuple[str, int]
"""Digest and size of a file, as it was written."""


def create_tree(store: ZarrStore, plan: Plan, layouts: Mapping[str, Layout]) -> None:
    """Write the groups, their coordinates, and arrays of values that are still empty.

    Args:
        store: Where to; empty.
        plan: The samples, whose columns become coordinates of the root.
        layouts: The arrays by site, and `pictures`.
    """
    import zarr

    columns = {str(name): _coordinate(plan.table[name]) for name in plan.table}
    # A name with a space cannot be listed as a coordinate; xarray reads it as a data variable.
    listed = " ".join(name for name in (*columns, COMPLETE) if " " not in name)
    root = zarr.create_group(store, zarr_format=3, attributes={"coordinates": listed})
    _add(root, "sample", np.arange(len(plan)), "sample")
    for name, values in columns.items():
        _add(root, name, values, "sample")
    rows = min(plan.chunk, len(plan))
    root.create_array(
        COMPLETE,
        shape=(len(plan),),
        chunks=(rows,),
        dtype=bool,
        compressors=None,
        fill_value=False,
        dimension_names=("sample",),
        chunk_key_encoding=FILE_NAMES,
    )
    for name, layout in layouts.items():
        _add_site(root, name, layout, len(plan), rows)
    with warnings.catch_warnings():
        # Consolidated metadata are not in Zarr's specification yet; xarray warns without them.
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(store)


def _add_site(root: zarr.Group, name: str, layout: Layout, samples: int, rows: int) -> None:
    from zarr.codecs import Crc32cCodec

    labels = {name: values for name, values in layout.labels.items() if name != "unit"}
    ragged = "position" in layout.dims
    listed = [name for name in labels if name != "step"] + [LENGTH] * ragged
    group = root.create_group(name, attributes={"coordinates": " ".join(listed)})
    for label, values in labels.items():
        _add(group, label, np.asarray(values), "step")
    if "unit" in layout.labels:
        _add(group, "unit", np.asarray(layout.labels["unit"]), "unit")
    if ragged:
        group.create_array(
            LENGTH,
            shape=(samples,),
            chunks=(rows,),
            dtype="int32",
            compressors=[Crc32cCodec()],
            dimension_names=("sample",),
            chunk_key_encoding=FILE_NAMES,
            config={"write_empty_chunks": True},
        )
    picture = name == PICTURES
    whole = (rows, *layout.shape)
    group.create_array(
        VALUE,
        shape=(samples, *layout.shape),
        # A picture is read by itself out of a shard; a site is read whole.
        chunks=(1, *layout.shape) if picture else whole,
        shards=whole if picture else None,
        dtype=layout.dtype,
        compressors=[Crc32cCodec()],
        fill_value=0 if picture else float("nan"),
        dimension_names=("sample", *layout.dims),
        chunk_key_encoding=FILE_NAMES,
    )


def _add(group: zarr.Group, name: str, values: NDArray[Any], dim: str) -> None:
    from zarr.codecs import Crc32cCodec

    # Texts come as objects, see `_coordinate`; Zarr keeps those as strings of any length.
    text = values.dtype.kind == "O"
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=(min(len(values), COORDINATE_ROWS),),
        dtype=str if text else values.dtype,
        compressors=[Crc32cCodec()],
        dimension_names=(dim,),
        chunk_key_encoding=FILE_NAMES,
    )
    array[:] = values


def _coordinate(column: pd.Series[Any]) -> NDArray[Any]:
    """A column as numbers, or as text, where what is missing is empty."""
    missing = column.isna()
    if column.dtype.kind in "biuf" and missing.any():
        # Whole numbers and bools have no missing value of their own.
        return column.to_numpy(np.float64, na_value=np.nan)
    if column.dtype.kind in "biuf":
        return np.array(column.tolist())
    texts = ["" if absent else str(value) for value, absent in zip(column, missing, strict=True)]
    return np.array(texts, object)


def open_tree(store: ZarrStore) -> xr.DataTree:
    """Open a recording's tree.

    Args:
        store: The Zarr store.

    Returns:
        The tree, its values read where they are used, as float32 whatever they are stored in.
    """
    import xarray as xr

    tree: xr.DataTree = xr.open_datatree(store, engine="zarr", consolidated=True)  # type: ignore[arg-type]
    return tree.map_over_datasets(_widened)


def _widened(dataset: xr.Dataset) -> xr.Dataset:
    import xarray as xr

    if VALUE not in dataset or dataset[VALUE].dtype != np.float16:
        return dataset
    # CF decoding widens float16 as it is read: a lazy `astype`, which xarray has not without dask.
    scaled = dataset.copy()
    scaled[VALUE].attrs["scale_factor"] = np.float32(1)
    return xr.decode_cf(scaled)


class DigestingStore(WrapperStore[Any]):
    """A Zarr store that keeps digest and size of what is written, by key.

    Args:
        store: The store that is written to.
        files: Filled as files are written.
    """

    def __init__(self, store: ZarrStore, files: dict[str, File]) -> None:
        super().__init__(store)
        self.files = files

    def _with_store(self, store: ZarrStore) -> DigestingStore:
        return DigestingStore(store, self.files)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file, and keep its digest.

        Args:
            key: The file's path in the store.
            value: Its bytes.
        """
        await super().set(key, value)
        raw = value.to_bytes()
        self.files[key] = (digest(raw), len(raw))


class CheckedStore(WrapperStore[Any]):
    """A Zarr store of which nothing is read that is missing, altered, or elsewhere.

    Zarr takes a chunk that is missing for one that holds the fill value; here it is an error where
    a marker lists it.

    Args:
        store: The store that is read.
        folder: The recording's folder.
        plan: The recording's plan.
        layouts: The arrays of values that the manifest has, by site.
        file: Digest and size of a key's file; None where nothing lists it.
    """

    def __init__(
        self,
        store: ZarrStore,
        folder: Folder,
        plan: Plan,
        layouts: Mapping[str, Layout],
        file: Callable[[str], File | None],
    ) -> None:
        super().__init__(store)
        self.folder, self.plan, self.layouts, self.file = folder, plan, layouts, file

    def _with_store(self, store: ZarrStore) -> CheckedStore:
        return CheckedStore(store, self.folder, self.plan, self.layouts, self.file)

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Buffer | None:
        """Read a file.

        Args:
            key: The file's path in the store.
            prototype: Zarr's kind of buffer.
            byte_range: A part of the file; None for all of it.

        Returns:
            The bytes; None where nothing of that name was written.

        Raises:
            RecordingError: It is missing, too large, or not the one that was written.
        """
        expected = self.file(key)
        most = self.most(key)
        if self.folder.check(f"{ARRAYS}/{key}", most) and expected is not None:
            # A file that has grown is refused before it is read.
            self.folder.check(f"{ARRAYS}/{key}", min(most, expected[1]))
        found = await super().get(key, prototype, byte_range)
        if found is None:
            if expected is not None:
                raise self._error(key, "is missing")
            return None
        if expected is not None and byte_range is None:
            # A part of a shard has checksums of its own, which Zarr compares.
            raw = found.to_bytes()
            if digest(raw) != expected[0]:
                raise self._error(key, "was altered")
            if key == METADATA:
                self._check_metadata(raw)
        return found

    def most(self, key: str) -> int:
        """How many bytes a file may have.

        Args:
            key: The file's path in the store.

        Returns:
            Of a site's values as many as its shape says, with room for checksums; a fixed bound for
            metadata and coordinates.
        """
        layout = self.layouts.get(key.partition(f"/{VALUE}/c")[0])
        if layout is None or METADATA in key:
            return MOST_LABELS
        rows = min(self.plan.chunk, len(self.plan))
        return rows * (layout.bytes + OVERHEAD) + OVERHEAD

    def _error(self, key: str, what: str) -> RecordingError:
        return RecordingError(
            f"{self.folder}/{ARRAYS}/{key} {what}: `clerestory recording verify --repair` draws "
            "its samples again."
        )

    def _check_metadata(self, raw: bytes) -> None:
        """RecordingError where arrays are others than the recorder's.

        Whoever wrote the folder may have written its digests as well.
        """
        where = f"{self.folder}/{ARRAYS}/{METADATA}"
        root = parse_json(raw, where, RecordingError, finite=False, max_length=MOST_LABELS)
        nodes = root["consolidated_metadata"]["metadata"]
        for path, node in nodes.items():
            if node["node_type"] == "array":
                layout = self.layouts.get(path.removesuffix(f"/{VALUE}"))
                if not self._is_recorded(node, layout if path.endswith(VALUE) else None):
                    raise RecordingError(f"{where} was altered: {path[:80]} is another array.")
        for name in self.layouts:
            if f"{name}/{VALUE}" not in nodes:
                raise RecordingError(f"{where} was altered: {name[:80]} is missing.")

    def _is_recorded(self, node: Mapping[str, Any], layout: Layout | None) -> bool:
        codecs = list(_codecs(node["codecs"]))
        chunk = node["chunk_grid"]["configuration"]["chunk_shape"]
        # Another codec could unpack a small file to any size, or run a plug-in's code.
        fine = set(codecs) <= CODECS and not node.get("storage_transformers")
        fine = fine and node["chunk_grid"]["name"] == "regular"
        if layout is None:
            check_count(self.folder, RecordingError, math.prod(chunk), COORDINATE_ROWS, "labels")
            return fine and len(node["shape"]) == 1 and node["shape"][0] <= len(self.plan)
        samples = len(self.plan)
        fine = fine and node["shape"] == [samples, *layout.shape]
        fine = fine and chunk == [min(self.plan.chunk, samples), *layout.shape]
        return fine and node["data_type"] == layout.dtype


def _codecs(nodes: Any) -> Any:
    """The names of codecs, those within shards as well."""
    for node in nodes:
        yield node["name"]
        inner = node.get("configuration", {})
        yield from _codecs([*inner.get("codecs", ()), *inner.get("index_codecs", ())])
