"""A search's trail on disk: every prompt that was scored, so that a stopped search resumes.

FOLDER/search.json       what the trail is of
FOLDER/scored.parquet    prompt, score

A search is replayed by its seed. What was scored before is not scored again, so a second call soon
reaches where the first was stopped, and continues from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import SearchError
from clerestory.io.reading import path_inside, read_table
from clerestory.io.writing import open_planned_folder

__all__ = ["Trail"]

PLAN, SCORED = "search.json", "scored.parquet"
INTERVAL = 15.0
"""Seconds between two writes while a search runs."""


class Trail:
    """The scores of a search in a folder; nothing is written where that is None.

    Args:
        folder: Where the scores are.
        plan: What they depend on, ready for JSON.

    Raises:
        SearchError: The folder has the trail of another search; the message has the differences.
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        self.folder, self._written = folder, time.monotonic()
        if folder is not None:
            open_planned_folder(
                folder, PLAN, plan, other="another search's trail", error=SearchError
            )

    def load(self) -> dict[str, float]:
        """The scores of an earlier call, by prompt; SearchError where the file was altered."""
        if self.folder is None or not (self.folder / SCORED).exists():
            return {}
        path = path_inside(self.folder, SCORED, SearchError)
        table = read_table(path, SearchError)
        prompts, scores = table.get("prompt"), table.get("score")
        if prompts is None or scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{path} was altered: expected the columns prompt and score.")
        if not all(isinstance(prompt, str) for prompt in prompts) or not np.isfinite(scores).all():
            raise SearchError(f"{path} is damaged: a prompt is not text, or a score not a number.")
        return dict(zip(prompts, scores, strict=True))

    def save(self, scores: Mapping[str, float], *, at_once: bool = True) -> None:
        """Replace the scores on disk, atomically.

        Args:
            scores: Every score so far, by prompt.
            at_once: False writes only where the last time is `INTERVAL` seconds ago.
        """
        import pandas as pd

        if self.folder is None:
            return
        if not at_once and time.monotonic() - self._written < INTERVAL:
            return
        self._written = time.monotonic()
        table = pd.DataFrame({"prompt": list(scores), "score": list(scores.values())})
        part = self.folder / f"{SCORED}.part"
        table.to_parquet(part, index=False)
        part.replace(self.folder / SCORED)
