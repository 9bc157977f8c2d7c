"""The page of a name: the verdict, where it lies among its controls, and pictures side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.recognition.cache import NAMES
from clerestory.recognition.results import Familiarity
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address, grid, save, slug
from clerestory.reporting.plots import svg

__all__ = ["chart", "folder_of", "keep", "sheet"]

Pictures = NDArray[np.uint8]


def keep(found: Familiarity, folder: Path) -> Path:
    """Write `familiarity.json`, `familiarity.html` and `sheet.png` into the phrase's own folder.

    Gives the page's path; what an earlier call wrote of the same phrase is replaced.
    """
    own = folder_of(folder, found.phrase)
    own.mkdir(parents=True, exist_ok=True)
    found.save(own)
    save(sheet(found), own / "sheet.png")
    path = own / "familiarity.html"
    path.write_text(page(found), encoding="utf-8")
    return path


def folder_of(folder: Path, phrase: str) -> Path:
    """Where the results of a phrase lie: by its name, with a mark where that says less than it."""
    import hashlib

    name = slug(phrase)
    if name.replace("-", " ") != phrase or name == NAMES:
        raw = phrase.encode(errors="surrogatepass")
        name += "-" + hashlib.blake2b(raw, digest_size=3).hexdigest()
    return folder / name


def page(found: Familiarity) -> str:
    """One HTML file that needs nothing else; whatever comes from outside is escaped."""
    rows = [
        {
            "context": context,
            "of": one,
            "pictures": [(seen.name, data_address(_picture(seen, at))) for seen in _shown(found)],
        }
        for at, (context, one) in enumerate(found.contexts.items())
    ]
    template = environment("clerestory.recognition").get_template("familiarity.html")
    return template.render(
        found=found, rows=rows, plot=svg(chart(found)), controls=found.controls.told()
    )


def sheet(found: Familiarity) -> Pictures:
    """A row for each context: the phrase first, then controls."""
    shown = _shown(found)
    tiles = [_picture(seen, at) for at in range(len(found.contexts)) for seen in shown]
    return grid(tiles, columns=len(shown))


def chart(found: Familiarity) -> Any:
    """An Altair chart: distance and consistency of every control, and of the phrase."""
    import altair as alt
    import pandas as pd

    beside = found.controls
    table = pd.DataFrame(
        {
            "distance": [*beside.distances, found.distance],
            "consistency": [*beside.consistencies, found.consistency],
            "name": [*beside.names, found.phrase],
            "which": ["made-up names"] * len(beside.names) + ["the phrase"],
        }
    )
    lone = bool(table["consistency"].isna().all())
    colours = alt.Scale(domain=["made-up names", "the phrase"], range=["#b9b3a4", "#234f8c"])
    return (
        alt.Chart(table)
        .mark_circle(opacity=0.85)
        .encode(
            x=alt.X("distance:Q", title="distance (the median control's is 1)"),
            y=alt.value(60) if lone else alt.Y("consistency:Q", title="consistency"),
            color=alt.Color("which:N", scale=colours, title=None),
            size=alt.condition("datum.which == 'the phrase'", alt.value(140), alt.value(40)),
            tooltip=["name:N"],
        )
        .properties(width=460, height=120 if lone else 220)
    )


def _shown(found: Familiarity) -> list[Any]:
    return [found.seen, *found.shown]


def _picture(seen: Any, at: int) -> Pictures:
    assert seen.pictures is not None
    picture: Pictures = seen.pictures[at]
    return picture
