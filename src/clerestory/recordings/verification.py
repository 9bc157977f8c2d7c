"""Verification of a recording: every file that a marker lists, by its digest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from clerestory.errors import RecordingError
from clerestory.io.digests import digest
from clerestory.recordings.manifest import find_defect
from clerestory.recordings.markers import Marker
from clerestory.recordings.store import Store
from clerestory.types import Progress

__all__ = ["Damage", "by_site", "unmark_damaged", "verify"]

ALL = "*"
"""Stands for all sites of a chunk whose marker cannot be read."""


@dataclass(frozen=True)
class Damage:
    """A file that is missing, truncated or altered.

    Attributes:
        site: The site whose values it holds; `*` for all sites of the chunk.
        chunk: Index of the chunk.
        samples: Rows of the chunk.
        how: `missing`, `truncated`, `altered`, or the defect of the marker.
    """

    site: str
    chunk: int
    samples: range
    how: str


def verify(store: Store, progress: Progress | None = None) -> list[Damage]:
    """Find the damaged files of complete chunks.

    Args:
        store: The recording.
        progress: Receives the number of verified chunks.

    Returns:
        One entry for each damaged file.

    Raises:
        RecordingError: The plan, its table or the metadata are damaged; a resumed recording writes
            the latter two again.
    """
    plan, chunks = store.plan, store.markers.chunks()
    _check_files(store)
    damage: list[Damage] = []
    for index, chunk in enumerate(chunks):
        marker = store.markers.read(chunk) if chunk < plan.chunks else None
        if marker is None:
            damage.append(Damage(ALL, chunk, _rows(store, chunk), "marker altered"))
        else:
            damage += _damaged_files(store, marker)
        if progress is not None:
            progress("verifying", index + 1, len(chunks))
    return damage


def unmark_damaged(store: Store, damage: list[Damage]) -> int:
    """Remove the markers of damaged chunks, so that they are filled again.

    The folder must be locked (`Store.lock`).

    Args:
        store: The recording.
        damage: The result of `verify`.

    Returns:
        Number of these chunks.
    """
    chunks = sorted({each.chunk for each in damage})
    for chunk in chunks:
        store.remove_marker(chunk)
    return len(chunks)


def by_site(damage: list[Damage]) -> dict[str, list[int]]:
    """The samples with damaged values, by site.

    Args:
        damage: The result of `verify`.

    Returns:
        Rows by site, in order.
    """
    samples: dict[str, list[int]] = defaultdict(list)
    for each in damage:
        samples[each.site] += each.samples
    return {site: sorted(rows) for site, rows in samples.items()}


def _rows(store: Store, chunk: int) -> range:
    # A marker of a chunk that the plan does not have belongs to no samples.
    return store.plan.rows(chunk) if chunk < store.plan.chunks else range(0)


def _damaged_files(store: Store, marker: Marker) -> Iterator[Damage]:
    rows = store.plan.rows(marker.chunk)
    # A marker that lists no file of a site was written by another hand.
    listed = {_site(name) for name in marker.files}
    for site in store.layouts.keys() - listed:
        yield Damage(site, marker.chunk, rows, "not in the marker")
    for name, (expected, size) in marker.files.items():
        try:
            raw = store.file(name)
        except RecordingError:  # larger than its array, or no file
            yield Damage(_site(name), marker.chunk, rows, "altered")
            continue
        how = "missing" if raw is None else "truncated" if len(raw) < size else "altered"
        if raw is None or digest(raw) != expected:
            yield Damage(_site(name), marker.chunk, rows, how)


def _site(name: str) -> str:
    """The site whose values or lengths a file holds."""
    return name.partition("/c.")[0].rpartition("/")[0]


def _check_files(store: Store) -> None:
    """RecordingError if the table, metadata or coordinates differ from what was written."""
    for name, file in store.manifest["files"].items():
        defect = find_defect(store.folder, name, file)
        if defect is not None:
            raise RecordingError(
                f"{store.folder}/{name} {defect}: it belongs to no chunk; the command that "
                "recorded it writes it again."
            )
    # Opening every array checks the metadata against the layouts.
    _ = [store.values(name) for name in store.layouts]
