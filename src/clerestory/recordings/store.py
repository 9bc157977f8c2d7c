"""Files of a recording: a manifest, a table, Zarr arrays, and a marker for each complete chunk.

    manifest.json            the plan, the arrays, versions of libraries, digests; written last
    samples.parquet          one row a sample: prompt, seed, factors
    activations.zarr/        a group a site, `text.blocks.3/mlp`, and `pictures` (`tree.py`)
    done/000012.json         chunk 12 is complete: its bad samples, a digest of each of its files

Zarr reads a missing chunk as NaN, so markers alone tell which chunks are complete. A marker is
written after the files of its chunk are flushed to the disk.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError, RecordingError
from clerestory.io.reading import check_relative_path, parse_json, wrap_errors
from clerestory.io.validation import validate
from clerestory.recordings.folder import LOCK, PARTIAL, Folder, digest
from clerestory.recordings.layout import PICTURES, Layout, layouts_of
from clerestory.recordings.plan import FORMAT, Plan
from clerestory.recordings.tree import (
    ARRAYS,
    COMPLETE,
    LENGTH,
    VALUE,
    CheckedStore,
    DigestingStore,
    File,
    create_tree,
)

if TYPE_CHECKING:
    import pandas as pd
    import zarr

__all__ = ["PICTURES", "Layout", "Marker", "Store", "manifest_digest"]

MANIFEST, TABLE, DONE = "manifest.json", "samples.parquet", "done"
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "zarr")


@dataclass(frozen=True)
class Marker:
    """The record of a complete chunk.

    Attributes:
        chunk: Index of the chunk.
        bad: Reasons by row, for samples whose values are not finite.
        files: Digest and size by path below the folder of arrays.
    """

    chunk: int
    bad: Mapping[int, str]
    files: Mapping[str, File]


@dataclass(frozen=True)
class _SavedMarker:
    """The fields of a marker's file."""

    rows: tuple[int, int]
    bad: Mapping[int, str]
    files: Mapping[str, File]


@dataclass(frozen=True)
class _Manifest:
    """The fields of `manifest.json`."""

    made_by: str
    plan: Mapping[str, Any]
    arrays: Mapping[str, Any]
    encoders: tuple[str, ...]
    versions: Mapping[str, str]
    files: Mapping[str, File]
    digest: str


class Store:
    """The files of a recording, for reading and writing.

    Args:
        where: A path, a URL that fsspec opens, or an opened folder.

    Raises:
        OutputError: No file system serves the URL.
    """

    def __init__(self, where: str | Path | Folder) -> None:
        self.folder = where if isinstance(where, Folder) else Folder(where)

    @property
    def exists(self) -> bool:
        """Whether the folder has a manifest, and so a plan."""
        return self.folder.read(MANIFEST) is not None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; RecordingError if it is missing, altered or of another format."""
        raw = self.folder.read(MANIFEST)
        if raw is None:
            raise RecordingError(f"{self.folder} holds no recording: it has no {MANIFEST}.")
        where = f"{self.folder}/{MANIFEST}"
        manifest: dict[str, Any] = parse_json(raw, where, RecordingError, finite=False)
        # `plan` and `layouts` check their fields.
        saved = validate(_Manifest, manifest, where, RecordingError)
        version_number = saved.plan.get("format")
        if version_number != FORMAT:
            raise RecordingError(
                f"{self.folder} is a recording of format {str(version_number)[:40]}, and this "
                f"version reads {FORMAT} only: record it again."
            )
        if saved.digest != manifest_digest(manifest):
            raise RecordingError(f"{where} was altered: its digest differs.")
        return manifest

    @cached_property
    def table(self) -> pd.DataFrame:
        """The table of planned samples."""
        try:
            table = self.folder.table(TABLE)
        except RecordingError as error:
            raise RecordingError(
                f"{self.folder}/{TABLE} is missing or was altered: {error}"
            ) from error
        if table is None:
            raise RecordingError(f"{self.folder}/{TABLE} is missing or was altered.")
        return table

    @cached_property
    def plan(self) -> Plan:
        """The plan; RecordingError if its table was altered."""
        return Plan.from_dict(self.manifest["plan"], self.table)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """Layouts by site, and of `pictures`."""
        return layouts_of(self.manifest["arrays"], f"{self.folder}/{MANIFEST}", self.plan)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes that record here, and remove what a killed one left unfinished.

        Raises:
            RecordingError: Another process records here.
            OutputError: The folder has files that are not a recording's; nothing is changed.
        """
        # A folder without a manifest may hold anything; only what a killed run left is taken over.
        if not self.exists:
            known = {TABLE, ARRAYS, LOCK}
            names = [name for name in self.folder.names() if not name.endswith(PARTIAL)]
            unknown = sorted(set(names) - known)
            if unknown:
                raise OutputError(
                    f"{self.folder} is not empty (it has {unknown[0]}): choose another folder."
                )
        with self.folder.lock():
            self.folder.remove_partial_files()
            yield

    def create(
        self, plan: Plan, layouts: Mapping[str, Layout], encoders: Sequence[str] = ()
    ) -> None:
        """Write the table, empty arrays and, last, the manifest.

        Args:
            plan: The plan.
            layouts: Layouts by site, and of `pictures`.
            encoders: Digests of the model's encoders, from `encoder_digests`.

        Raises:
            RecordingError: The table is too large to be read again; nothing is written.
        """
        table = plan.parquet
        # Arrays of a process that was killed may have another layout.
        self.folder.remove(ARRAYS)
        self.folder.write(TABLE, table)
        files: dict[str, File] = {}
        create_tree(DigestingStore(self.folder.zarr(ARRAYS, read_only=False), files), plan, layouts)
        self.folder.flush(f"{ARRAYS}/{name}" for name in files)
        manifest = {
            "made_by": f"clerestory {version('clerestory')}",
            "plan": plan.to_dict(),
            "arrays": {name: asdict(layout) for name, layout in layouts.items()},
            "encoders": list(encoders),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
            # These files never change again, so the manifest can vouch for them.
            "files": {TABLE: (digest(table), len(table))}
            | {f"{ARRAYS}/{name}": file for name, file in files.items()},
        }
        manifest["digest"] = manifest_digest(manifest)
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def tree_store(self) -> CheckedStore:
        """The Zarr store for reading; it raises RecordingError for missing and altered files."""
        planned = self.manifest["files"]
        # Cached: every file of a chunk needs the same marker.
        markers: dict[int, Mapping[str, File]] = {}

        def file(key: str) -> File | None:
            if (entry := planned.get(f"{ARRAYS}/{key}")) is not None:
                return str(entry[0]), int(entry[1])
            _, _, position = key.rpartition("/c.")
            chunk = position.partition(".")[0]
            # Bounded: `int` of a very long text is slow or refused.
            if not chunk.isdecimal() or len(chunk) > 18:
                return None
            if int(chunk) not in markers:
                marker = self.marker(int(chunk))
                markers[int(chunk)] = {} if marker is None else marker.files
            return markers[int(chunk)].get(key)

        return CheckedStore(
            self.folder.zarr(ARRAYS, read_only=True), self.folder, self.plan, self.layouts, file
        )

    @cached_property
    def _open_arrays(self) -> zarr.Group:
        import zarr

        return zarr.open_group(self.tree_store(), mode="r", use_consolidated=True)

    def values(self, name: str) -> zarr.Array[Any]:
        """The Zarr array of a site, or of `pictures`.

        Args:
            name: Address of the site, or `pictures`.

        Returns:
            The array, read-only; its files are verified when they are read.

        Raises:
            RecordingError: The metadata of the array are damaged.
        """
        with wrap_errors(f"{self.folder}/{ARRAYS}/{name}", RecordingError):
            array: zarr.Array[Any] = self._open_arrays[f"{name}/{VALUE}"]  # type: ignore[assignment]
            return array

    @cached_property
    def _writable(self) -> tuple[dict[str, zarr.Array[Any]], dict[str, File]]:
        import zarr

        # Existing metadata are checked before anything is written.
        with wrap_errors(f"{self.folder}/{ARRAYS}", RecordingError):
            _ = self._open_arrays
        files: dict[str, File] = {}
        store = DigestingStore(self.folder.zarr(ARRAYS, read_only=False), files)
        group = zarr.open_group(store, mode="r+")
        names = [COMPLETE]
        for name, layout in self.layouts.items():
            names += [f"{name}/{VALUE}"] + [f"{name}/{LENGTH}"] * ("position" in layout.dims)
        arrays = {}
        for name in names:
            array: Any = group[name]
            # Chunks of the fill value are written as well: a missing file is damage.
            arrays[name] = array.with_config({"write_empty_chunks": True})
        return arrays, files

    def write(
        self,
        chunk: int,
        arrays: Mapping[str, NDArray[Any]],
        bad: Mapping[int, str],
        lengths: Mapping[str, NDArray[np.integer]] | None = None,
    ) -> None:
        """Write a chunk of every array, flush it to the disk, and then write its marker.

        Args:
            chunk: Index of the chunk.
            arrays: Values of its samples by site.
            bad: Reasons by row, for samples whose values are not finite.
            lengths: Number of positions of each sample, by site with positions; by default as many
                as the array has.
        """
        targets, files = self._writable
        rows = self.plan.rows(chunk)
        selection = slice(rows.start, rows.stop)
        # The marker lists the files of this chunk only.
        files.clear()
        for name, values in arrays.items():
            # Zarr reads a shard before it writes a part of it, and fails if the shard is damaged.
            if name == PICTURES:
                self.folder.remove(f"{ARRAYS}/{name}/{VALUE}/c.{chunk}.0.0.0")
            targets[f"{name}/{VALUE}"][selection] = values
            if f"{name}/{LENGTH}" in targets:
                longest = self.layouts[name].shape[self.layouts[name].dims.index("position")]
                targets[f"{name}/{LENGTH}"][selection] = (lengths or {}).get(name, longest)
        self.folder.flush(f"{ARRAYS}/{name}" for name in files)
        marker = {"rows": [rows.start, rows.stop], "bad": bad, "files": files}
        # Last: a kill before this leaves a chunk without marker, which is filled again.
        self.folder.write(_marker_name(chunk), json.dumps(marker).encode())
        self.set_complete(chunk)

    def set_complete(self, chunk: int, *, complete: bool = True) -> None:
        """Set the coordinate `complete` of a chunk's samples, for readers other than Clerestory.

        Args:
            chunk: Index of the chunk.
            complete: The value.
        """
        rows = self.plan.rows(chunk)
        self._writable[0][COMPLETE][rows.start : rows.stop] = complete

    def restore_complete(self) -> None:
        """Set `complete` for chunks whose writer was killed between marker and coordinate."""
        complete: Any = self._writable[0][COMPLETE][:]
        for chunk in self.completed_chunks():
            if chunk < self.plan.chunks and not all(complete[self.plan.rows(chunk)]):
                self.set_complete(chunk)

    def remove_marker(self, chunk: int) -> None:
        """Remove a chunk's marker, so that it is filled again.

        Args:
            chunk: Index of the chunk.
        """
        if chunk < self.plan.chunks:
            # Before the marker is removed: a kill in between leaves a marked chunk, for which
            # `restore_complete` sets the coordinate again.
            self.set_complete(chunk, complete=False)
        self.folder.remove(_marker_name(chunk))

    def completed_chunks(self) -> list[int]:
        """Indices of the chunks with a marker, in order."""
        names = [name.partition(".") for name in self.folder.names(DONE)]
        return sorted(
            int(stem)
            for stem, _, end in names
            if end == "json" and stem.isascii() and stem.isdigit() and len(stem) < 19
        )

    def marker(self, chunk: int) -> Marker | None:
        """Read a chunk's marker.

        Args:
            chunk: Index of the chunk.

        Returns:
            The marker; None if it is missing or invalid, in which case the chunk is incomplete.
        """
        name = _marker_name(chunk)
        try:
            content = parse_json(self.folder.read(name) or b"", name, RecordingError)
            saved = validate(_SavedMarker, content, name, RecordingError)
            for file in saved.files:
                check_relative_path(file, name, RecordingError)
        except RecordingError:
            return None
        # A sample of another chunk would hide good samples there.
        is_valid = set(saved.bad) <= set(self.plan.rows(chunk))
        return Marker(chunk, saved.bad, saved.files) if is_valid else None

    def missing_chunks(self) -> list[int]:
        """Indices of the chunks without a marker, in order."""
        return sorted(set(range(self.plan.chunks)) - set(self.completed_chunks()))

    def file(self, name: str) -> bytes | None:
        """Read a file that a marker lists.

        Args:
            name: Its path below the folder of arrays.

        Returns:
            The content; None if the file is missing.

        Raises:
            RecordingError: The file is larger than the shape of its array allows.
        """
        return self.folder.read(f"{ARRAYS}/{name}", self.tree_store().max_bytes(name))


def _marker_name(chunk: int) -> str:
    return f"{DONE}/{chunk:06d}.json"


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """The digest of all other fields of a manifest, as JSON with sorted keys.

    Args:
        manifest: The manifest, with its own `digest` or without.

    Returns:
        32 hexadecimal digits.
    """
    others = {name: value for name, value in manifest.items() if name != "digest"}
    return digest(json.dumps(others, sort_keys=True).encode())
