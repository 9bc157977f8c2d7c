"""What commands say: progress and words to stderr, one JSON object to stdout.

Progress bars are shown to a terminal only; elsewhere a stage says when it begins and ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from clerestory.reporting.escaping import plain, to_json
from clerestory.reporting.progress import progress_bars

__all__ = ["emit", "plain", "progress", "say", "stages", "table", "tell"]


PATIENCE = 30.0
"""Seconds between two words of a stage where there is no bar."""


class StageReport(Protocol):
    """Told how far a named stage is, and its loss where it has one."""

    def __call__(self, stage: str, done: int, of: int, loss: float | None = None, /) -> None:
        """`done` of `of` steps of `stage` are done."""


def say(text: str) -> None:
    """One line to stderr."""
    sys.stderr.write(plain(text) + "\n")


def tell(text: str, *, err: bool = False) -> None:
    """Text to stdout, or to stderr."""
    stream = sys.stderr if err else sys.stdout
    stream.write(plain(text) + "\n")
    stream.flush()


def emit(value: Any) -> None:
    """One JSON value to stdout."""
    sys.stdout.write(to_json(value) + "\n")


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys, in columns under their names.

    >>> print(table([{"way": "words", "rate": 0.5}]))
    way    rate
    words  0.5
    """
    cells = [list(rows[0]), *([plain(str(of)) for of in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)
    return "\n".join(lines)


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for one piece of work; gives a function of (done, of)."""
    with stages() as report:
        yield lambda done, of: report(label, done, of)


@contextmanager
def stages() -> Iterator[StageReport]:
    """A bar for each stage, as it is first heard of."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    with progress_bars() as report:
        yield cast("StageReport", report)  # bars take a loss as well


class _Lines:
    """A line when a stage begins and ends and, in between, one every `PATIENCE` seconds."""

    def __init__(self) -> None:
        self._began: dict[str, float] = {}
        self._start: dict[str, int] = {}
        self._said: dict[str, float] = {}

    def __call__(self, stage: str, done: int, of: int, loss: float | None = None, /) -> None:
        now = time.monotonic()
        if stage not in self._began:
            self._began[stage] = self._said[stage] = now
            self._start[stage] = done
            say(f"{stage} …")
        gone = now - self._began[stage]
        if done == of:
            say(f"{stage}: {of} in {gone:.0f} s")
        elif now - self._said[stage] >= PATIENCE and done > self._start[stage]:
            self._said[stage] = now
            left = gone / (done - self._start[stage]) * (of - done)
            say(f"{stage}: {done} of {of}, about {left:.0f} s left")
