"""Output of commands: results to stdout, progress and messages to stderr.

Bars are drawn on a terminal only; elsewhere each label logs a line when it begins and ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

from clerestory.reporting import progress as reporting
from clerestory.reporting.escaping import plain, to_json

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.types import LossProgress

__all__ = ["plain", "progress", "progress_bars", "status", "write", "write_json", "write_table"]


LOG_INTERVAL = 30.0
"""Seconds between two log lines of a label where no bar is drawn."""


def status(text: str) -> None:
    """Write a line to stderr.

    Args:
        text: One line; control characters are left out.
    """
    sys.stderr.write(plain(text) + "\n")


def write(text: str, *, err: bool = False) -> None:
    """Write text to stdout, or to stderr.

    Args:
        text: Any number of lines; control characters are left out.
        err: Whether to write to stderr.
    """
    stream = sys.stderr if err else sys.stdout
    stream.write(plain(text) + "\n")
    stream.flush()


def write_json(value: Any) -> None:
    """Write one JSON value to stdout.

    Args:
        value: What `json` can write.

    Raises:
        ValueError: A number is not finite.
    """
    sys.stdout.write(to_json(value) + "\n")


def write_table(frame: pd.DataFrame) -> None:
    """Write a result's table to stdout, in columns under their names.

    Args:
        frame: Floats are written with four digits, None and NaN as a dash.
    """
    cells = frame.astype(object).where(frame.notna(), "–")
    write(cells.map(_format_cell).to_string(index=False))


def _format_cell(cell: Any) -> str:
    return f"{cell:.4g}" if isinstance(cell, float) else plain(str(cell))


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for one piece of work, as a callback of (completed, total).

    Args:
        label: What the bar is called.
    """
    with progress_bars() as report:
        yield lambda completed, total: report(label, completed, total)


@contextmanager
def progress_bars() -> Iterator[LossProgress]:
    """A bar for each label, added when it is first reported."""
    # Bars redraw their line, which in a log file would be thousands of lines.
    if not sys.stderr.isatty():
        yield _LogLines()
        return
    with reporting.progress_bars() as report:
        yield cast("LossProgress", report)  # the bars take a loss as well


class _LogLines:
    """Logs when a label begins and ends and, in between, once every `LOG_INTERVAL` seconds."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._first: dict[str, int] = {}
        self._logged: dict[str, float] = {}

    def __call__(
        self, label: str, completed: int, total: int, loss: float | None = None, /
    ) -> None:
        now = time.monotonic()
        if label not in self._started:
            self._started[label] = self._logged[label] = now
            self._first[label] = completed
            status(f"{label} …")
        elapsed = now - self._started[label]
        if completed == total:
            status(f"{label}: {total} in {elapsed:.0f} s")
        # The first report may come after work that was resumed: only what was done since gives a
        # rate.
        elif now - self._logged[label] >= LOG_INTERVAL and completed > self._first[label]:
            self._logged[label] = now
            remaining = elapsed / (completed - self._first[label]) * (total - completed)
            status(f"{label}: {completed} of {total}, about {remaining:.0f} s left")
