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
from pydantic import NonNegativeInt
from zarr.abc.store import RangeByteRequest
from zarr.storage import WrapperStore

from clerestory.errors import RecordingError
from clerestory.io.digests import digest
from clerestory.io.reading import check_count, parse_json
from clerestory.recordings.folder import Folder
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
MAX_LABEL_BYTES = 2**28
"""Limit of a file of metadata or of coordinates."""
CHECKSUM = 4
"""Bytes of a CRC-32C."""
OVERHEAD = 64
"""Limit of the bytes of checksums and of a shard's index, for each sample."""
CODECS = {"bytes", "crc32c", "vlen-utf8", "sharding_indexed"}
"""Codecs of the recorder. None of them expands its input, so a small file cannot take much
memory."""

File = tuple[str, NonNegativeInt]
"""Digest and size of a file when it was written."""


def create_tree(store: ZarrStore, plan: Plan, layouts: Mapping[str, Layout]) -> None:
    """Create the groups, their coordinates, and empty arrays of values.

    Args:
        store: An empty Zarr store.
        plan: The plan; the columns of its table become coordinates of the root.
        layouts: Layouts by site, and of `pictures`.
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
    attributes: dict[str, Any] = {"coordinates": " ".join(listed)}
    if layout.heads:
        attributes |= {"units": layout.units, "heads": layout.heads}
    group = root.create_group(name, attributes=attributes)
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
        # What is not recorded reads as NaN; bytes have no such value.
        fill_value=0 if picture else float("nan"),
        dimension_names=("sample", *layout.dims),
        chunk_key_encoding=FILE_NAMES,
    )


def _add(group: zarr.Group, name: str, values: NDArray[Any], dim: str) -> None:
    from zarr.codecs import Crc32cCodec

    # `_coordinate` returns texts as objects, which Zarr stores as strings of any length.
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
    """A column as numbers, with NaN for missing values, or as text, with the empty string."""
    missing = column.isna()
    if column.dtype.kind in "biuf" and missing.any():
        # Integers and bools have no missing value.
        return column.to_numpy(np.float64, na_value=np.nan)
    if column.dtype.kind in "biuf":
        # Through Python's types: pandas' own integers and booleans have no NumPy dtype.
        return np.array(column.tolist())
    texts = ["" if absent else str(value) for value, absent in zip(column, missing, strict=True)]
    return np.array(texts, object)


def open_tree(store: ZarrStore) -> xr.DataTree:
    """Open a recording's tree.

    Args:
        store: The Zarr store.

    Returns:
        The tree; its values are read when they are used, float16 as float32.
    """
    import xarray as xr

    tree: xr.DataTree = xr.open_datatree(store, engine="zarr", consolidated=True)  # type: ignore[arg-type]
    return tree.map_over_datasets(_widened)


def _widened(dataset: xr.Dataset) -> xr.Dataset:
    import xarray as xr

    if VALUE not in dataset or dataset[VALUE].dtype != np.float16:
        return dataset
    # CF decoding converts float16 while it is read: a lazy `astype`, which xarray only has with
    # dask.
    scaled = dataset.copy()
    scaled[VALUE].attrs["scale_factor"] = np.float32(1)
    return xr.decode_cf(scaled)


class DigestingStore(WrapperStore[Any]):
    """A Zarr store that notes digest and size of each file that is written.

    Args:
        store: The underlying store.
        files: Filled with digests and sizes by key.
    """

    def __init__(self, store: ZarrStore, files: dict[str, File]) -> None:
        super().__init__(store)
        self.files = files

    def _with_store(self, store: ZarrStore) -> DigestingStore:
        return DigestingStore(store, self.files)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a file and note its digest.

        Args:
            key: The file's path in the store.
            value: Its bytes.
        """
        await super().set(key, value)
        raw = value.to_bytes()
        self.files[key] = (digest(raw), len(raw))


class CheckedStore(WrapperStore[Any]):
    """A read-only Zarr store that raises for files that are missing, altered or linked elsewhere.

    Zarr reads a missing chunk as the fill value; here it is an error if a marker lists it.

    Args:
        store: The underlying store.
        folder: The recording's folder.
        plan: The recording's plan.
        layouts: Layouts by site, from the manifest.
        file: Returns digest and size by key; None for a file that neither the manifest nor a marker
            lists.
        has_picture: Whether the marker of a key's chunk has a picture of these bytes.
    """

    def __init__(
        self,
        store: ZarrStore,
        folder: Folder,
        plan: Plan,
        layouts: Mapping[str, Layout],
        file: Callable[[str], File | None],
        has_picture: Callable[[str, bytes], bool],
    ) -> None:
        super().__init__(store)
        self.folder, self.plan, self.layouts, self.file = folder, plan, layouts, file
        self.has_picture = has_picture
        picture = layouts.get(PICTURES)
        # Each is followed by its checksum. Sites are read by whole files.
        self._picture_bytes = CHECKSUM + (0 if picture is None else picture.bytes)

    def _with_store(self, store: ZarrStore) -> CheckedStore:
        return CheckedStore(
            store, self.folder, self.plan, self.layouts, self.file, self.has_picture
        )

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Buffer | None:
        """Read a file.

        Args:
            key: The file's path in the store.
            prototype: Zarr's kind of buffer.
            byte_range: A part of the file; None for all of it.

        Returns:
            The content; None if the file does not exist and is not listed.

        Raises:
            RecordingError: The file is missing, too large or altered.
        """
        expected = self.file(key)
        limit = self.max_bytes(key)
        # A file that has grown is refused before it is read.
        self.folder.check(f"{ARRAYS}/{key}", limit if expected is None else min(limit, expected[1]))
        content = await super().get(key, prototype, byte_range)
        if content is None:
            if expected is not None:
                raise self._error(key, "is missing")
            return None
        if expected is None:
            return content
        raw = content.to_bytes()
        if byte_range is None:
            if digest(raw) != expected[0]:
                raise self._error(key, "was altered")
            if key == METADATA:
                self._check_metadata(raw)
        elif isinstance(byte_range, RangeByteRequest):
            # Pictures of a shard have checksums, which Zarr verifies; but those of another chunk
            # have them too. The shard's index (a suffix) is the same in all whole chunks.
            for start in range(0, len(raw), self._picture_bytes):
                picture = raw[start : start + self._picture_bytes - CHECKSUM]
                if not self.has_picture(key, picture):
                    raise self._error(key, "was altered")
        return content

    def max_bytes(self, key: str) -> int:
        """The limit of a file's size.

        Args:
            key: The file's path in the store.

        Returns:
            For values of a site the size of its shape, with room for checksums; a fixed limit for
            metadata and coordinates.
        """
        layout = self.layouts.get(key.partition(f"/{VALUE}/c")[0])
        if layout is None or METADATA in key:
            return MAX_LABEL_BYTES
        rows = min(self.plan.chunk, len(self.plan))
        return rows * (layout.bytes + OVERHEAD) + OVERHEAD

    def _error(self, key: str, what: str) -> RecordingError:
        return RecordingError(
            f"{self.folder}/{ARRAYS}/{key} {what}: `clerestory recording verify --repair` draws "
            "its samples again."
        )

    def _check_metadata(self, raw: bytes) -> None:
        """RecordingError if the recorder does not write such arrays.

        Digests do not suffice: whoever altered the folder may have altered them as well.
        """
        where = f"{self.folder}/{ARRAYS}/{METADATA}"
        root = parse_json(raw, where, RecordingError, finite=False, max_length=MAX_LABEL_BYTES)
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
        # Another codec could expand a small file to any size, or run a plug-in's code.
        valid = set(codecs) <= CODECS and not node.get("storage_transformers")
        valid = valid and node["chunk_grid"]["name"] == "regular"
        if layout is None:
            check_count(self.folder, RecordingError, math.prod(chunk), COORDINATE_ROWS, "labels")
            # Factors of samples, or labels of a site's steps and units.
            sizes = [size for each in self.layouts.values() for size in each.shape]
            longest = max(len(self.plan), *sizes)
            return valid and len(node["shape"]) == 1 and node["shape"][0] <= longest
        samples = len(self.plan)
        valid = valid and node["shape"] == [samples, *layout.shape]
        valid = valid and chunk == [min(self.plan.chunk, samples), *layout.shape]
        return valid and node["data_type"] == layout.dtype


def _codecs(nodes: Any) -> Any:
    """The names of codecs, including those within shards."""
    for node in nodes:
        yield node["name"]
        inner = node.get("configuration", {})
        yield from _codecs([*inner.get("codecs", ()), *inner.get("index_codecs", ())])
