"""Files of a recording: a manifest, a table, Zarr arrays, and a marker for each complete chunk.

    manifest.json            `manifest.py`: the plan, the arrays, digests; written last
    samples.parquet          one row a sample: prompt, seed, factors
    activations.zarr/        a group a site, `text.blocks.3/mlp`, and `pictures` (`tree.py`)
    done/000012.json         `markers.py`: chunk 12 is complete

Zarr reads a missing chunk as NaN, so markers alone tell which chunks are complete.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError, RecordingError
from clerestory.io.digests import digest
from clerestory.io.reading import wrap_errors
from clerestory.recordings.folder import LOCK, PARTIAL, Folder
from clerestory.recordings.layout import PICTURES, Layout, layouts_of
from clerestory.recordings.manifest import (
    MANIFEST,
    TABLE,
    find_defect,
    read_manifest,
    recording_digest,
    write_manifest,
)
from clerestory.recordings.markers import ListedFiles, Markers
from clerestory.recordings.plan import Plan
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

__all__ = ["Store"]


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
        manifest = read_manifest(self.folder)
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

    @cached_property
    def markers(self) -> Markers:
        """The markers of complete chunks."""
        return self._markers_of(self.plan)

    def _markers_of(self, plan: Plan) -> Markers:
        arrays, digest = self.manifest["arrays"], recording_digest(self.manifest)
        return Markers(self.folder, plan, len(arrays), digest)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes that record here, and remove what a killed one left unfinished.

        Raises:
            RecordingError: Another process records here.
            OutputError: The folder has files that are not a recording's; nothing is changed.
        """
        # A folder without a manifest may hold anything; only what a killed run left is taken over.
        if not self.exists:
            names = [name for name in self.folder.names() if not name.endswith(PARTIAL)]
            foreign = sorted(set(names) - {TABLE, ARRAYS, LOCK})
            if foreign:
                raise OutputError(
                    f"{self.folder} is not empty (it has {foreign[0]}): choose another folder."
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
        listed: dict[str, File] = {TABLE: (digest(table), len(table))}
        listed |= {f"{ARRAYS}/{name}": file for name, file in files.items()}
        write_manifest(self.folder, plan, layouts, encoders, listed)

    def restore_files(self, plan: Plan) -> None:
        """Write again what belongs to no chunk and is damaged: table, metadata, coordinates.

        Args:
            plan: The plan, equal to the recording's.

        Raises:
            RecordingError: A file cannot be made as it was, for instance by another version of
                Zarr; or the markers are of another recording.
        """
        planned = self.manifest["files"]
        damaged = [name for name in planned if not self._is_intact(name)]
        if not damaged:
            return
        # All of them differ where the manifest is of another recording, whose files these are.
        self._markers_of(plan).read_all()
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
        for name in ("table", "plan", "layouts", "markers", "_open_arrays", "_writable"):
            vars(self).pop(name, None)

    def _is_intact(self, name: str) -> bool:
        """Whether a file that the manifest lists is as it was written."""
        try:
            return find_defect(self.folder, name, self.manifest["files"][name]) is None
        except RecordingError:
            return False

    def tree_store(self) -> CheckedStore:
        """The Zarr store for reading; it raises RecordingError for missing and altered files."""
        listed = ListedFiles(self.manifest["files"], self.markers)
        return CheckedStore(
            self.folder.zarr(ARRAYS, read_only=True),
            self.folder,
            self.plan,
            self.layouts,
            listed.file,
            listed.has_picture,
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
        pictures = [digest(picture.tobytes()) for picture in arrays.get(PICTURES, ())]
        # Again: a folder that was moved since has none of the files above.
        self._check_in_place()
        # Last: a kill before this leaves a chunk without marker, which is filled again.
        self.markers.write(chunk, bad, files, pictures)
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
            missing: `Markers.incomplete_chunks`.
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
        self.markers.remove(chunk)

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
