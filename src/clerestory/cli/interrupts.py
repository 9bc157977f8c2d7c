"""Ctrl-C and SIGTERM: the command unwinds, and one line reports what is left on disk.

Whoever writes a file removes what is unfinished (`io/writing.py`), so nothing has to be cleaned up
here. A command whose output can be continued says so:

    with interrupts.resumable(out): ...
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from clerestory.cli import console

__all__ = ["handle_signals", "resumable"]

SAME_SIGNAL = 1.0
"""Seconds in which a second signal counts as the first one: some tools send it twice."""

RAISE_AGAIN = 0.01
"""Seconds after which a dropped interrupt is raised again: by then its finalizer has ended."""


@contextmanager
def handle_signals() -> Iterator[None]:
    """Let a signal end a command by unwinding, with one line and status 128 + its number.

    A second signal, more than a second later, ends the process at once. A command that ends
    normally although a signal arrived, as a server does, keeps its own status.
    """
    signals = _Signals()
    with signals.installed():
        try:
            yield
        except SystemExit as end:
            # A server that stops on a signal exits with 0: that is its own status.
            if not signals.received or not end.code:
                raise
            signals.end(end)
        except BaseException as error:
            if not signals.received:
                raise
            signals.end(error)


@contextmanager
def resumable(out: str | Path | None) -> Iterator[None]:
    """While this is open, an interrupt reports that the same command resumes `out`.

    Args:
        out: A folder, or a URL; nothing is reported for None or a folder that does not exist.
    """
    try:
        yield
    except BaseException as error:
        if out is not None and ("://" in str(out) or Path(out).exists()):
            error.add_note(f"the same command resumes {out}")
        raise


class _Signals:
    """The first signal received, and when."""

    def __init__(self) -> None:
        self.received, self._time, self._dropped = 0, 0.0, False

    @contextmanager
    def installed(self) -> Iterator[None]:
        # Python installs signal handlers in the main thread only.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        hook, sys.unraisablehook = sys.unraisablehook, self._raise_again
        try:
            yield
        finally:
            sys.unraisablehook = hook
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.received or self._dropped:
            if not self.received:
                self.received, self._time = number, time.monotonic()
            self._dropped = False
            raise KeyboardInterrupt
        if time.monotonic() - self._time > SAME_SIGNAL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    def _raise_again(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Raise an interrupt again that Python dropped, as in `__del__` and callbacks of C."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            sys.__unraisablehook__(unraisable)
            return
        self._dropped = True
        # Not at once: what is raised in this hook is dropped as well.
        timer = threading.Timer(RAISE_AGAIN, _thread.interrupt_main, [self.received])
        timer.daemon = True
        timer.start()

    def end(self, error: BaseException) -> None:
        """Report what is left on disk and exit; errors raised while unwinding are consequences."""
        notes = "; ".join(_notes(error)) or "no unfinished output is left"
        console.status(f"clerestory: interrupted: {notes}.")
        # What was written so far is whole lines, for whoever reads the pipe.
        sys.stdout.flush()
        raise SystemExit(128 + self.received) from error


def _notes(error: BaseException | None) -> Iterator[str]:
    """Notes of an error and of those that it replaced, such as typer's exit at Ctrl-C."""
    while error is not None:
        yield from getattr(error, "__notes__", ())
        error = error.__cause__ or error.__context__


_SIGNALS = (signal.SIGINT, signal.SIGTERM)
