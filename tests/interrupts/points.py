"""A command run in this process, and a signal sent to it at its k-th point.

Points are each word of progress and, under one folder, each file opened to be written, each rename
and each new folder: the same ones in every run of the same command.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clerestory.cli import console
from clerestory.cli.main import main

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Points:
    """Counts points, and sends a signal at one of them."""

    under: Path
    at: int = 0
    number: int = 0
    passed: int = 0

    def one(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), self.number)

    def count_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit event: `open`, `os.rename` or `os.mkdir`."""
        writes = event != "open" or (isinstance(arguments[2], int) and arguments[2] & WRITING)
        named = isinstance(arguments[0], (str, Path)) and str(arguments[0]).startswith(
            str(self.under)
        )
        if writes and named:
            self.one()


_now: list[Points] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _now and event in ("open", "os.rename", "os.mkdir"):
        _now[0].count_event(event, arguments)


sys.addaudithook(_audit)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str
    points: int

    @property
    def words(self) -> str:
        """The line on how it was interrupted."""
        assert "Traceback" not in self.err, self.err
        (line,) = [one for one in self.err.splitlines() if one.startswith("clerestory: ")]
        assert line.startswith("clerestory: interrupted: ") and line.endswith("."), line
        assert self.err.endswith(line + "\n"), self.err
        return line.removeprefix("clerestory: interrupted: ")


def ended(words: list[object], under: Path, at: int = 0, number: int = 0) -> Ended:
    """Run `clerestory WORDS` in this process, with a signal at its point `at` (0: none)."""
    points = Points(under, at, number)
    out, err = io.StringIO(), io.StringIO()
    status: Any = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["clerestory", *map(str, words)])
        patch.setattr(console, "progress_bars", _counted(console.progress_bars, points))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            _now[:] = [points]
            try:
                main()
            except SystemExit as end:
                status = end.code
            finally:
                _now.clear()
    return Ended(status or 0, out.getvalue(), err.getvalue(), points.passed)


def _counted(stages: Callable[..., Any], points: Points) -> Any:
    @contextlib.contextmanager
    def counted() -> Iterator[Any]:
        with stages() as forward:

            def report(stage: str, done: int, of: int, loss: float | None = None) -> None:
                points.one()
                forward(stage, done, of, loss)

            yield report

    return counted
