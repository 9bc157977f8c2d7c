"""A recording of the tiny model, and what is done to it by several tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tiny import tiny_model

from clerestory.recordings import Recording, Store, record

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
        "markers": [store.marker(chunk) for chunk in store.completed_chunks()],
        **arrays,
    }


def record_and_exit(out: str) -> None:
    """What a process that is to be killed does."""
    import torch

    torch.set_num_threads(1)
    recorded(out)
