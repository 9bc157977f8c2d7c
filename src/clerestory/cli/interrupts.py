"""Ctrl-C and SIGTERM: the command unwinds, and one line tells in which state it left things."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from clerestory.cli import console
from clerestory.io import outputs

__all__ = ["told"]

ONCE = 1.0
"""Seconds in which a second signal counts as the same: some tools send one to a process twice."""


@contextmanager
def told() -> Iterator[None]:
    """Run a command so that a signal ends it by unwinding, with a line and status 128 + its number.

    A second signal, over a second later, ends it at once. What is said is of `outputs.left`.
    A command that ends well although a signal came, as a server does, has its own status.
    """
    signals = _Signals()
    outputs.forget()
    with signals.answered():
        try:
            yield
        except SystemExit as end:
            if not signals.came or not end.code:
                raise
            signals.end(end)
        except BaseException as error:
            if not signals.came:
                raise
            signals.end(error)


class _Signals:
    """Which signal came first, and when."""

    def __init__(self) -> None:
        self.came, self._when = 0, 0.0

    @contextmanager
    def answered(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {one: signal.signal(one, self._answer) for one in _ENDING}
        try:
            yield
        finally:
            for one, answer in before.items():
                signal.signal(one, answer)

    def _answer(self, number: int, frame: FrameType | None) -> None:
        if not self.came:
            self.came, self._when = number, time.monotonic()
            raise KeyboardInterrupt
        if time.monotonic() - self._when > ONCE:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def end(self, error: BaseException) -> None:
        """Say what is left, and leave; whatever was raised on the way is of the signal."""
        console.status(f"clerestory: interrupted: {outputs.left()}.")
        sys.stdout.flush()
        raise SystemExit(128 + self.came) from error


_ENDING = (signal.SIGINT, signal.SIGTERM)
