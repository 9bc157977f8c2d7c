"""A recording of the tiny model, and what is done to it by several tests."""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from tiny import tiny_model

from clerestory.recordings import Recording, Store, record
from clerestory.recordings.folder import Folder
from clerestory.recordings.tree import DigestingStore

PROMPTS = [
    f"a {animal} {place}" for animal in ("cat", "dog") for place in ("a", "b", "c", "d", "e")
]
READ = "text.*/mlp,prior/embedding,denoiser.mid.*/out"
HOW: dict[str, Any] = {"sites": READ, "batch": 2, "chunk": 4, "steps": 2, "prior_steps": 2}


def recorded(out: Path | str, prompts: Any = PROMPTS, seeds: Any = (0, 1), **how: Any) -> Recording:
    """Twenty samples in five chunks of two batches each, unless told otherwise."""
    return record(tiny_model(), prompts, seeds, out=out, **{**HOW, **how})


def contents(where: Path | str) -> dict[str, Any]:
    """All that a recording says, for comparing two of them bit for bit."""
    store = Store(where)
    arrays = {name: np.asarray(store.values(name)[...]).tobytes() for name in store.layouts}
    return {
        "plan": store.manifest["plan"],
        "table": store.table.to_csv(),
        "markers": store.markers.read_all(),
        **arrays,
    }


def record_and_exit(out: str, cut: str = "", at: int = 0) -> None:
    """What a process that is to be killed does; with a `cut` it kills itself there.

    Args:
        out: The folder.
        cut: `data` before a file of data is written, `marker` before a marker is, `complete` after
            one, before the coordinate is set.
        at: How many of these come before.
    """
    import torch

    torch.set_num_threads(1)
    if cut:
        owner, name = {
            "data": (DigestingStore, "set"),
            "marker": (Folder, "write"),
            "complete": (Store, "set_complete"),
        }[cut]
        _kill_in(owner, name, cut, at)
    recorded(out)


def _kill_in(owner: Any, name: str, cut: str, at: int) -> None:
    """Replace a method by one that kills this process at its `at`-th call of the kind."""
    original, calls = getattr(owner, name), itertools.count()

    def method(self: Any, first: Any, *rest: Any, **named: Any) -> Any:
        is_kind = {
            "data": lambda: "/c." in first and not first.startswith("complete"),
            "marker": lambda: first.startswith("done/"),
            "complete": lambda: True,
        }[cut]()
        if is_kind and next(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, first, *rest, **named)

    setattr(owner, name, method)
