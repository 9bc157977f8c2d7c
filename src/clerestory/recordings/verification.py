"""Whether what lies on disk is what was written: every file of every marker, by its digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from clerestory.errors import RecordingError
from clerestory.io.reading import MAX_TABLE_BYTES
from clerestory.recordings.folder import digest
from clerestory.recordings.store import Marker, Store
from clerestory.types import Progress

__all__ = ["Damage", "unmark_damaged", "verify"]

ALL = "*"
"""In place of a site where a whole chunk is in doubt, since its marker cannot be read."""


@dataclass(frozen=True)
class Damage:
    """A site's file that is missing, truncated or altered.

    Attributes:
        site: Whose file; `*` for the whole chunk.
        chunk: Which chunk.
        samples: The rows that stood in it.
        how: `missing`, `truncated`, `altered`, or what is wrong with the marker.
    """

    site: str
    chunk: int
    samples: range
    how: str


def verify(store: Store, progress: Progress | None = None) -> list[Damage]:
    """What is damaged among the chunks that count as done.

    Args:
        store: The recording.
        progress: Receives how many chunks are verified.

    Returns:
        One entry for each damaged file; empty where all is as it was written.

    Raises:
        RecordingError: The plan, its table or the metadata are damaged, which no chunk can repair.
    """
    plan, chunks = store.plan, store.completed_chunks()
    _check_files(store)
    found: list[Damage] = []
    for index, chunk in enumerate(chunks):
        marker = store.marker(chunk) if chunk < plan.chunks else None
        if marker is None:
            found.append(Damage(ALL, chunk, _rows(store, chunk), "marker altered"))
        else:
            found += _damaged(store, marker)
        if progress is not None:
            progress("verifying", index + 1, len(chunks))
    return found


def unmark_damaged(store: Store, damage: list[Damage]) -> int:
    """Take the markers of damaged chunks away, so that they are filled again.

    The folder is to be locked meanwhile.

    Args:
        store: The recording.
        damage: What `verify` found.

    Returns:
        How many chunks there are.
    """
    chunks = sorted({each.chunk for each in damage})
    for chunk in chunks:
        store.mark_undone(chunk)
    return len(chunks)


def by_site(damage: list[Damage]) -> dict[str, list[int]]:
    """The damaged samples of each site.

    Args:
        damage: What `verify` found.

    Returns:
        Rows by site, in order.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for each in damage:
        found[each.site] += each.samples
    return {site: sorted(rows) for site, rows in found.items()}


def _rows(store: Store, chunk: int) -> range:
    # A marker beyond the plan belongs to nothing, so no samples are lost with it.
    return store.plan.rows(chunk) if chunk < store.plan.chunks else range(0)


def _damaged(store: Store, marker: Marker) -> Iterator[Damage]:
    rows = store.plan.rows(marker.chunk)
    listed = {_site(name) for name in marker.files}
    for site in store.layouts.keys() - listed:
        yield Damage(site, marker.chunk, rows, "not in the marker")
    for name, (expected, size) in marker.files.items():
        raw = store.file(name)
        how = "missing" if raw is None else "truncated" if len(raw) < size else "altered"
        if raw is None or digest(raw) != expected:
            yield Damage(_site(name), marker.chunk, rows, how)


def _site(name: str) -> str:
    """Whose values, or lengths, a file holds."""
    return name.partition("/c.")[0].rpartition("/")[0]


def _check_files(store: Store) -> None:
    """RecordingError where the table, metadata or coordinates are not what was written."""
    for name, (expected, size) in store.manifest["files"].items():
        raw = store.folder.read(name, min(int(size), MAX_TABLE_BYTES))
        if raw is None or digest(raw) != expected:
            raise RecordingError(
                f"{store.folder}/{name} {'is missing' if raw is None else 'was altered'}: it is "
                "none of a chunk's files, so record into another folder."
            )
    # Opening every array checks the metadata against the layouts.
    _ = [store.values(name) for name in store.layouts]
