"""Several searches at equal numbers of evaluations, over several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import SearchError
from clerestory.evaluation.objectives import Objective
from clerestory.maximization.forecast import Announce, Forecast
from clerestory.maximization.maximize import Progress, maximize, named_search
from clerestory.models import Model

__all__ = ["SearchComparison", "compare_searches"]


@dataclass(frozen=True, eq=False)
class SearchComparison:
    """The best score so far, `[seed, evaluation]`, of each search."""

    objective: str
    budget: int
    curves: dict[str, NDArray[np.float64]] = field(repr=False)

    def told(self) -> dict[str, Any]:
        """The end of each: median over seeds, least and greatest; ready for JSON."""
        ends = {name: curve[:, -1] for name, curve in self.curves.items()}
        return {
            "objective": self.objective,
            "budget": self.budget,
            "compare": {
                name: {
                    "median": float(np.median(end)),
                    "low": float(end.min()),
                    "high": float(end.max()),
                    "seeds": len(end),
                }
                for name, end in ends.items()
            },
        }

    def chart(self) -> Any:
        """An Altair chart: the median, with the range over seeds, against evaluations."""
        import altair as alt
        import pandas as pd

        rows = []
        for name, curve in self.curves.items():
            shown = np.unique(np.geomspace(1, curve.shape[1], 80).astype(int)) - 1
            part = np.where(np.isfinite(curve[:, shown]), curve[:, shown], np.nan)
            columns = {"low": part.min(0), "median": np.median(part, 0), "high": part.max(0)}
            rows.append(pd.DataFrame({"search": name, "evaluations": shown + 1, **columns}))
        base = alt.Chart(pd.concat(rows), title=f"{self.objective}: the best so far").encode(
            x=alt.X("evaluations:Q", scale=alt.Scale(type="log"), title="evaluations"),
            color=alt.Color("search:N"),
        )
        band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
        line = base.mark_line().encode(y=alt.Y("median:Q", title="score"))
        return (band + line).properties(width=460, height=260)


def compare_searches(
    model: Model,
    objective: Objective | str,
    searches: Sequence[str],
    *,
    budget: int,
    repeats: int = 5,
    seed: int = 0,
    announce: Announce | None = None,
    progress: Progress | None = None,
    **how: Any,
) -> SearchComparison:
    """Run each search with `repeats` seeds from `seed` on; `how` is the rest of `maximize`'s.

    `announce` is told what all of it will take.

    SearchError for fewer than two searches.
    """
    names = list(dict.fromkeys(searches))
    if len(names) < 2 or repeats < 1:
        raise SearchError("Name two searches or more to compare, and one seed or more.")
    for name in names:
        named_search(name)
    times = repeats * len(names)
    first = None if announce is None else _once(announce, times)
    curves: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    for done, (name, own) in enumerate(product(names, range(seed, seed + repeats)), 1):
        found = maximize(
            model,
            objective,
            search=name,
            budget=budget,
            seed=own,
            draw=False,
            announce=first,
            **how,
        )
        if found.stopped:
            raise KeyboardInterrupt
        curves[name].append(_whole(found.so_far(), budget))
        if progress is not None:
            progress(done, times)
    stacked = {name: np.array(rows) for name, rows in curves.items()}
    return SearchComparison(found.objective, budget, stacked)


def _once(announce: Announce, times: int) -> Announce:
    """Tell what all the searches take together, when the first is about to begin."""
    heard: list[Forecast] = []

    def tell(forecast: Forecast) -> None:
        heard.append(forecast)
        if len(heard) == 1:
            announce(replace(forecast, prompts=times * forecast.prompts))

    return tell


def _whole(best: NDArray[np.float64], budget: int) -> NDArray[np.float64]:
    """The curve to the end of the budget: what is not spent brings nothing more."""
    return np.concatenate([best, np.full(budget - len(best), best[-1])])
