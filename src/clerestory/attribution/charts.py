"""An attribution's charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clerestory.attribution.patching import Patched
from clerestory.attribution.results import Attribution, Split

__all__ = ["network", "paths", "tokens"]

BRINGS, TAKES, QUIET = "#b4532a", "#234f8c", "#8a857a"
SIZE = 220


def network(split: Split) -> Any:
    """Pieces as nodes, interactions as edges: how large, and of which sign."""
    import altair as alt
    import pandas as pd

    count = len(split.shapley)
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    places = {
        one.pieces[0]: (float(np.cos(angle)), float(np.sin(angle)))
        for one, angle in zip(split.shapley, angles, strict=True)
    }
    nodes = pd.DataFrame(
        {
            "x": places[one.pieces[0]][0],
            "y": places[one.pieces[0]][1],
            "piece": one.pieces[0],
            "value": one.value,
            "size": abs(one.value),
            "sign": BRINGS if one.value >= 0 else TAKES,
            "text": f"{one.value:+.2f}",
        }
        for one in split.shapley
    )
    scale = alt.Scale(domain=[-1.9, 1.9])
    axis: dict[str, Any] = {"axis": None, "scale": scale}
    most = max([*(abs(one.value) for one in split.shapley), 1e-12])
    base = alt.Chart(nodes).encode(x=alt.X("x:Q", **axis), y=alt.Y("y:Q", **axis))
    color = alt.Color("sign:N", scale=None)
    circles = base.mark_circle(opacity=0.9).encode(
        color=color,
        size=alt.Size("size:Q", scale=alt.Scale(domain=[0, most], range=[30, 1600]), legend=None),
    )
    names = base.mark_text(dy=-30, fontSize=12).encode(text="piece:N")
    figures = base.mark_text(dy=30, fontSize=12, color=QUIET).encode(text="text:N")
    layers = [circles, names, figures]
    if split.interactions:
        layers.insert(0, _edges(split, places, most, axis))
    return alt.layer(*layers).properties(width=SIZE * 1.35, height=SIZE)


def paths(attribution: Attribution, name: str) -> Any:
    """Along the sites: what each piece brings alone, what all do, and what no piece does alone."""
    import altair as alt
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for place, (site, split) in enumerate(attribution.path[name].items()):
        told = [(one.pieces[0] + " alone", one) for one in split.alone]
        told += [("all together", split.whole), ("beyond the sum", split.together)]
        rows += [
            {"site": site, "place": place, "what": what, "value": one.value, "low": one.low}
            | {"high": one.high}
            for what, one in told
        ]
    table = pd.DataFrame(rows)
    order = list(attribution.path[name])
    base = alt.Chart(table).encode(
        x=alt.X("site:N", sort=order, title=None, axis=alt.Axis(labelAngle=-60, labelLimit=200)),
        color=alt.Color(
            "what:N",
            title=None,
            sort=list(dict.fromkeys(table["what"])),
            legend=alt.Legend(symbolOpacity=1),
        ),
    )
    band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    own = alt.Y("value:Q", title="1 is the finding's own contrast")
    line = base.mark_line(point=True).encode(y=own)
    width = max(14 * len(order), 300)
    return (band + line).properties(width=width, height=240, title=name)


def tokens(own: Sequence[Patched]) -> Any:
    """Tokens by blocks of one encoder: the share of a value lost where a token is neutral there."""
    import altair as alt
    import pandas as pd

    names: Mapping[int, str] = {one.place: one.token for one in own}
    shown = {place: f"{place + 1} {name}" for place, name in names.items()}
    table = pd.DataFrame(
        {
            "block": one.site.split("/")[0],
            "token": shown[one.place],
            "lost": one.lost,
            "text": f"{one.lost:.2f}" if abs(one.lost) >= 0.05 else "",
        }
        for one in own
    )
    blocks = list(dict.fromkeys(table["block"]))
    base = alt.Chart(table).encode(
        x=alt.X(
            "token:N",
            sort=list(shown.values()),
            title=None,
            axis=alt.Axis(labelAngle=-50, labelLimit=180),
        ),
        y=alt.Y("block:N", sort=blocks[::-1], title=None),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "lost:Q",
            scale=alt.Scale(scheme="blueorange", domain=[-1, 1], clamp=True),
            title="share lost",
        )
    )
    words = base.mark_text(fontSize=9).encode(text="text:N")
    return (cells + words).properties(width=30 * len(shown), height=34 * len(blocks))


def _edges(
    split: Split, places: Mapping[str, tuple[float, float]], most: float, axis: dict[str, Any]
) -> Any:
    import altair as alt
    import pandas as pd

    rows = []
    for at, one in enumerate(split.interactions):
        for piece in one.pieces:
            x, y = places[piece]
            sign = BRINGS if one.value >= 0 else TAKES
            rows.append({"edge": at, "x": x, "y": y, "size": abs(one.value), "sign": sign})
    lines = (
        alt.Chart(pd.DataFrame(rows))
        .mark_line(opacity=0.6)
        .encode(
            x=alt.X("x:Q", **axis),
            y=alt.Y("y:Q", **axis),
            detail="edge:N",
            color=alt.Color("sign:N", scale=None),
            strokeWidth=alt.StrokeWidth(
                "size:Q", scale=alt.Scale(domain=[0, most], range=[0.3, 14]), legend=None
            ),
        )
    )
    middles = pd.DataFrame(
        {
            "x": sum(places[piece][0] for piece in one.pieces) / 2,
            "y": sum(places[piece][1] for piece in one.pieces) / 2,
            "text": f"{one.value:+.2f}",
        }
        for one in split.interactions
    )
    figures = (
        alt.Chart(middles)
        .mark_text(fontSize=11, dy=-6)
        .encode(x=alt.X("x:Q", **axis), y=alt.Y("y:Q", **axis), text="text:N")
    )
    return lines + figures
