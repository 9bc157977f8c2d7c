"""Progress bars on terminals and in notebooks; silence elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Self

from clerestory.reporting.escaping import plain

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from clerestory.types import Progress, ProgressOption

__all__ = ["progress_bars", "relabel"]

INTERVAL = 0.5
"""Seconds between two updates in a notebook."""
_REPORTED: ContextVar[bool] = ContextVar("_REPORTED", default=False)
"""Whether a caller further out has decided how progress is reported."""


@contextmanager
def progress_bars(progress: ProgressOption = True) -> Iterator[Progress]:
    """A callback that draws one bar per label.

    The outermost call decides: within a verb that shows bars, or that was silenced, calls of its
    parts (`Model.run`, say) draw none of their own.

    Args:
        progress: A callback of the caller's own, which is passed through; True for bars on a
            terminal or in a notebook; False for silence.

    Yields:
        A callback of (label, completed, total). It is silent where output goes to a file or a pipe.
    """
    shows_bars = progress and not _REPORTED.get() and (sys.stderr.isatty() or _in_notebook())
    # A context variable, not a global: threads decide for themselves.
    token = _REPORTED.set(True)
    try:
        if callable(progress):
            yield progress
        elif shows_bars and _in_notebook():
            with _NotebookLines() as lines:
                yield lines
        elif shows_bars:
            with _rich_progress() as bars:
                yield _Bars(bars)
        else:
            yield _silent
    finally:
        _REPORTED.reset(token)


def relabel(progress: Progress, label: str) -> Progress:
    """A callback that reports the progress of a part under another label.

    Args:
        progress: What is reported to.
        label: The label.

    Returns:
        What the part takes as its own progress.
    """
    return lambda _, completed, total: progress(label, completed, total)


def _silent(label: str, completed: int, total: int, /) -> None:
    pass


def _in_notebook() -> bool:
    # A kernel has a shell of this class; asking IPython only where it is loaded costs no import.
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"


def _rich_progress() -> RichProgress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("·"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]}"),
    )
    # Bars go to stderr, data to stdout.
    return RichProgress(*columns, console=Console(stderr=True))


class _NotebookLines:
    """A line of text in a cell's output, which disappears at the end.

    In notebooks rich needs ipywidgets, and without it warns at every update.
    """

    def __init__(self) -> None:
        self._handle: Any = None
        self._updated = -INTERVAL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.update({"text/plain": ""}, raw=True)

    def __call__(
        self, label: str, completed: int, total: int, loss: float | None = None, /
    ) -> None:
        from IPython.display import display

        # Each update is a message to the browser, and models report many times a second.
        if time.monotonic() - self._updated < INTERVAL:
            return
        self._updated = time.monotonic()
        content = {"text/plain": f"{plain(label)}: {completed:,} of {total:,}"}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(content, raw=True)


class _Bars:
    """Adds a bar when a label is first reported."""

    def __init__(self, bars: RichProgress) -> None:
        self._bars = bars
        self._tasks: dict[str, Any] = {}

    def __call__(
        self, label: str, completed: int, total: int, loss: float | None = None, /
    ) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(plain(label), total=total, loss="")
        # The loss is NaN before the first step, and NaN does not equal itself.
        text = "" if loss is None or loss != loss else f"loss {loss:.4f}"
        self._bars.update(self._tasks[label], completed=completed, total=total, loss=text)
