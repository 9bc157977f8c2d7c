"""Markers of complete chunks: `done/000012.json` tells that chunk 12 is complete.

A marker has the chunk's bad samples and a digest of each of its files, and is written after these
files are flushed to the disk. A marker that cannot be read, or lists a file that is missing or of
another size, is no marker: its chunk is filled again. A marker of another recording is an error:
beside it, the manifest may be the one that does not belong here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clerestory.errors import RecordingError
from clerestory.io.digests import digest, json_digest
from clerestory.io.reading import check_relative_path, parse_json
from clerestory.io.validation import validate
from clerestory.recordings.folder import Folder
from clerestory.recordings.plan import Plan
from clerestory.recordings.tree import ARRAYS, File

__all__ = ["ListedFiles", "Marker", "Markers"]

DONE = "done"
MARKER_BYTES = 512
"""Limit of a marker's bytes for each sample and each array."""
MIN_LIMIT = 2**20
"""A marker of at most this many bytes is always read, so that one of another recording, with more
samples or arrays, gets the error that says so."""


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

    recording: str
    rows: tuple[int, int]
    bad: Mapping[int, str]
    files: Mapping[str, File]
    pictures: tuple[str, ...]
    digest: str


class Markers:
    """The markers of a recording, which alone tell which chunks are complete.

    Args:
        folder: The recording's folder.
        plan: The recording's plan.
        arrays: The number of its arrays, which bounds the size of a marker.
        recording: `recording_digest` of its manifest, which every marker has.
    """

    def __init__(self, folder: Folder, plan: Plan, arrays: int, recording: str) -> None:
        self.folder, self.plan, self.arrays, self.recording = folder, plan, arrays, recording

    def chunks(self) -> list[int]:
        """Indices of the chunks with a marker, which may be damaged, in order."""
        names = [name.partition(".") for name in self.folder.names(DONE)]
        return sorted(
            {
                int(stem)
                for stem, _, end in names
                if end == "json" and stem.isascii() and stem.isdigit() and len(stem) < 19
            }
        )

    def read(self, chunk: int) -> Marker | None:
        """Read a chunk's marker.

        Args:
            chunk: Index of the chunk.

        Returns:
            The marker; None if it is missing, damaged or of another chunk, in which case the chunk
            is incomplete.

        Raises:
            RecordingError: It is whole, and of another recording than the manifest.
        """
        if chunk >= self.plan.chunks:
            return None
        name, rows = _file_name(chunk), self.plan.rows(chunk)
        try:
            # Bounded by what it can hold: it is read often, and a large one would take seconds.
            limit = MARKER_BYTES * (len(rows) + 2 * self.arrays + 8)
            raw = self.folder.read(name, max(limit, MIN_LIMIT))
            content = parse_json(raw or b"", name, RecordingError)
            saved = validate(_SavedMarker, content, name, RecordingError)
            for file in saved.files:
                check_relative_path(file, name, RecordingError)
        except RecordingError:
            return None
        if saved.digest != json_digest(content):
            return None
        # Nor is its chunk filled again: which of the two files is the wrong one is not known.
        if saved.recording != self.recording:
            raise RecordingError(
                f"{self.folder}/{name} and manifest.json are of two recordings: one of them was "
                "copied here. Put back the file that belongs here, or record into another folder."
            )
        # A sample of another chunk would hide good samples there.
        if saved.rows != (rows.start, rows.stop) or not set(saved.bad) <= set(rows):
            return None
        return Marker(chunk, saved.bad, saved.files, frozenset(saved.pictures))

    def read_all(self) -> list[Marker]:
        """The markers that can be read, in order of their chunks."""
        markers = [self.read(chunk) for chunk in self.chunks()]
        return [marker for marker in markers if marker is not None]

    def write(
        self,
        chunk: int,
        bad: Mapping[int, str],
        files: Mapping[str, File],
        pictures: Sequence[str],
    ) -> None:
        """Write a chunk's marker.

        Args:
            chunk: Index of the chunk, whose files are on the disk.
            bad: Reasons by row, for samples whose values are not finite.
            files: Digest and size by path below the folder of arrays.
            pictures: Digest of each picture.
        """
        rows = self.plan.rows(chunk)
        marker: dict[str, Any] = {
            "recording": self.recording,
            "rows": [rows.start, rows.stop],
            "bad": {str(row): reason for row, reason in bad.items()},
            "files": files,
            "pictures": pictures,
        }
        marker["digest"] = json_digest(marker)
        self.folder.write(_file_name(chunk), json.dumps(marker).encode())

    def remove(self, chunk: int) -> None:
        """Remove a chunk's marker, if it has one.

        Args:
            chunk: Index of the chunk.
        """
        self.folder.remove(_file_name(chunk))

    def is_complete(self, chunk: int) -> bool:
        """Whether a chunk has a marker that can be read, and its files in their sizes.

        Args:
            chunk: Index of the chunk.

        Returns:
            True if it needs not be filled. The content of the files is not read.
        """
        return self._has_files(chunk, {})

    def incomplete_chunks(self) -> list[int]:
        """Indices of the chunks that are to be filled (not `is_complete`), in order."""
        marked, sizes = set(self.chunks()), dict[str, Mapping[str, int]]()
        return [
            chunk
            for chunk in range(self.plan.chunks)
            if chunk not in marked or not self._has_files(chunk, sizes)
        ]

    def _has_files(self, chunk: int, sizes: dict[str, Mapping[str, int]]) -> bool:
        marker = self.read(chunk)
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


class ListedFiles:
    """What the manifest and the markers list of the files of arrays, for a `CheckedStore`.

    Args:
        manifest_files: Digest and size by path below the recording's folder.
        markers: The recording's markers.
    """

    def __init__(self, manifest_files: Mapping[str, File], markers: Markers) -> None:
        self._manifest_files, self._markers = manifest_files, markers
        # Cached: every file of a chunk needs the same marker.
        self._by_chunk: dict[int, Marker] = {}

    def file(self, key: str) -> File | None:
        """Look up a file.

        Args:
            key: Its path below the folder of arrays.

        Returns:
            Its digest and size; None if neither the manifest nor a marker lists it.
        """
        if (entry := self._manifest_files.get(f"{ARRAYS}/{key}")) is not None:
            return str(entry[0]), int(entry[1])
        marker = self._marker(key)
        return None if marker is None else marker.files.get(key)

    def has_picture(self, key: str, picture: bytes) -> bool:
        """Whether the marker of a file's chunk lists a picture.

        Args:
            key: The file's path below the folder of arrays.
            picture: The picture's bytes.

        Returns:
            True also where the chunk has no marker.
        """
        marker = self._marker(key)
        return marker is None or not marker.files or digest(picture) in marker.pictures

    def _marker(self, key: str) -> Marker | None:
        """The marker of a file's chunk, empty if it is missing; None for a file of no chunk."""
        number = key.rpartition("/c.")[2].partition(".")[0]
        # Bounded: `int` of a very long text is slow or refused.
        if not number.isdecimal() or len(number) > 18:
            return None
        chunk = int(number)
        if chunk not in self._by_chunk:
            self._by_chunk[chunk] = self._markers.read(chunk) or Marker(chunk, {}, {})
        return self._by_chunk[chunk]


def _file_name(chunk: int) -> str:
    return f"{DONE}/{chunk:06d}.json"
