"""What lies on disk: a manifest, a table, Zarr arrays, and a marker for each chunk that is done.

    manifest.json            the plan, the arrays, versions of libraries, digests; written last
    samples.parquet          one row a sample: prompt, seed, factors
    activations.zarr/        a group a site, `text.blocks.3/mlp`, and `pictures` (`tree.py`)
    done/000012.json         chunk 12 is complete: its bad samples, a digest of each of its files

Zarr reads a missing chunk as `nan`, so what is complete is known from the markers alone. They are
written after the chunk's files are flushed to the disk.
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
    """A chunk that is done.

    Attributes:
        chunk: Which one.
        bad: Reasons by row, of samples whose values are not finite.
        files: Digest and size by file, under the arrays' folder.
    """

    chunk: int
    bad: Mapping[int, str]
    files: Mapping[str, File]


class Store:
    """A recording's folder, to write to and to read from.

    Args:
        where: A path, a URL that fsspec opens, or a folder that is open already.

    Raises:
        OutputError: No file system serves the URL.
    """

    def __init__(self, where: str | Path | Folder) -> None:
        self.folder = where if isinstance(where, Folder) else Folder(where)

    @property
    def exists(self) -> bool:
        """Whether there is a manifest, and so a plan."""
        return self.folder.read(MANIFEST) is not None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; RecordingError where there is none, or one of another format."""
        raw = self.folder.read(MANIFEST)
        if raw is None:
            raise RecordingError(f"{self.folder} holds no recording: it has no {MANIFEST}.")
        where = f"{self.folder}/{MANIFEST}"
        manifest: dict[str, Any] = parse_json(raw, where, RecordingError, finite=False)
        try:
            found, files = manifest["plan"]["format"], manifest.get("files", {})
            # Only the form is checked here; what it says is checked by `plan` and `layouts`.
            _, _ = manifest["arrays"].items(), manifest["versions"]
            fine = all(_is_file(each) for each in files.values())
        except (KeyError, TypeError, AttributeError):
            raise RecordingError(f"{where} cannot be read: it was altered.") from None
        if found != FORMAT:
            raise RecordingError(
                f"{self.folder} is a recording of format {str(found)[:40]}, and this version reads "
                f"{FORMAT} only: record it again."
            )
        if not fine or manifest.get("digest") != manifest_digest(manifest):
            raise RecordingError(f"{where} was altered: its digest differs.")
        return manifest

    @cached_property
    def table(self) -> pd.DataFrame:
        """The samples as they were planned."""
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
        """The plan; RecordingError where its table was altered."""
        return Plan.from_dict(self.manifest["plan"], self.table)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The arrays by address."""
        return layouts_of(self.manifest["arrays"], f"{self.folder}/{MANIFEST}", self.plan)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else records here while this is open, and what a kill left of files is gone.

        Raises:
            RecordingError: Somebody else records here.
            OutputError: The folder holds anything but a recording or the beginnings of one; nothing
                is touched.
        """
        if not self.exists:
            ours = {TABLE, ARRAYS, LOCK}
            names = [name for name in self.folder.names() if not name.endswith(PARTIAL)]
            strange = sorted(set(names) - ours)
            if strange:
                raise OutputError(
                    f"{self.folder} is not empty (it has {strange[0]}): choose another folder."
                )
        with self.folder.lock():
            self.folder.remove_partial_files()
            yield

    def create(
        self, plan: Plan, layouts: Mapping[str, Layout], encoders: Sequence[str] = ()
    ) -> None:
        """Write the plan: table and empty arrays, then, last, the manifest.

        Args:
            plan: What will be recorded.
            layouts: The arrays by site.
            encoders: Digests of the model's encoders, as `encoder_digests` gives them.

        Raises:
            RecordingError: The table could not be read again; nothing is written.
        """
        table = plan.parquet
        # What a killed recorder began may be of another layout.
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
            "files": {TABLE: (digest(table), len(table))}
            | {f"{ARRAYS}/{name}": file for name, file in files.items()},
        }
        manifest["digest"] = manifest_digest(manifest)
        self.folder.write(MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())

    def tree_store(self) -> CheckedStore:
        """The Zarr store to read from; what is missing or altered in it is a RecordingError."""
        planned = self.manifest["files"]
        # Read once each: every file of a chunk asks for the same marker.
        markers: dict[int, Mapping[str, File]] = {}

        def file(key: str) -> File | None:
            if (found := planned.get(f"{ARRAYS}/{key}")) is not None:
                return str(found[0]), int(found[1])
            _, _, place = key.rpartition("/c.")
            chunk = place.partition(".")[0]
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
        """The array of a site, or of `pictures`, as Zarr has it.

        Args:
            name: The site's address, or `pictures`.

        Returns:
            The array, read-only; its files are checked as they are read.

        Raises:
            RecordingError: The array's metadata are damaged.
        """
        with wrap_errors(f"{self.folder}/{ARRAYS}/{name}", RecordingError):
            array: zarr.Array[Any] = self._open_arrays[f"{name}/{VALUE}"]  # type: ignore[assignment]
            return array

    @cached_property
    def _writable(self) -> tuple[dict[str, zarr.Array[Any]], dict[str, File]]:
        import zarr

        # What is there is checked before it is written to.
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
            # A chunk of nothing but the fill value has a file as well: one that lacks is damage.
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
            chunk: Which one.
            arrays: The values of its samples by site.
            bad: Reasons by sample, of those whose values are not finite.
            lengths: How many positions each sample has, of sites that keep positions; all that
                the array has by default.
        """
        targets, files = self._writable
        rows = self.plan.rows(chunk)
        place = slice(rows.start, rows.stop)
        # The digests of this chunk alone go into its marker.
        files.clear()
        for name, values in arrays.items():
            # Zarr reads a shard that it writes in part, as the last one is: a damaged one fails.
            if name == PICTURES:
                self.folder.remove(f"{ARRAYS}/{name}/{VALUE}/c.{chunk}.0.0.0")
            targets[f"{name}/{VALUE}"][place] = values
            if f"{name}/{LENGTH}" in targets:
                most = self.layouts[name].shape[self.layouts[name].dims.index("position")]
                targets[f"{name}/{LENGTH}"][place] = (lengths or {}).get(name, most)
        self.folder.flush(f"{ARRAYS}/{name}" for name in files)
        marker = {"rows": [rows.start, rows.stop], "bad": bad, "files": files}
        # Last of all: until now a kill leaves an unmarked chunk, which is filled again.
        self.folder.write(_marker(chunk), json.dumps(marker).encode())
        self.mark_complete(chunk)

    def mark_complete(self, chunk: int, *, complete: bool = True) -> None:
        """Set the coordinate `complete` of a chunk's samples, which are complete by its marker.

        Args:
            chunk: Which one.
            complete: What is set.
        """
        rows = self.plan.rows(chunk)
        self._writable[0][COMPLETE][rows.start : rows.stop] = complete

    def complete_marked(self) -> None:
        """Set `complete` where a kill came between a chunk's marker and that coordinate."""
        complete: Any = self._writable[0][COMPLETE][:]
        for chunk in self.completed_chunks():
            if chunk < self.plan.chunks and not all(complete[self.plan.rows(chunk)]):
                self.mark_complete(chunk)

    def mark_undone(self, chunk: int) -> None:
        """Take a chunk's marker away, so that it is filled again.

        Args:
            chunk: Which one.
        """
        if chunk < self.plan.chunks:
            # Before the marker goes: a kill between leaves a marked chunk, which `complete_marked`
            # sets again.
            self.mark_complete(chunk, complete=False)
        self.folder.remove(_marker(chunk))

    def completed_chunks(self) -> list[int]:
        """The chunks that have a marker, in order."""
        names = [name.partition(".") for name in self.folder.names(DONE)]
        return sorted(
            int(stem)
            for stem, _, end in names
            if end == "json" and stem.isascii() and stem.isdigit() and len(stem) < 19
        )

    def marker(self, chunk: int) -> Marker | None:
        """A chunk's marker.

        Args:
            chunk: Which one.

        Returns:
            The marker; None where there is none that can be read, so that it counts as undone.
        """
        try:
            raw = self.folder.read(_marker(chunk)) or b""
            marker = parse_json(raw, _marker(chunk), RecordingError)
            bad = {int(row): str(reason) for row, reason in marker["bad"].items()}
            files = {str(name): (str(d), int(size)) for name, (d, size) in marker["files"].items()}
            for name in files:
                check_relative_path(name, _marker(chunk), RecordingError)
        except (RecordingError, ValueError, KeyError, TypeError, AttributeError):
            return None
        fine = set(bad) <= set(self.plan.rows(chunk)) and all(n >= 0 for _, n in files.values())
        return Marker(chunk, bad, files) if fine else None

    def missing_chunks(self) -> list[int]:
        """The chunks that are still to be filled."""
        done = set(self.completed_chunks())
        return [chunk for chunk in range(self.plan.chunks) if chunk not in done]

    def file(self, name: str) -> bytes | None:
        """The bytes of one of a marker's files.

        Args:
            name: Its path under the arrays' folder.

        Returns:
            The bytes; None where it is missing.

        Raises:
            RecordingError: It has more bytes than the array's shape allows.
        """
        return self.folder.read(f"{ARRAYS}/{name}", self.tree_store().most(name))


def _marker(chunk: int) -> str:
    return f"{DONE}/{chunk:06d}.json"


def _is_file(value: Any) -> bool:
    """Whether it is a digest and a size."""
    match value:
        case [str(), int(size)] if not isinstance(size, bool) and size >= 0:
            return True
    return False


def manifest_digest(manifest: Mapping[str, Any]) -> str:
    """The digest of all that a manifest says besides its digest.

    Args:
        manifest: The manifest.

    Returns:
        As `digest`, of the JSON with sorted keys.
    """
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return digest(json.dumps(rest, sort_keys=True).encode())
