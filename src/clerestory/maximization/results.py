"""The result of a search: the best prompts, scores of random ones, and the effect of each word."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.errors import SearchError
from clerestory.io.reading import path_inside, read_table
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json
from clerestory.io.writing import atomic_file
from clerestory.reporting.results import Provenance, Result
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MaximizationResult", "MaximizedPrompt", "NullScores", "check_finished", "log_spaced"]

FILE, TRAIL, SAMPLES = "maximization.json", "trail.parquet", "samples.parquet"
NULL, PICTURES = "null.parquet", "pictures.npz"
SAMPLE_COLUMNS = ["chain", "draw", "words", "score"]
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
        """Standard deviations above the mean; 0 if all random prompts score the same.

        Args:
            score: A score of the same objective.

        Returns:
            The z score, by the sample standard deviation (n - 1).
        """
        return (score - self.mean) / self.sd if self.sd > 0 else 0.0

    def percentile(self, score: float) -> float:
        """The share of random prompts with lower scores, in percent.

        Args:
            score: A score of the same objective.

        Returns:
            0 to 100; 100 means that none reaches the score. Equal scores do not count as lower.
        """
        return 100 * float((self.scores < score).mean())

    def to_dict(self) -> dict[str, Any]:
        """Their summary, ready for JSON."""
        best = float(self.scores.max())
        return {"mean": self.mean, "sd": self.sd, "prompts": len(self.scores), "best": best}


@dataclass(frozen=True)
class MaximizedPrompt:
    """One of the best prompts of a search.

    Attributes:
        prompt: The whole prompt.
        words: The words in the template.
        score: The objective, without fluency.
        z: Standard deviations above the mean of random prompts.
        percentile: The share of random prompts that score lower, in percent.
        fluency: Mean log probability of a word, in nats; 0 if it is not measured.
        chains: Number of independent chains that accepted it.
        contributions: Each word with the decrease of the score without it; empty for one word.
    """

    prompt: str
    words: str
    score: float
    z: float
    percentile: float
    fluency: float
    chains: int
    contributions: tuple[tuple[str, float], ...]


# Without `repr` and `eq`, so that a result keeps those of `Result`.
@dataclass(frozen=True, eq=False, repr=False)
class _Figures:
    """Fields that the result and `maximization.json` have in common."""

    objective: str
    search: str
    evaluations: int
    budget: int
    stopped: bool
    best: tuple[MaximizedPrompt, ...]
    front: tuple[MaximizedPrompt, ...]


@dataclass(frozen=True)
class _Saved(_Figures):
    """The fields of `maximization.json`."""

    null: dict[str, float]
    diagnostics: dict[str, float | list[float]]
    provenance: Provenance


@dataclass(frozen=True, eq=False, repr=False)
class MaximizationResult(_Figures, Result):
    """The best prompts of a search, with its trail.

    Attributes:
        objective: The name of the objective.
        search: The class of the search.
        evaluations: Evaluations that were spent: one a prompt, two a gradient.
        budget: The maximum number of evaluations.
        stopped: Whether the search was interrupted.
        best: Different prompts, the highest score first: any two differ in two words or more.
        front: The Pareto front of score and fluency, if fluency counts.
        null: Scores of random prompts.
        trail: Every scored prompt once, in order: words, prompt, score, fluency, evaluations,
            chain.
        samples: Draws of chains after burn-in, if the search has chains: chain, draw, words, score.
        diagnostics: Figures about the search itself, such as R̂.
        provenance: The model and the options.
        pictures: Pictures of `best`, `[prompt, seed, height, width, 3]`; None if none were drawn.
    """

    null: NullScores
    trail: pd.DataFrame
    samples: pd.DataFrame
    diagnostics: Mapping[str, Any]
    provenance: Provenance
    pictures: Pictures | None = None

    def summary(self) -> str:
        """The best prompt, its z, and the scores of random prompts."""
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
                "score": round(best.score, 3),
                "z": round(best.z, 1),
                "above random": f"{best.percentile:.1f}%",
                "chains": best.chains,
                "prompt": best.prompt,
                "contributions": ", ".join(f"{w} {c:+.2f}" for w, c in best.contributions),
            }
            for best in self.best
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """The best score so far against evaluations, beside a histogram of random prompts."""
        import altair as alt
        import pandas as pd

        best = self.best_so_far()
        indices = log_spaced(len(best), POINTS)
        curve = pd.DataFrame({"evaluations": indices + 1, "score": best[indices]})
        # Before the first valid prompt the best score is -inf, which has no place on an axis.
        curve = curve[np.isfinite(curve["score"])]
        scores = np.concatenate([curve["score"].to_numpy(), self.null.scores])
        scale = alt.Scale(domain=[float(scores.min()), float(scores.max())])
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
        """The highest score up to each evaluation, `[evaluation]`; gradients do not change it."""
        best = np.full(max(self.evaluations, 1), -np.inf)
        if len(self.trail):
            # Evaluations of gradients have no row: they stay -inf, and get the maximum before them.
            best[self.trail["evaluations"].to_numpy() - 1] = self.trail["score"].to_numpy()
        return np.maximum.accumulate(best)

    def to_dict(self) -> dict[str, Any]:
        """Every figure except trail and samples, ready for JSON."""
        figures = {each.name: getattr(self, each.name) for each in fields(_Figures)}
        null, diagnostics = self.null.to_dict(), dict(self.diagnostics)
        return asdict(
            _Saved(**figures, null=null, diagnostics=diagnostics, provenance=self.provenance)
        )

    def save(self, folder: str | Path) -> Path:
        """Write the result next to its trail.

        Args:
            folder: A folder, which may hold the trail of this search; created if missing.

        Returns:
            The folder.
        """
        folder = Path(folder)
        self.write(folder)
        return folder

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
        # Last, since this file marks a finished search.
        with atomic_file(folder / FILE) as path:
            path.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n")

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        import pandas as pd

        check_finished(folder)
        saved = load_json(_Saved, folder, FILE, SearchError)
        null = read_table(path_inside(folder, NULL, SearchError), SearchError)
        scores = null.get("score")
        if scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{folder / NULL} was altered: expected the column score.")
        samples = pd.DataFrame(columns=SAMPLE_COLUMNS)
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


def check_finished(folder: Path) -> None:
    """Check that a folder has the result of a search.

    Args:
        folder: The folder.

    Raises:
        SearchError: There is none; the search may not have ended.
    """
    if not (folder / FILE).exists():
        raise SearchError(f"{folder} has no finished search: it has no {FILE}.")


def log_spaced(length: int, points: int) -> NDArray[np.integer]:
    """Indices below `length`, each once, evenly spaced in the logarithm of index + 1.

    Args:
        length: Number of values on the curve.
        points: Maximum number of indices.

    Returns:
        `[index]`, ascending.
    """
    return np.asarray(np.unique(np.geomspace(1, length, points).astype(int)) - 1)
