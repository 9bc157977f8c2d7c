"""Arrays that are computed block by block, and go on where a killed run stopped.

`state.json` says what the arrays are of and how much of them is on disk; `done.json`, written last,
that they are whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from clerestory.errors import TrainingError
from clerestory.io.writing import atomic_file

__all__ = ["BlockFolder", "blocks"]

MemoryMap = np.memmap[Any, np.dtype[Any]]


class BlockFolder:
    """A folder of arrays that are filled in order.

    Attributes:
        finished: Whether the arrays are whole.
        done: How much is on disk, in the unit of `counted`.

    Args:
        folder: The folder; created if missing.
        plan: What the arrays depend on.
        contents: What the folder would hold with another plan, for the message.
        counted: What `done` counts, its name in `state.json`.

    Raises:
        TrainingError: The folder holds arrays of another plan.
    """

    def __init__(
        self, folder: Path, plan: dict[str, Any], contents: str, counted: str = "blocks"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.plan, self.counted = folder, plan, counted
        state = plan
        for record in (folder / "state.json", folder / "done.json"):
            state = json.loads(record.read_text()) if record.exists() else state
        if {key: state.get(key) for key in plan} != plan:
            raise TrainingError(f"{folder} holds {contents}: remove it.")
        self.done = int(state.get(counted, 0))
        self.finished = (folder / "done.json").exists()

    def array(self, name: str, kind: DTypeLike, shape: tuple[int, ...]) -> MemoryMap:
        """An array on disk, with what a killed run has written.

        Args:
            name: The name of its file, without suffix.
            kind: Its type.
            shape: Its shape when it is whole.

        Returns:
            A memory map that can be written to.
        """
        # `w+` makes the whole file at once; `r+` keeps the blocks of a killed run.
        mode = "r+" if self.done else "w+"
        path = self.folder / f"{name}.npy"
        return np.lib.format.open_memmap(path, mode=mode, dtype=kind, shape=shape)

    def save(self, done: int) -> None:
        """Record how much is on disk; the arrays have to be flushed before.

        Args:
            done: In the unit of `counted`.
        """
        self._write("state.json", {**self.plan, self.counted: done})

    def finish(self) -> None:
        """Record that everything is on disk."""
        self._write("done.json", self.plan)

    def _write(self, name: str, content: dict[str, Any]) -> None:
        with atomic_file(self.folder / name) as part:
            part.write_text(json.dumps(content))


def blocks(start: int, count: int, size: int) -> Iterator[slice]:
    """The blocks of rows that are still to be done.

    Args:
        start: The first row.
        count: How many rows there are in all.
        size: Rows of a block.

    Yields:
        Slices in order; the last may be shorter.
    """
    for first in range(start, count, size):
        yield slice(first, min(first + size, count))
