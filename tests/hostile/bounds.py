"""Using what is hostile within bounds: memory, time, one kind of error, one line."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clerestory.errors import ClerestoryError

from .kinds import Kind

MOST_ADDRESSES = 2**31
"""Bytes of address space beyond what there is already: an allocation above fails, loudly."""
MOST_SECONDS = 10.0
"""Machines that others work on too are slow; alone each takes less than two."""


@contextmanager
def bounded(memory: int) -> Iterator[None]:
    """While this is open there is little memory more; AssertionError where much was taken."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    peak, begun = _peak(), time.monotonic()
    limit = pages * resource.getpagesize() + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    took, grew = time.monotonic() - begun, _peak() - peak
    assert took < MOST_SECONDS, f"{took:.1f} s"
    assert grew < memory, f"{grew / 2**20:.0f} MiB"


def refusal(kind: Kind, folder: Path) -> ClerestoryError | None:
    """How the product refuses it; None where it can be used. Anything else is raised."""
    with bounded(kind.memory):
        try:
            kind.use(folder)
        except ClerestoryError as error:
            assert "\n" not in str(error), str(error)
            assert len(str(error)) < 2000
            return error
    return None


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
