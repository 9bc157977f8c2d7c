"""What a steered model's card shows: pictures before and after, and the frontier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.reporting.pictures import grid, save
from clerestory.reporting.plots import png
from clerestory.steering.card import BEFORE_AFTER, FRONTIER
from clerestory.steering.frontier import frontier

if TYPE_CHECKING:
    from clerestory.steering.build import Built

__all__ = ["chart", "illustrate"]

COLUMNS = 8


def illustrate(built: Built, folder: Path) -> None:
    """Write `before-after.png` (a row before, a row after) and `frontier.png`."""
    rows = [built.report.outcomes[name].pictures for name in ("unedited", "edited", "words")]
    shown = [picture for one in rows for picture in one[:COLUMNS, 0]]
    save(grid(shown, columns=min(COLUMNS, len(rows[0]))), folder / BEFORE_AFTER)
    (folder / FRONTIER).write_bytes(png(chart(built)))


def chart(built: Built) -> Any:
    """An Altair chart: what was tried, as set a saw it; the frontier, and the point that was taken.

    Points that left the distribution of pictures are hollow.
    """
    import altair as alt
    import pandas as pd

    edge = {id(point) for point in frontier(built.points)}
    table = pd.DataFrame(
        {
            **point.told(),
            "reached": point.goal,
            "edge": id(point) in edge,
            "taken": point is built.pick,
        }
        for point in built.points
    )
    removed = built.steered.calibration.get("remove")
    title = "share of pictures without it" if removed else "concept rate"
    base = alt.Chart(table, title="What was tried; the ringed point was taken").encode(
        x=alt.X("reached:Q", title=title, scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("kept:Q", title="content kept, mean", scale=alt.Scale(zero=False)),
    )
    filled = alt.condition("datum.strange", alt.value(0.25), alt.value(0.9))
    points = base.mark_circle(size=60).encode(color=alt.Color("site:N"), opacity=filled)
    text = base.mark_text(dx=7, dy=-7, fontSize=9, align="left").encode(
        text=alt.Text("strength:Q", format=".1f")
    )
    line = base.transform_filter("datum.edge").mark_line(color="#999", strokeDash=[3, 3])
    ring = base.transform_filter("datum.taken").mark_point(size=260, color="#222", strokeWidth=2)
    return (line + points + text + ring).properties(width=460, height=300)
