"""The result of a search: the best prompts, a pool of random ones, and the effect of each word."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.errors import SearchError
from clerestory.io.digests import seal
from clerestory.io.parquet import write_parquet
from clerestory.io.reading import path_inside, read_table
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json
from clerestory.io.writing import atomic_file, check_links
from clerestory.reporting.results import Provenance, Result
from clerestory.stats import benjamini_hochberg
from clerestory.stats.baselines import random_search_p
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MaximizationResult",
    "MaximizedPrompt",
    "PoolScores",
    "SearchStatus",
    "adjust_for_units",
    "check_finished",
    "log_spaced",
]

FILE, TRAIL, SAMPLES = "maximization.json", "trail.parquet", "samples.parquet"
POOL, PICTURES = "pool.parquet", "pictures.npz"
SAMPLE_COLUMNS = ["chain", "draw", "words", "score"]
ALPHA = 0.05
"""A prompt is found at this q."""
MIN_POOL_RATIO = 20
"""Random prompts for each evaluation of the search; with fewer, p cannot be below .05."""
BINS = 40
"""Bars of the histogram of random prompts."""
POINTS = 120
"""Points of a plotted curve, evenly spaced in the logarithm of evaluations."""


SearchStatus: TypeAlias = Literal["found", "not found", "undecided"]
"""Whether a search exceeds a random search of the same budget, or the pool is too small to tell."""


@dataclass(frozen=True)
class _PoolSummary:
    """The pool in `maximization.json`."""

    prompts: int
    mean: float
    sd: float
    best: float
    complete: bool


@dataclass(frozen=True, eq=False)
class PoolScores:
    """Scores of a pool of random prompts of the same space.

    Attributes:
        scores: `[prompt]`, of different prompts; averaged over fresh seeds, which the search has
            not used, if the objective depends on seeds.
        complete: Whether these are all prompts of the space.
    """

    scores: NDArray[np.float64] = field(repr=False)
    complete: bool = False

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
        # Strictly lower: a prompt that only equals random ones is not above them.
        return 100 * float((self.scores < score).mean())

    def p(self, best: float, evaluations: int) -> float:
        """How likely a random search with as many evaluations does as well.

        Args:
            best: The score of the best prompt of a search, on the seeds of the pool.
            evaluations: Evaluations of the search.

        Returns:
            The p-value; see `random_search_p`.
        """
        return random_search_p(best, self.scores, evaluations, complete=self.complete)

    def suffices(self, evaluations: int) -> bool:
        """Whether p can be significant: 20 prompts for each evaluation, or the whole space.

        Args:
            evaluations: Evaluations of the search.

        Returns:
            False where a result is undecided, whatever the search has found.
        """
        # The whole space leaves nothing to chance, however small it is.
        return self.complete or len(self.scores) >= MIN_POOL_RATIO * evaluations

    def summary(self) -> _PoolSummary:
        """Their summary, ready for JSON."""
        best = float(self.scores.max())
        return _PoolSummary(len(self.scores), self.mean, self.sd, best, self.complete)


@dataclass(frozen=True)
class MaximizedPrompt:
    """One of the best prompts of a search.

    Attributes:
        prompt: The whole prompt.
        words: The words in the template.
        score: The objective in the search, without fluency.
        fresh_score: The objective on fresh seeds, those of the pool; `score` if seeds do not
            matter. The best of many scores is high partly by luck of its seeds, a fresh one is not.
        z: Standard deviations of `fresh_score` above the mean of random prompts.
        percentile: The share of random prompts that score lower than `fresh_score`, in percent.
        fluency: Mean log probability of a word, in nats; 0 if it is not measured.
        chains: Number of independent chains that accepted it.
        contributions: Each word with the decrease of the score without it; empty for one word.
    """

    prompt: str
    words: str
    score: float
    fresh_score: float
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
    status: SearchStatus
    p: float
    q: float
    units: int
    best: tuple[MaximizedPrompt, ...]
    front: tuple[MaximizedPrompt, ...]


@dataclass(frozen=True)
class _Saved(_Figures):
    """The fields of `maximization.json`."""

    pool: _PoolSummary
    diagnostics: dict[str, float | list[float]]
    provenance: Provenance
    files: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class MaximizationResult(_Figures, Result):
    """The best prompts of a search, with its trail.

    Attributes:
        objective: The name of the objective.
        search: The class of the search.
        evaluations: Evaluations that were spent: one a prompt, two a gradient.
        budget: The maximum number of evaluations.
        stopped: Whether the search was interrupted.
        status: `found` where q ≤ .05, else `not found`; `undecided` where the pool is smaller than
            20 prompts for each evaluation, so that no search could be found to exceed it.
        p: How likely a random search with as many evaluations reaches the score of the first of
            `best`, both on fresh seeds.
        q: p after Benjamini–Hochberg over the units that were searched together.
        units: Number of these units.
        best: Different prompts, the highest score first: any two differ in two words or more.
        front: The Pareto front of score and fluency, if fluency counts.
        pool: Scores of random prompts.
        trail: Every scored prompt once, in order: words, prompt, score, fluency, evaluations,
            chain.
        samples: Draws of chains after burn-in, if the search has chains: chain, draw, words, score.
        diagnostics: Figures about the search itself, such as R̂.
        provenance: The model and the options.
        pictures: Pictures of `best`, `[prompt, seed, height, width, 3]`; None if none were drawn.
    """

    pool: PoolScores
    trail: pd.DataFrame
    samples: pd.DataFrame
    diagnostics: Mapping[str, Any]
    provenance: Provenance
    pictures: Pictures | None = None

    def summary(self) -> str:
        """The best prompt, its z, the status with its reason, and the scores of random prompts."""
        best, pool = self.best[0], self.pool
        fresh = (
            "" if best.fresh_score == best.score else f" ({best.fresh_score:.3f} on fresh seeds)"
        )
        prompts = "all" if pool.complete else "random"
        return (
            f"“{best.prompt}” scores {best.score:.3f}{fresh} on {self.objective}, z {best.z:.1f}; "
            f"{self.search}, {self.evaluations:,} evaluations. {self.status_text} "
            f"{len(pool.scores):,} {prompts} prompts: {pool.mean:.3f} ± {pool.sd:.3f}, the best of "
            f"them {pool.scores.max():.3f}."
        )

    @property
    def status_text(self) -> str:
        """The status for a reader, with its reason: a sentence or two."""
        figures = f"p {self.p:.2g}"
        if self.units > 1:
            figures += f", q {self.q:.2g} over {self.units} units"
        if self.status == "found":
            return f"Found: it exceeds a random search of the same budget ({figures})."
        if self.status == "not found":
            return (
                "Not found: it is not shown to exceed a random search of the same budget "
                f"({figures})."
            )
        needed = MIN_POOL_RATIO * self.evaluations
        return (
            f"Undecided: a comparison with a random search of the same budget needs {needed:,} "
            f"random prompts, there are {len(self.pool.scores):,}."
        )

    def with_pool(self, pool: PoolScores) -> Self:
        """The result beside another pool of the same space and seeds.

        Args:
            pool: The pool.

        Returns:
            The result with the z, percentiles, p and status that follow; q is p.
        """
        # By the score on fresh seeds: the seeds of the search selected the prompt.
        p = pool.p(self.best[0].fresh_score, self.evaluations)
        best, front = (
            tuple(
                replace(
                    each, z=pool.z(each.fresh_score), percentile=pool.percentile(each.fresh_score)
                )
                for each in prompts
            )
            for prompts in (self.best, self.front)
        )
        status = _status(p, pool, self.evaluations)
        return replace(self, pool=pool, best=best, front=front, p=p, q=p, units=1, status=status)

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
        scores = np.concatenate([curve["score"].to_numpy(), self.pool.scores])
        # Both parts share their vertical axis, so that the curve is read against the histogram.
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
        # Counted here, since a chart would carry every score of a pool of thousands.
        counts, edges = np.histogram(self.pool.scores, bins=BINS)
        bars = pd.DataFrame({"score": edges[:-1], "end": edges[1:], "prompts": counts})
        random = (
            alt.Chart(bars)
            .mark_bar(color="#b9b3a4")
            .encode(
                y=alt.Y("score:Q", bin="binned", scale=scale, title=None),
                y2="end:Q",
                x=alt.X("prompts:Q", title="random prompts"),
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
        # Not `asdict` of the result, which would copy pictures and trail.
        figures = {each.name: getattr(self, each.name) for each in fields(_Figures)}
        pool, diagnostics = self.pool.summary(), dict(self.diagnostics)
        return asdict(
            _Saved(
                **figures,
                pool=pool,
                diagnostics=diagnostics,
                provenance=self.provenance,
                files=self._files,
            )
        )

    @property
    def _files(self) -> tuple[str, ...]:
        """The files of tables and pictures beside the figures."""
        samples = (SAMPLES,) if len(self.samples) else ()
        pictures = () if self.pictures is None else (PICTURES,)
        return (TRAIL, POOL, *samples, *pictures)

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

    @override
    def write(self, folder: Path) -> None:
        import pandas as pd

        # It need not be empty.
        check_links(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_parquet(self.trail, folder / TRAIL, index=False)
        write_parquet(pd.DataFrame({"score": self.pool.scores}), folder / POOL, index=False)
        if SAMPLES in self._files:
            write_parquet(self.samples, folder / SAMPLES, index=False)
        # Compressed: pictures of drawings have large areas of one colour.
        if self.pictures is not None:
            np.savez_compressed(folder / PICTURES, pictures=self.pictures)
        # Last, since this file marks a finished search.
        with atomic_file(folder / FILE) as path:
            path.write_text(json.dumps(seal(self.to_dict()), indent=1, allow_nan=False) + "\n")

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        import pandas as pd

        check_finished(folder)
        saved = load_json(_Saved, folder, FILE, SearchError)
        pool = read_table(path_inside(folder, POOL, SearchError), SearchError)
        scores = pool.get("score")
        if scores is None or scores.dtype.kind != "f":
            raise SearchError(f"{folder / POOL} was altered: expected the column score.")
        samples = pd.DataFrame(columns=SAMPLE_COLUMNS)
        # By the list and not by what is there: a file that was deleted is an error.
        if SAMPLES in saved.files:
            samples = read_table(path_inside(folder, SAMPLES, SearchError), SearchError)
        pictures = None
        if PICTURES in saved.files:
            pictures = read_arrays(folder / PICTURES, SearchError).get("pictures")
        return cls(
            **{
                **{name: value for name, value in vars(saved).items() if name != "files"},
                "pool": PoolScores(scores.to_numpy(), saved.pool.complete),
                "trail": read_table(path_inside(folder, TRAIL, SearchError), SearchError),
                "samples": samples,
                "pictures": pictures,
            }
        )


def adjust_for_units(results: Sequence[MaximizationResult]) -> list[MaximizationResult]:
    """Correct the results of several units for their number.

    Args:
        results: A result for each unit that was searched, also of those that found nothing.

    Returns:
        The results with q by Benjamini–Hochberg over all of them, and the status that follows.
    """
    # The status follows q: one unit of many is found by chance.
    q = benjamini_hochberg(np.array([result.p for result in results]))
    return [
        replace(
            result,
            q=float(value),
            units=len(results),
            status=_status(float(value), result.pool, result.evaluations),
        )
        for result, value in zip(results, q, strict=True)
    ]


def _status(q: float, pool: PoolScores, evaluations: int) -> SearchStatus:
    if not pool.suffices(evaluations) or np.isnan(q):
        return "undecided"
    return "found" if q <= ALPHA else "not found"


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
    # Rounding repeats the first indices, which are one apart on this scale.
    return np.asarray(np.unique(np.geomspace(1, length, points).astype(int)) - 1)
