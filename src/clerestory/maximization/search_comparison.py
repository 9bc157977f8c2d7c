"""Comparison of several searches at equal budgets, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.checks import check_minimum
from clerestory.errors import SearchError
from clerestory.evaluation.objectives import Objective
from clerestory.io.tensor_files import read_arrays
from clerestory.io.validation import load_json
from clerestory.maximization.base import searches as search_registry
from clerestory.maximization.maximize import maximize_to_end
from clerestory.maximization.pool import SCALE_PROMPTS
from clerestory.maximization.results import log_spaced
from clerestory.maximization.scoring import Announce, Forecast
from clerestory.models import Model
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.plots import png
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SearchComparison", "compare_searches"]

FILE, CURVES, CHART = "searches.json", "curves.npz", "searches.png"
POINTS = 80
"""Points of a plotted curve."""


@dataclass(frozen=True)
class _Final:
    """The final scores of a search over seeds: median, lowest, highest."""

    median: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class _Saved:
    """The fields of `searches.json`."""

    objective: str
    budget: int
    searches: dict[str, _Final]
    provenance: Provenance


@dataclass(frozen=True, eq=False, repr=False)
class SearchComparison(Result):
    """The scores that several searches reach.

    Attributes:
        objective: The name of the objective.
        budget: Evaluations of each run.
        curves: The best score so far of each search, `[seed, evaluation]`.
        provenance: The model and the options.
    """

    figures_file = FILE
    objective: str
    budget: int
    curves: dict[str, NDArray[np.float64]]
    provenance: Provenance

    def summary(self) -> str:
        """The search with the highest median."""
        finals = self._finals()
        best = max(finals, key=lambda name: finals[name].median)
        final = finals[best]
        return (
            f"{best} reaches {format_interval(final.median, final.low, final.high, '.3f')} on "
            f"{self.objective}, the highest median of {len(finals)} searches; {self.budget:,} "
            f"evaluations, {final.seeds} seeds"
        )

    def table(self) -> pd.DataFrame:
        """A row for each search: median, lowest and highest final score over seeds."""
        import pandas as pd

        rows = {name: asdict(final) for name, final in self._finals().items()}
        table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("search").reset_index()
        return table.round(3)

    def plot(self) -> Any:
        """The median over seeds, with the range, against evaluations."""
        import altair as alt
        import pandas as pd

        parts = []
        for name, curve in self.curves.items():
            indices = log_spaced(curve.shape[1], POINTS)
            # -inf before the first valid prompt: a gap in the line.
            part = np.where(np.isfinite(curve[:, indices]), curve[:, indices], np.nan)
            columns = {"low": part.min(0), "median": np.median(part, 0), "high": part.max(0)}
            parts.append(pd.DataFrame({"search": name, "evaluations": indices + 1, **columns}))
        base = alt.Chart(pd.concat(parts), title=f"{self.objective}: best score so far").encode(
            x=alt.X("evaluations:Q", scale=alt.Scale(type="log"), title="evaluations"),
            color=alt.Color("search:N"),
        )
        band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
        line = base.mark_line().encode(y=alt.Y("median:Q", title="score"))
        return (band + line).properties(width=460, height=260)

    def to_dict(self) -> dict[str, Any]:
        """Every figure except the curves, ready for JSON."""
        saved = _Saved(self.objective, self.budget, self._finals(), self.provenance)
        return asdict(saved)

    @override
    def write(self, folder: Path) -> None:
        """Write `searches.json`, `curves.npz` and `searches.png`."""
        super().write(folder)
        arrays: dict[str, Any] = dict(self.curves)
        np.savez_compressed(folder / CURVES, **arrays)
        (folder / CHART).write_bytes(png(self.plot()))

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        saved = load_json(_Saved, folder, FILE, SearchError)
        curves = read_arrays(folder / CURVES, SearchError)
        if set(curves) != set(saved.searches):
            raise SearchError(f"{folder / CURVES} has the curves of other searches than {FILE}.")
        return cls(saved.objective, saved.budget, curves, saved.provenance)

    def _finals(self) -> dict[str, _Final]:
        finals = {name: curve[:, -1] for name, curve in self.curves.items()}
        return {
            name: _Final(float(np.median(last)), float(last.min()), float(last.max()), len(last))
            for name, last in finals.items()
        }


def compare_searches(
    model: Model,
    objective: Objective | str,
    searches: Sequence[str],
    *,
    budget: int,
    repeats: int = 5,
    seed: int = 0,
    announce: Announce | None = None,
    progress: ProgressOption = True,
    **options: Any,
) -> SearchComparison:
    """Run several searches at equal budgets.

    Args:
        model: The model.
        objective: As for `maximize`.
        searches: Names of two searches or more.
        budget: Evaluations of each run.
        repeats: Runs of each search.
        seed: The seed of the first run of each search; the next runs have the seeds that follow.
        announce: Called with a forecast of all runs together before the first starts.
        progress: True for a progress bar, or a callback.
        **options: Further arguments of `maximize`.

    Raises:
        SearchError: There are fewer than two searches, or no run.
        RegistryError: A search is not known.
    """
    names = list(dict.fromkeys(searches))
    # Looked up now: a misspelt name is an error before the first search has taken minutes.
    for name in names:
        search_registry[name]
    if len(names) < 2:
        raise SearchError(
            f"Name two searches or more to compare; given: {', '.join(names) or 'none'}."
        )
    check_minimum(SearchError, 1, repeats=repeats)
    # Curves are compared with each other: the pool only scales the temperatures.
    if options.get("random_prompts") is None:
        options["random_prompts"] = SCALE_PROMPTS
    # The same seeds for every search.
    runs = list(product(names, range(seed, seed + repeats)))
    announce_once = None if announce is None else _first_of(announce, len(runs))
    curves: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    with progress_bars(progress) as report:
        for completed, (name, run_seed) in enumerate(runs, 1):
            result = maximize_to_end(
                model,
                objective,
                search=name,
                budget=budget,
                seed=run_seed,
                pictures=False,
                announce=announce_once,
                **options,
            )
            curves[name].append(_extended(result.best_so_far(), budget))
            report("comparing searches", completed, len(runs))
    stacked = {name: np.array(rows) for name, rows in curves.items()}
    provenance = replace(
        result.provenance,
        options={**result.provenance.options, "search": names, "seed": seed, "repeats": repeats},
    )
    return SearchComparison(result.objective, budget, stacked, provenance)


def _first_of(announce: Announce, runs: int) -> Announce:
    """A callback that announces the first forecast it gets, for all runs together."""
    forecasts: list[Forecast] = []

    def announce_first(forecast: Forecast) -> None:
        forecasts.append(forecast)
        if len(forecasts) == 1:
            announce(replace(forecast, prompts=runs * forecast.prompts))

    return announce_first


def _extended(best: NDArray[np.float64], budget: int) -> NDArray[np.float64]:
    """The curve, continued to the whole budget at its last value."""
    # A search may end early, with a known optimum or a converged chain.
    return np.concatenate([best, np.full(budget - len(best), best[-1])])
