"""A search's trail on disk: every prompt that was scored, so that a killed search goes on.

FOLDER/search.json       what the trail is of
FOLDER/scored.parquet    prompt, score

A search is replayed by its seed. What was scored before is not scored again, so a second call comes
to where the first was stopped, and goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import SearchError
from clerestory.io.outputs import planned_folder
from clerestory.io.reading import inside, read_table

__all__ = ["Trail"]

PLAN, SCORED = "search.json", "scored.parquet"


class Trail:
    """The scores of a search in a folder; nothing is kept where that is None.

    SearchError where the folder has the trail of another search, with the differences.
    """

    def __init__(self, folder: Path | None, plan: Mapping[str, Any]) -> None:
        self.folder, self._kept = folder, time.monotonic()
        if folder is None:
            return
        planned_folder(folder, PLAN, plan, other="another search's trail", error=SearchError)

    def known(self) -> dict[str, float]:
        """What was scored before."""
        if self.folder is None or not (self.folder / SCORED).exists():
            return {}
        path = inside(self.folder, SCORED, SearchError)
        table = read_table(path, SearchError)
        texts, scores = table.get("prompt"), table.get("score")
        if texts is None or scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{path} was altered: expected the columns prompt and score.")
        if not all(isinstance(text, str) for text in texts) or not np.isfinite(scores).all():
            raise SearchError(f"{path} was altered: a prompt is no text, or a score no number.")
        return dict(zip(texts, scores, strict=True))

    def keep(self, known: Mapping[str, float], *, every: float = 0.0) -> None:
        """Put the scores in the place of those before, whole or not at all.

        Not more often than `every` so many seconds.
        """
        import pandas as pd

        if self.folder is None or time.monotonic() - self._kept < every:
            return
        self._kept = time.monotonic()
        table = pd.DataFrame({"prompt": list(known), "score": list(known.values())})
        beside = self.folder / f"{SCORED}.part"
        table.to_parquet(beside, index=False)
        beside.replace(self.folder / SCORED)
