"""The trail of a search on disk: the score of every prompt, so that a stopped search resumes.

    FOLDER/search.json       the options of the search
    FOLDER/scored.parquet    prompt, score
    FOLDER/fresh.parquet     the same on fresh seeds, if the objective depends on seeds

The seed replays a search. Saved scores are not computed again, so a second call soon reaches the
point at which the first was stopped, and continues from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import SearchError
from clerestory.io.parquet import write_parquet
from clerestory.io.reading import path_inside, read_table
from clerestory.io.writing import atomic_file, open_planned_folder

__all__ = ["FRESH", "SCORED", "Trail"]

PLAN, SCORED, FRESH = "search.json", "scored.parquet", "fresh.parquet"
INTERVAL = 15.0
"""Seconds between two writes while a search runs."""


class Trail:
    """The scores of a search in a folder.

    Args:
        folder: The folder; None writes nothing.
        plan: All options on which the scores depend, ready for JSON.

    Raises:
        SearchError: The folder has the trail of another search; the message has the differences.
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        # A monotonic clock: the system's may be set back.
        self.folder, self._last_write = folder, time.monotonic()
        if folder is not None:
            open_planned_folder(
                folder, PLAN, plan, other="another search's trail", error=SearchError
            )

    def load(self, name: str = SCORED) -> dict[str, float]:
        """The scores of an earlier call.

        Args:
            name: The file.

        Returns:
            Scores by prompt.

        Raises:
            SearchError: The file is damaged or was altered.
        """
        if self.folder is None or not (self.folder / name).exists():
            return {}
        path = path_inside(self.folder, name, SearchError)
        table = read_table(path, SearchError)
        prompts, scores = table.get("prompt"), table.get("score")
        if prompts is None or scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{path} was altered: expected the columns prompt and score.")
        if not all(isinstance(prompt, str) for prompt in prompts) or not np.isfinite(scores).all():
            raise SearchError(f"{path} is damaged: a prompt is not text, or a score not a number.")
        return dict(zip(prompts, scores, strict=True))

    def save(
        self, scores: Mapping[str, float], name: str = SCORED, *, at_once: bool = True
    ) -> None:
        """Replace the scores on disk, atomically.

        Args:
            scores: Every score so far, by prompt.
            name: The file.
            at_once: False writes only if the last write was `INTERVAL` seconds ago or more.
        """
        import pandas as pd

        if self.folder is None:
            return
        if not at_once and time.monotonic() - self._last_write < INTERVAL:
            return
        self._last_write = time.monotonic()
        table = pd.DataFrame({"prompt": list(scores), "score": list(scores.values())})
        with atomic_file(self.folder / name) as part:
            write_parquet(table, part, index=False)
