"""The result of a search: prompts, how they compare with random ones, and which words matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.io.reading import path_inside, read_table
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json
from clerestory.io.writing import atomic_file
from clerestory.reporting.results import Provenance, Result
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MaximizationResult", "MaximizedPrompt", "NullScores"]

FILE, TRAIL, SAMPLES = "maximization.json", "trail.parquet", "samples.parquet"
NULL, PICTURES = "null.parquet", "pictures.npz"
POINTS = 120
"""Points of a plotted curve, evenly spaced in the logarithm of evaluations."""


@dataclass(frozen=True, eq=False)
class NullScores:
    """Scores of random prompts of the same space, `[prompt]`."""

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
        """Standard deviations above their mean; 0 where they are all equal.

        Args:
            score: A score of the same objective.

        Returns:
            Standard deviations, with the sample's (n - 1) estimate.
        """
        return (score - self.mean) / self.sd if self.sd > 0 else 0.0

    def percentile(self, score: float) -> float:
        """The share that is lower, in percent: 100 means that none of them reached the score.

        Args:
            score: A score of the same objective.

        Returns:
            0 to 100; equal scores do not count as lower.
        """
        return 100 * float((self.scores < score).mean())

    def to_dict(self) -> dict[str, Any]:
        """Their summary, ready for JSON."""
        best = float(self.scores.max())
        return {"mean": self.mean, "sd": self.sd, "prompts": len(self.scores), "best": best}


@dataclass(frozen=True)
class MaximizedPrompt:
    """One prompt that a search found.

    Attributes:
        prompt: The whole prompt.
        words: What was put into the template.
        score: The objective, without fluency.
        z: Standard deviations above the mean of random prompts.
        percentile: The share of random prompts that score lower, in percent.
        fluency: Mean log probability of a word, in nats; 0 where it was not measured.
        chains: How many independent chains accepted it.
        contributions: By how much the score falls without each word; empty for a single one.
    """

    prompt: str
    words: str
    score: float
    z: float
    percentile: float
    fluency: float
    chains: int
    contributions: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Saved:
    """What `maximization.json` holds."""

    objective: str
    search: str
    evaluations: int
    budget: int
    stopped: bool
    best: tuple[MaximizedPrompt, ...]
    front: tuple[MaximizedPrompt, ...]
    null: dict[str, float]
    diagnostics: dict[str, float | list[float]]
    provenance: Provenance


@dataclass(frozen=True, eq=False, repr=False)
class MaximizationResult(Result):
    """What a search found.

    Attributes:
        objective: What was maximized.
        search: The class of the search.
        evaluations: Evaluations that were spent: one a prompt, two a gradient.
        budget: Evaluations that there were.
        stopped: Whether it was interrupted.
        best: Different prompts, the highest score first: no two share all words but one.
        front: Prompts that no other exceeds in score and fluency both, where fluency counts.
        null: Scores of random prompts.
        trail: Every scored prompt once, in order: words, prompt, score, fluency, evaluations,
            chain.
        samples: Where chains were after burn-in, for searches that have such: chain, draw, words,
            score.
        diagnostics: What the search reports of itself, such as R̂.
        provenance: Which model, with which options.
        pictures: Of `best`, `[prompt, seed, height, width, 3]`; None where none were drawn.
    """

    objective: str
    search: str
    evaluations: int
    budget: int
    stopped: bool
    best: tuple[MaximizedPrompt, ...]
    front: tuple[MaximizedPrompt, ...]
    null: NullScores
    trail: pd.DataFrame
    samples: pd.DataFrame
    diagnostics: Mapping[str, Any]
    provenance: Provenance
    pictures: Pictures | None = None

    def summary(self) -> str:
        """The best prompt, its z, and what it is compared with."""
        best = self.best[0]
        return (
            f"“{best.prompt}” scores {best.score:.3f} on {self.objective}, z {best.z:.1f}; "
            f"{self.search}, {self.evaluations:,} evaluations; {len(self.null.scores)} random "
            f"prompts {self.null.mean:.3f} ± {self.null.sd:.3f}, the best of them "
            f"{self.null.scores.max():.3f}"
        )

    def table(self) -> pd.DataFrame:
        """A row for each of the best prompts."""
        import pandas as pd

        rows = [
            {
                "score": round(found.score, 3),
                "z": round(found.z, 1),
                "above random": f"{found.percentile:.1f}%",
                "chains": found.chains,
                "prompt": found.prompt,
                "contributions": ", ".join(f"{w} {c:+.2f}" for w, c in found.contributions),
            }
            for found in self.best
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The best score so far against evaluations, beside a histogram of random prompts."""
        import altair as alt
        import pandas as pd

        best = self.best_so_far()
        shown = np.unique(np.geomspace(1, len(best), POINTS).astype(int)) - 1
        curve = pd.DataFrame({"evaluations": shown + 1, "score": best[shown]})
        # Before the first valid prompt the best score is -inf, which has no place on an axis.
        curve = curve[np.isfinite(curve["score"])]
        every = np.concatenate([curve["score"].to_numpy(), self.null.scores])
        scale = alt.Scale(domain=[float(every.min()), float(every.max())])
        line = (
            alt.Chart(curve, title="Best score so far; random prompts at the right")
            .mark_line(interpolate="step-after", color="#234f8c")
            .encode(
                x=alt.X("evaluations:Q", scale=alt.Scale(type="log")),
                y=alt.Y("score:Q", scale=scale),
            )
            .properties(width=420, height=220)
        )
        random = (
            alt.Chart(pd.DataFrame({"score": self.null.scores}))
            .mark_bar(color="#b9b3a4")
            .encode(
                y=alt.Y("score:Q", bin=alt.Bin(maxbins=40), scale=scale, title=None),
                x=alt.X("count()", title="random prompts"),
            )
            .properties(width=120, height=220)
        )
        return line | random

    def best_so_far(self) -> NDArray[np.float64]:
        """The best score after each evaluation, `[evaluation]`; gradients leave it as it was."""
        best = np.full(max(self.evaluations, 1), -np.inf)
        if len(self.trail):
            # Evaluations that went to gradients have no row: they stay -inf and take the maximum
            # before them.
            best[self.trail["evaluations"].to_numpy() - 1] = self.trail["score"].to_numpy()
        return np.maximum.accumulate(best)

    def to_dict(self) -> dict[str, Any]:
        """Every figure but trail and samples, ready for JSON."""
        return {
            "objective": self.objective,
            "search": self.search,
            "evaluations": self.evaluations,
            "budget": self.budget,
            "stopped": self.stopped,
            "best": [asdict(found) for found in self.best],
            "front": [asdict(found) for found in self.front],
            "null": self.null.to_dict(),
            "diagnostics": dict(self.diagnostics),
            "provenance": asdict(self.provenance),
        }

    def save(self, folder: Path) -> None:
        """Write the result next to its trail.

        Args:
            folder: A folder, perhaps with the trail of this search; created if missing.
        """
        self.write(folder)

    def write(self, folder: Path) -> None:
        """Write the files of `save` over any that are there.

        Args:
            folder: The folder; created if missing.
        """
        import pandas as pd

        folder.mkdir(parents=True, exist_ok=True)
        self.trail.to_parquet(folder / TRAIL, index=False)
        pd.DataFrame({"score": self.null.scores}).to_parquet(folder / NULL, index=False)
        if len(self.samples):
            self.samples.to_parquet(folder / SAMPLES, index=False)
        if self.pictures is not None:
            np.savez_compressed(folder / PICTURES, pictures=self.pictures)
        # Last, since a folder that has it holds a finished search.
        with atomic_file(folder / FILE) as path:
            path.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Args:
            folder: The folder of a finished search.

        Returns:
            The result; pictures where some were saved.

        Raises:
            SearchError: The folder has no finished search, or a file was altered.
        """
        import pandas as pd

        if not (folder / FILE).exists():
            raise SearchError(f"{folder} has no finished search: it has no {FILE}.")
        saved = load_json(_Saved, folder, FILE, SearchError)
        null = read_table(path_inside(folder, NULL, SearchError), SearchError)
        scores = null.get("score")
        if scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{folder / NULL} was altered: expected the column score.")
        samples = pd.DataFrame(columns=["chain", "draw", "words", "score"])
        if (folder / SAMPLES).exists():
            samples = read_table(path_inside(folder, SAMPLES, SearchError), SearchError)
        pictures = None
        if (folder / PICTURES).exists():
            pictures = read_arrays(folder / PICTURES, SearchError).get("pictures")
        return cls(
            **{
                **vars(saved),
                "null": NullScores(scores.to_numpy()),
                "trail": read_table(path_inside(folder, TRAIL, SearchError), SearchError),
                "samples": samples,
                "pictures": pictures,
            }
        )
