"""What a search found: prompts, how far out they are among random ones, and which words did it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MaximizationResult", "MaximizedPrompt", "Null"]

FILE, TRAIL, SAMPLES = "maximization.json", "trail.parquet", "samples.parquet"


@dataclass(frozen=True, eq=False)
class Null:
    """Scores of random prompts of the same space."""

    scores: NDArray[np.float64] = field(repr=False)

    @property
    def mean(self) -> float:
        """Their mean."""
        return float(self.scores.mean())

    @property
    def sd(self) -> float:
        """Their standard deviation."""
        return float(self.scores.std(ddof=1))

    def z(self, score: float) -> float:
        """Standard deviations above their mean; 0 where they are all alike."""
        return (score - self.mean) / self.sd if self.sd > 0 else 0.0

    def percentile(self, score: float) -> float:
        """The share of them that is lower, in percent: 100 means none of them came so high."""
        return 100 * float((self.scores < score).mean())


@dataclass(frozen=True)
class MaximizedPrompt:
    """One prompt: its words, and by how much the score falls without each.

    `chains` is how many independent chains took it, of those that the search has: a proposal that
    was refused is no find. `fluency` is in nats a word, 0 where it was not asked for.
    """

    prompt: str
    words: str
    score: float
    z: float
    percentile: float
    fluency: float
    chains: int
    without: tuple[tuple[str, float], ...]


@dataclass(frozen=True, eq=False)
class MaximizationResult:
    """A search's result.

    `best` are different: no two have all words but one in common. `front` is what no other prompt
    beats in score and fluency both, where fluency was asked for. `trail` has every scored prompt
    once, in order; `samples` are where chains were after burn-in, for searches that have such:
    columns chain, draw, words, score. `about` is what the search says of itself: R̂, effective
    sample size. `pictures` are of the best, `[prompt, seed, height, width, 3]`, None where none
    were drawn.
    """

    objective: str
    search: str
    evaluations: int
    budget: int
    stopped: bool
    best: tuple[MaximizedPrompt, ...]
    front: tuple[MaximizedPrompt, ...]
    null: Null
    trail: pd.DataFrame = field(repr=False)
    samples: pd.DataFrame = field(repr=False)
    about: Mapping[str, Any]
    pictures: NDArray[np.uint8] | None = field(default=None, repr=False)

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "objective": self.objective,
            "search": self.search,
            "evaluations": self.evaluations,
            "budget": self.budget,
            "stopped": self.stopped,
            "best": [asdict(one) for one in self.best],
            "front": [asdict(one) for one in self.front],
            "null": {
                "mean": self.null.mean,
                "sd": self.null.sd,
                "prompts": len(self.null.scores),
                "best": float(self.null.scores.max()),
            },
            "about": dict(self.about),
        }

    def so_far(self) -> NDArray[np.float64]:
        """The best score after each evaluation, `[evaluation]`; gradients leave it as it was."""
        best = np.full(max(self.evaluations, 1), -np.inf)
        if len(self.trail):
            best[self.trail["evaluations"].to_numpy() - 1] = self.trail["score"].to_numpy()
        return np.maximum.accumulate(best)

    def save(self, folder: Path) -> None:
        """Write `maximization.json`, trail and samples beside it; the folder is there already."""
        (folder / FILE).write_text(json.dumps(self.told(), indent=1, allow_nan=False) + "\n")
        self.trail.to_parquet(folder / TRAIL, index=False)
        if len(self.samples):
            self.samples.to_parquet(folder / SAMPLES, index=False)
