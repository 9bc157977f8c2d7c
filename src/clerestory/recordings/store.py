"""What lies on disk: a manifest, a table, Zarr arrays, and a marker for each chunk that is done.

    manifest.json            the plan, the arrays, the versions of libraries; written last of these
    samples.parquet          one row a sample: prompt, seed, factors
    activations.zarr/        one array a site, `text.blocks.3/mlp`, with checksums
    activations.zarr/pictures
    done/000012.json         chunk 12 is whole: its bad samples, and a digest of each of its files

A missing Zarr chunk reads as `nan`, so what is there is known from the markers alone.
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

from numpy.typing import NDArray

from clerestory.errors import OutputError, RecordingError
from clerestory.io.outputs import resumable
from clerestory.io.reading import MOST_TEXT, loads, relative
from clerestory.recordings.folder import LOCK, PARTIAL, Folder
from clerestory.recordings.layout import PICTURES, Layout, layouts_of
from clerestory.recordings.plan import FORMAT, Plan

if TYPE_CHECKING:
    import pandas as pd
    import zarr

    from clerestory.recordings.arrays import Arrays

__all__ = ["PICTURES", "Layout", "Marker", "Store"]

MANIFEST, TABLE, ARRAYS, DONE = "manifest.json", "samples.parquet", "activations.zarr", "done"
LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "zarr")


@dataclass(frozen=True)
class Marker:
    """A chunk that is done: its bad rows with the reason, its files with digest and size."""

    chunk: int
    bad: Mapping[int, str]
    files: Mapping[str, tuple[str, int]]


class Store:
    """A recording's folder, to write to and to read from."""

    def __init__(self, where: str | Path | Folder) -> None:
        self.folder = where if isinstance(where, Folder) else Folder(where)

    @property
    def begun(self) -> bool:
        """Whether there is a manifest, and so a plan."""
        return self.folder.read(MANIFEST) is not None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest; RecordingError where there is none, or one of another format."""
        raw = self.folder.read(MANIFEST)
        if raw is None:
            raise RecordingError(f"{self.folder} holds no recording: it has no {MANIFEST}.")
        told: dict[str, Any] = loads(raw, f"{self.folder}/{MANIFEST}", RecordingError, finite=False)
        try:
            found, _, _ = told["plan"]["format"], told["arrays"].items(), told["versions"]
        except (KeyError, TypeError, AttributeError):
            raise RecordingError(
                f"{self.folder}/{MANIFEST} cannot be read: it was altered."
            ) from None
        if found != FORMAT:
            raise RecordingError(
                f"{self.folder} is of format {str(found)[:40]}; this version reads {FORMAT}."
            )
        return told

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
        return Plan.restored(self.manifest["plan"], self.table)

    @cached_property
    def layouts(self) -> dict[str, Layout]:
        """The arrays by address."""
        return layouts_of(self.manifest["arrays"], f"{self.folder}/{MANIFEST}", self.plan)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else records here while this is open, and what a kill left of files is gone.

        RecordingError where somebody does; OutputError, with nothing touched, where the folder
        holds anything but a recording or the beginnings of one.
        """
        if not self.begun:
            ours = {TABLE, ARRAYS, LOCK}
            names = [name for name in self.folder.names() if not name.endswith(PARTIAL)]
            strange = sorted(set(names) - ours)
            if strange:
                raise OutputError(
                    f"{self.folder} is not empty (it has {strange[0]}): choose another folder."
                )
        resumable(self.folder)
        with self.folder.locked():
            self.folder.swept()
            yield

    def begin(
        self, plan: Plan, layouts: Mapping[str, Layout], encoders: Sequence[str] = ()
    ) -> None:
        """Write the plan: table and empty arrays, then, last, the manifest.

        RecordingError, with nothing written, where the table could not be read again.
        `encoders` are the marks of the model's encoders (`models/marks.py`).
        """
        table = plan.packed
        self.folder.remove(ARRAYS)
        self.folder.write(TABLE, table)
        self._make_arrays(plan, layouts)
        told = {
            "made_by": f"clerestory {version('clerestory')}",
            "plan": plan.told(),
            "arrays": {name: asdict(layout) for name, layout in layouts.items()},
            "encoders": list(encoders),
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in LIBRARIES},
            },
        }
        self.folder.write(MANIFEST, (json.dumps(told, indent=1) + "\n").encode())

    def _make_arrays(self, plan: Plan, layouts: Mapping[str, Layout]) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec, ZstdCodec

        group = zarr.create_group(self.folder.zarr(ARRAYS, read_only=False), zarr_format=3)
        for name, layout in layouts.items():
            picture = name == PICTURES
            group.create_array(
                name,
                shape=(len(plan), *layout.shape),
                chunks=(min(plan.chunk, len(plan)), *layout.shape),
                dtype=layout.dtype,
                compressors=[ZstdCodec(level=3), Crc32cCodec()] if picture else [Crc32cCodec()],
                fill_value=0 if picture else float("nan"),
                dimension_names=("sample", *layout.axes),
                attributes=dict(layout.labels),
            )

    def arrays(self) -> Arrays:
        """The arrays, to read from; what of them is not as the manifest says is refused."""
        from clerestory.recordings.arrays import Arrays

        return Arrays(self, self.folder.zarr(ARRAYS, read_only=True))

    def chunk_bytes(self, name: str) -> int:
        """How many bytes a chunk of an array has; the last one is filled up to as many."""
        return min(self.plan.chunk, len(self.plan)) * self.layouts[name].bytes

    @cached_property
    def _writable(self) -> tuple[zarr.Group, dict[str, tuple[str, int]]]:
        import zarr

        from clerestory.recordings.digests import noting

        arrays = self.arrays()
        for name in self.layouts:
            _ = arrays[name]
        files: dict[str, tuple[str, int]] = {}
        store = noting(self.folder.zarr(ARRAYS, read_only=False), files)
        return zarr.open_group(store, mode="r+"), files

    def write(self, chunk: int, arrays: Mapping[str, NDArray[Any]], bad: Mapping[int, str]) -> None:
        """Write a chunk of every array, then its marker; OutputError where the disk is full."""
        group, files = self._writable
        rows = self.plan.rows(chunk)
        files.clear()
        for name, values in arrays.items():
            array = group[name]
            array[rows.start : rows.stop] = values  # type: ignore[index]
        told = {"rows": [rows.start, rows.stop], "bad": bad, "files": files}
        self.folder.write(_marker(chunk), json.dumps(told).encode())

    def mark_undone(self, chunk: int) -> None:
        """Take a chunk's marker away, so that it is filled again."""
        self.folder.remove(_marker(chunk))

    def done(self) -> list[int]:
        """The chunks that have a marker, in order."""
        names = [name.partition(".") for name in self.folder.names(DONE)]
        return sorted(
            int(stem)
            for stem, _, end in names
            if end == "json" and stem.isascii() and stem.isdigit() and len(stem) < 19
        )

    def marker(self, chunk: int) -> Marker | None:
        """A chunk's marker; None where there is none that can be read."""
        try:
            raw = self.folder.read(_marker(chunk)) or b""
            told = loads(raw, _marker(chunk), RecordingError)
            bad = {int(row): str(reason) for row, reason in told["bad"].items()}
            files = {str(name): (str(d), int(size)) for name, (d, size) in told["files"].items()}
            for name in files:
                relative(name, _marker(chunk), RecordingError)
        except (RecordingError, ValueError, KeyError, TypeError, AttributeError):
            return None
        fine = set(bad) <= set(self.plan.rows(chunk)) and all(n >= 0 for _, n in files.values())
        return Marker(chunk, bad, files) if fine else None

    def missing(self) -> list[int]:
        """The chunks that are still to be filled."""
        done = set(self.done())
        return [chunk for chunk in range(self.plan.chunks) if chunk not in done]

    def file(self, name: str) -> bytes | None:
        """The bytes of one of a marker's files."""
        own = name.partition("/c/")[0]
        most = 2 * self.chunk_bytes(own) + 2**16 if own in self.layouts else MOST_TEXT
        return self.folder.read(f"{ARRAYS}/{name}", most)


def _marker(chunk: int) -> str:
    return f"{DONE}/{chunk:06d}.json"
