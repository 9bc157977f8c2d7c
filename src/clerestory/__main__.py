"""The command `clerestory`, also as `python -m clerestory`; signals are handled from its start."""

from __future__ import annotations

import os
import signal
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Import and run the command line; see `clerestory.cli.main`.

    Ctrl-C and SIGTERM are one line from the first import on, and no traceback after the last line
    of output.
    """
    for number in SIGNALS:
        signal.signal(number, _leave)
    from clerestory.cli.main import main as run

    try:
        run()
    finally:
        # Output is complete and Python ends: its own handler would write a traceback of that.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave at once: nothing was begun yet.

    Not by KeyboardInterrupt, which a callback of the import system may drop.
    """
    os.write(2, b"clerestory: interrupted: no unfinished output is left.\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
