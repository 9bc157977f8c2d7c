"""Output of commands: results to stdout, progress and messages to stderr.

Bars are drawn on a terminal only; elsewhere each label logs a line when it begins and ends.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from clerestory.reporting import progress as reporting
from clerestory.reporting.escaping import plain, to_json
from clerestory.reporting.quantities import duration

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.reporting.results import Result
    from clerestory.types import LossProgress

__all__ = [
    "plain",
    "progress",
    "progress_bars",
    "reserve_stdout",
    "status",
    "warn",
    "write",
    "write_json",
    "write_result",
    "write_table",
]

LOG_INTERVAL = 30.0
"""Seconds between two log lines of a label where no bar is drawn."""


def status(text: str) -> None:
    """Write a line to stderr.

    Args:
        text: One line; control characters are left out.
    """
    sys.stderr.write(plain(text) + "\n")


def warn(warnings: Iterable[object]) -> None:
    """Write a line to stderr for each warning of a result.

    Args:
        warnings: The warnings; each is written as its text.
    """
    for warning in warnings:
        status(f"warning: {warning}")


def write(text: str, *, err: bool = False) -> None:
    """Write text to stdout, or to stderr.

    Args:
        text: Any number of lines; control characters are left out.
        err: Whether to write to stderr.
    """
    stream = sys.stderr if err else sys.stdout
    stream.write(plain(text) + "\n")
    # stdout and stderr are often one terminal: lines appear in the order
    # in which they are written.
    stream.flush()


def write_json(value: Any) -> None:
    """Write one JSON value to stdout, also while `reserve_stdout` is open.

    Args:
        value: A value that `json` can write; a number that is not finite is written as null, since
            JSON has none.
    """
    stream = _reserved[-1] if _reserved else sys.stdout
    stream.write(to_json(_with_nulls(value)) + "\n")
    # A full disk is an error here, and not after the command has ended.
    stream.flush()


_reserved: list[TextIO] = []
"""Where JSON goes while stdout is reserved for it."""


@contextmanager
def reserve_stdout() -> Iterator[None]:
    """While this is open, stdout is for `write_json` alone; other output goes to stderr.

    What a classifier, a library, a worker or a program prints would make the JSON unreadable.
    """
    with _separate_stdout() as stdout, redirect_stdout(sys.stderr):
        _reserved.append(stdout)
        try:
            yield
        finally:
            _reserved.pop()


@contextmanager
def _separate_stdout() -> Iterator[TextIO]:
    """stdout by another number, while 1 is stderr; a stream in its place, as in tests, as it is."""
    printed, is_own = sys.stdout, sys.stdout is sys.__stdout__
    if not is_own or printed.fileno() != 1:
        yield printed
        return
    printed.flush()
    number = os.dup(1)  # which no process inherits
    stream = open(  # noqa: SIM115, PTH123
        number, "w", encoding=printed.encoding, errors=printed.errors
    )
    os.dup2(2, 1)
    try:
        yield stream
    finally:
        printed.flush()
        os.dup2(number, 1)
        # What could not be written was told when it was flushed.
        with suppress(OSError):
            stream.close()


def _with_nulls(value: Any) -> Any:
    """The value with None for numbers that are not finite.

    >>> _with_nulls({"a": [1, float("nan")]})
    {'a': [1, None]}
    """
    if isinstance(value, Mapping):
        return {key: _with_nulls(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_nulls(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_result(result: Result, *, json: bool, text: Callable[[], None] | None = None) -> None:
    """Write a result to stdout, as text or its figures as JSON.

    Args:
        result: The result.
        json: Whether to write JSON.
        text: Writes the result as text; by default its summary and its table are written.
    """
    if json:
        write_json(result.to_dict())
    elif text is not None:
        text()
    else:
        write(result.summary())
        write_table(result.table())


def write_table(frame: pd.DataFrame) -> None:
    """Write a result's table to stdout, in columns under their names.

    Args:
        frame: Floats are written with four digits or as whole numbers, None and NaN as a dash.
    """
    # As objects, so that a column of numbers can hold a dash.
    cells = frame.astype(object).where(frame.notna(), "–")
    write(cells.map(_format_cell).to_string(index=False))


def _format_cell(cell: Any) -> str:
    """A cell as text.

    >>> [_format_cell(cell) for cell in (0.123456, 3e-7, 20000.0, "ink")]
    ['0.1235', '3e-07', '20,000', 'ink']
    """
    if not isinstance(cell, float):
        return plain(str(cell))
    # With four digits alone, 12345 would be written as 1.234e+04.
    return f"{cell:,.0f}" if 1e4 <= abs(cell) < 1e15 else f"{cell:.4g}"


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for one piece of work; yields a callback of (completed, total).

    Args:
        label: Name of the bar.
    """
    with progress_bars() as report:
        yield lambda completed, total: report(label, completed, total)


@contextmanager
def progress_bars() -> Iterator[LossProgress]:
    """Show a bar for each label, added at its first report."""
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
            status(f"{label}: {total} in {duration(elapsed)}")
            # A later task of a study can report under the same label: its time is its own.
            del self._started[label]
        # The first report may follow resumed work: the rate is of what was done since.
        elif now - self._logged[label] >= LOG_INTERVAL and completed > self._first[label]:
            self._logged[label] = now
            remaining = elapsed / (completed - self._first[label]) * (total - completed)
            status(f"{label}: {completed} of {total}, about {duration(remaining)} left")
