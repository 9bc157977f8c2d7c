"""Files of a recording: a manifest, a table, Zarr arrays, and a marker for each complete chunk.

    manifest.json            the plan, the arrays, versions of libraries, digests; written last
    samples.parquet          one row a sample: prompt, seed, factors
    activations.zarr/        a group a site, `text.blocks.3/mlp`, and `pictures` (`tree.py`)
    done/000012.json         chunk 12 is complete: its bad samples, a digest of each of its files

Zarr reads a missing chunk as NaN, so markers alone tell which chunks are complete. A marker is
written after the files of its chunk are flushed to the disk. A marker that cannot be read, or lists
a file that is missing or of another size, is no marker: its chunk is filled again.
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
from clerestory.io.digests import digest, json_digest
from clerestory.io.reading import (
    MAX_TABLE_BYTES,
    check_relative_path,
    parse_json,
    wrap_errors,
)
from clerestory.io.validation import validate
from clerestory.recordings.folder import LOCK, PARTIAL, Folder
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

__all__ = ["PICTURES", "Layout", "Marker", "Store"]

MANIFEST, TABLE, DONE = "manifest.json", "samples.parquet", "done"
MARKER_BYTES = 512
"""Limit of a marker's bytes for each sample and each array."""
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "zarr")


@dataclass(frozen=True)
class Marker:
    """The record of a complete chunk.

    Attributes:
        chunk: Index of the chunk.
        bad: Reasons by row, for samples whose values are not finite.
        files: Digest and size by path below the folder of arrays.
        pictures: Digest of each picture, since one is read without the rest of its file.
    """

    chunk: int
    bad: Mapping[int, str]
    files: Mapping[str, File]
    pictures: frozenset[str] = frozenset()


@dataclass(frozen=True)
class _SavedMarker:
    """The fields of a marker's file."""

    rows: tuple[int, int]
    bad: Mapping[int, str]
    files: Mapping[str, File]
    pictures: tuple[str, ...]
    digest: str


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
        self._identity: tuple[int, int] | None = None

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
        if saved.digest != json_digest(manifest):
            raise RecordingError(f"{where} was altered: its digest differs.")
        self._identity = self.folder.identity(MANIFEST)
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
        self.folder.make()
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
        manifest["digest"] = json_digest(manifest)
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def restore_files(self, plan: Plan) -> None:
        """Write again what belongs to no chunk and is damaged: table, metadata, coordinates.

        Args:
            plan: The plan, equal to the recording's.

        Raises:
            RecordingError: A file cannot be made as it was, for instance by another version of
                Zarr.
        """
        planned = self.manifest["files"]
        damaged = [name for name in planned if not self._is_intact(name)]
        if not damaged:
            return
        from zarr.storage import MemoryStore

        where = f"{self.folder}/{MANIFEST}"
        layouts = layouts_of(self.manifest["arrays"], where, plan)
        files: dict[str, File] = {}
        contents: dict[str, Any] = {}
        # All of them anew, since Zarr writes no single one; they depend on nothing but the plan.
        create_tree(DigestingStore(MemoryStore(contents), files), plan, layouts)
        made = {f"{ARRAYS}/{name}": contents[name].to_bytes() for name in files}
        made[TABLE] = plan.parquet
        for name in damaged:
            if name not in made or digest(made[name]) != planned[name][0]:
                raise RecordingError(
                    f"{self.folder}/{name} is damaged and cannot be made as it was, since another "
                    "version of a library wrote it: record into another folder."
                )
            self.folder.write(name, made[name])
        # What was read of the damaged files.
        for name in ("table", "plan", "layouts", "_open_arrays", "_writable"):
            vars(self).pop(name, None)

    def _is_intact(self, name: str) -> bool:
        """Whether a file that the manifest lists is as it was written."""
        expected, size = self.manifest["files"][name]
        try:
            raw = self.folder.read(name, min(int(size), MAX_TABLE_BYTES))
        except RecordingError:
            return False
        return raw is not None and digest(raw) == expected

    def tree_store(self) -> CheckedStore:
        """The Zarr store for reading; it raises RecordingError for missing and altered files."""
        planned = self.manifest["files"]
        # Cached: every file of a chunk needs the same marker.
        markers: dict[int, Marker] = {}

        def marker_of(key: str) -> Marker | None:
            chunk = key.rpartition("/c.")[2].partition(".")[0]
            # Bounded: `int` of a very long text is slow or refused.
            if not chunk.isdecimal() or len(chunk) > 18:
                return None
            if int(chunk) not in markers:
                markers[int(chunk)] = self.marker(int(chunk)) or Marker(int(chunk), {}, {})
            return markers[int(chunk)]

        def file(key: str) -> File | None:
            if (entry := planned.get(f"{ARRAYS}/{key}")) is not None:
                return str(entry[0]), int(entry[1])
            marker = marker_of(key)
            return None if marker is None else marker.files.get(key)

        def is_picture(key: str, picture: bytes) -> bool:
            marker = marker_of(key)
            return marker is None or not marker.files or digest(picture) in marker.pictures

        return CheckedStore(
            self.folder.zarr(ARRAYS, read_only=True),
            self.folder,
            self.plan,
            self.layouts,
            file,
            is_picture,
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

        Raises:
            RecordingError: The folder was moved, removed or replaced since it was opened.
        """
        self._check_in_place()
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
        marker: dict[str, Any] = {
            "rows": [rows.start, rows.stop],
            "bad": {str(row): reason for row, reason in bad.items()},
            "files": files,
            "pictures": [digest(picture.tobytes()) for picture in arrays.get(PICTURES, ())],
        }
        marker["digest"] = json_digest(marker)
        # Again: a folder that was moved since has none of the files above.
        self._check_in_place()
        # Last: a kill before this leaves a chunk without marker, which is filled again.
        self.folder.write(_marker_name(chunk), json.dumps(marker).encode())
        self.set_complete(chunk)

    def _check_in_place(self) -> None:
        """RecordingError if the folder at this path is not the one that was opened."""
        _ = self.manifest
        if self._identity is not None and self.folder.identity(MANIFEST) != self._identity:
            raise RecordingError(
                f"{self.folder} was moved, removed or replaced while it was recorded: give the "
                "same command with its new place, which resumes there."
            )

    def set_complete(self, chunk: int, *, complete: bool = True) -> None:
        """Set the coordinate `complete` of a chunk's samples, for readers other than Clerestory.

        Args:
            chunk: Index of the chunk.
            complete: The value.
        """
        rows = self.plan.rows(chunk)
        self._writable[0][COMPLETE][rows.start : rows.stop] = complete

    def restore_complete(self, missing: Sequence[int]) -> None:
        """Make `complete` agree with the markers, after a kill in between or damage.

        Args:
            missing: `missing_chunks`.
        """
        for chunk in range(self.plan.chunks):
            complete, rows = chunk not in missing, self.plan.rows(chunk)
            # The bytes rather than the array: of a truncated file Zarr makes none.
            raw = self.folder.read(f"{ARRAYS}/{COMPLETE}/c.{chunk}") or b""
            length = min(self.plan.chunk, len(self.plan))
            expected = (bytes([complete]) * len(rows)).ljust(length, b"\0")
            # A file that does not exist is False.
            if raw != expected and (raw or complete):
                self.set_complete(chunk, complete=complete)

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

    def marked_chunks(self) -> list[int]:
        """Indices of the chunks with a marker, which may be damaged, in order."""
        names = [name.partition(".") for name in self.folder.names(DONE)]
        return sorted(
            {
                int(stem)
                for stem, _, end in names
                if end == "json" and stem.isascii() and stem.isdigit() and len(stem) < 19
            }
        )

    def completed_chunks(self) -> list[int]:
        """Indices of the chunks whose marker can be read, in order."""
        return [chunk for chunk in self.marked_chunks() if self.marker(chunk) is not None]

    def marker(self, chunk: int) -> Marker | None:
        """Read a chunk's marker.

        Args:
            chunk: Index of the chunk.

        Returns:
            The marker; None if it is missing, damaged or of another chunk, in which case the chunk
            is incomplete.
        """
        if chunk >= self.plan.chunks:
            return None
        name, rows = _marker_name(chunk), self.plan.rows(chunk)
        try:
            # Bounded by what it can hold: it is read often, and a large one would take seconds.
            limit = MARKER_BYTES * (len(rows) + 2 * len(self.layouts) + 8)
            content = parse_json(self.folder.read(name, limit) or b"", name, RecordingError)
            saved = validate(_SavedMarker, content, name, RecordingError)
            for file in saved.files:
                check_relative_path(file, name, RecordingError)
        except RecordingError:
            return None
        # A sample of another chunk would hide good samples there.
        is_valid = saved.rows == (rows.start, rows.stop) and set(saved.bad) <= set(rows)
        if not is_valid or saved.digest != json_digest(content):
            return None
        return Marker(chunk, saved.bad, saved.files, frozenset(saved.pictures))

    def is_complete(self, chunk: int) -> bool:
        """Whether a chunk has a marker that can be read, and its files in their sizes.

        Args:
            chunk: Index of the chunk.

        Returns:
            True if it needs not be filled. The content of the files is not read.
        """
        return self._has_files(chunk, {})

    def missing_chunks(self) -> list[int]:
        """Indices of the chunks that are to be filled (`is_complete`), in order."""
        marked, sizes = set(self.marked_chunks()), dict[str, Mapping[str, int]]()
        return [
            chunk
            for chunk in range(self.plan.chunks)
            if chunk not in marked or not self._has_files(chunk, sizes)
        ]

    def _has_files(self, chunk: int, sizes: dict[str, Mapping[str, int]]) -> bool:
        marker = self.marker(chunk)
        if marker is None:
            return False
        for name, (_, size) in marker.files.items():
            folder, _, file = name.rpartition("/")
            # A listing for each array: a request for each file would take minutes in object stores.
            if folder not in sizes:
                sizes[folder] = self.folder.sizes(f"{ARRAYS}/{folder}")
            if sizes[folder].get(file) != size:
                return False
        return True

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
