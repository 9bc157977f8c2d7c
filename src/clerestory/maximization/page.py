"""A search's pages: the best prompts with their pictures, the curve, the null distribution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from clerestory.io.outputs import whole_folder
from clerestory.maximization.results import MaximizationResult
from clerestory.maximization.search_comparison import SearchComparison
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.reporting.plots import png, svg

__all__ = ["curve", "keep", "keep_compared"]


def keep(found: MaximizationResult, folder: Path) -> Path:
    """Write figures, trail, plot and `gallery.html`; the gallery's path."""
    found.save(folder)
    plot = curve(found)
    (folder / "curve.png").write_bytes(png(plot))
    drawn: Any = found.pictures if found.pictures is not None else [[] for _ in found.best]
    rows = [
        {"of": one, "pictures": [data_address(picture) for picture in pictures]}
        for one, pictures in zip(found.best, drawn, strict=True)
    ]
    template = environment("clerestory.maximization").get_template("gallery.html")
    page = template.render(found=found, rows=rows, plot=svg(plot))
    path = folder / "gallery.html"
    path.write_text(page, encoding="utf-8")
    return path


def keep_compared(found: SearchComparison, folder: Path) -> Path:
    """Write `compared.json` and `compared.png`, whose path it gives, into a new folder."""
    import json

    with whole_folder(folder) as part:
        (part / "compared.json").write_text(json.dumps(found.told(), indent=1) + "\n")
        (part / "compared.png").write_bytes(png(found.chart()))
    return folder / "compared.png"


def curve(found: MaximizationResult) -> Any:
    """An Altair chart: the best so far against evaluations, random prompts beside it."""
    import altair as alt
    import pandas as pd

    best = found.so_far()
    shown = np.unique(np.geomspace(1, len(best), 120).astype(int)) - 1
    table = pd.DataFrame({"evaluations": shown + 1, "score": best[shown]})
    table = table[np.isfinite(table["score"])]
    both = np.concatenate([table["score"].to_numpy(), found.null.scores])
    scale = alt.Scale(domain=[float(both.min()), float(both.max())])
    line = (
        alt.Chart(table, title="The best so far; random prompts at the right")
        .mark_line(interpolate="step-after", color="#234f8c")
        .encode(
            x=alt.X("evaluations:Q", scale=alt.Scale(type="log")), y=alt.Y("score:Q", scale=scale)
        )
        .properties(width=420, height=220)
    )
    random = (
        alt.Chart(pd.DataFrame({"score": found.null.scores}))
        .mark_bar(color="#b9b3a4")
        .encode(
            y=alt.Y("score:Q", bin=alt.Bin(maxbins=40), scale=scale, title=None),
            x=alt.X("count()", title="random prompts"),
        )
        .properties(width=120, height=220)
    )
    return line | random
