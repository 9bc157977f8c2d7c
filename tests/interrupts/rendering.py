"""Renders in three processes until a signal comes, as `lancet train` does: says who they are."""

import multiprocessing
import sys
import time

from clerestory.cli import interrupts
from lancet.world import render


def _slow(part, size):
    time.sleep(60)


def main():
    render._open = _ready
    render._draw = _slow
    render.check_art = lambda *_: None
    with interrupts.handle_signals():
        for _ in _parts():
            pass


def _parts():
    from pathlib import Path
    from types import SimpleNamespace

    parts = render._draw_parts(
        SimpleNamespace(path=Path("none")), Path("none"), [[], [], []], 2, 64
    )
    make_pool = multiprocessing.get_context("spawn").Pool

    def announced_pool(self, *given, **how):
        pool = make_pool(*given, **how)
        sys.stderr.write(" ".join(str(one.pid) for one in pool._pool) + "\n")
        return pool

    multiprocessing.context.BaseContext.Pool = announced_pool
    return parts


def _ready(*_):
    pass


if __name__ == "__main__":
    main()
