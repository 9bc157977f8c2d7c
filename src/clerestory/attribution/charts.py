"""Charts of an attribution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clerestory.attribution.results import Attribution, Estimate, PatchEffect, Split

__all__ = ["network", "paths", "tokens"]

POSITIVE, NEGATIVE, QUIET = "#b4532a", "#234f8c", "#8a857a"
SIZE = 220
AXIS_LIMIT = 1.9
"""Half the width of a network in radii of its circle, which leaves room for the pieces' words."""


def network(split: Split) -> Any:
    """Pieces as circles and interactions as lines, by size and sign.

    Args:
        split: One target's split.

    Returns:
        An Altair chart.
    """
    import altair as alt
    import pandas as pd

    count = len(split.shapley)
    # From the top, clockwise.
    angles = np.pi / 2 - 2 * np.pi * np.arange(count) / count
    # Positions are computed here: Altair has no layout of networks.
    points = {
        share.piece: (float(np.cos(angle)), float(np.sin(angle)))
        for share, angle in zip(split.shapley, angles, strict=True)
    }
    nodes = pd.DataFrame(
        {
            "x": points[share.piece][0],
            "y": points[share.piece][1],
            "piece": share.piece,
            "value": share.value,
            "size": abs(share.value),
            "sign": POSITIVE if share.value >= 0 else NEGATIVE,
            "text": f"{share.value:+.2f}",
        }
        for share in split.shapley
    )
    scale = alt.Scale(domain=[-AXIS_LIMIT, AXIS_LIMIT])
    axis: dict[str, Any] = {"axis": None, "scale": scale}
    # Not 0, which would be a scale without width, where no piece adds anything.
    largest = max([*(abs(share.value) for share in split.shapley), 1e-12])
    base = alt.Chart(nodes).encode(x=alt.X("x:Q", **axis), y=alt.Y("y:Q", **axis))
    size = alt.Scale(domain=[0, largest], range=[30, 1600])
    circles = base.mark_circle(opacity=0.9).encode(
        color=alt.Color("sign:N", scale=None), size=alt.Size("size:Q", scale=size, legend=None)
    )
    names = base.mark_text(dy=-30, fontSize=12).encode(text="piece:N")
    figures = base.mark_text(dy=30, fontSize=12, color=QUIET).encode(text="text:N")
    layers = [circles, names, figures]
    if split.interactions:
        layers.insert(0, _edges(split, points, largest, axis))
    return alt.layer(*layers).properties(width=SIZE * 1.35, height=SIZE)


def paths(attribution: Attribution, name: str) -> Any:
    """By site what each piece adds by itself, what all add, and their synergy.

    Args:
        attribution: The result.
        name: A finding in its `path`.

    Returns:
        An Altair chart, with the sites in the order of the model.
    """
    import altair as alt
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for site, split in attribution.path[name].items():
        estimates: dict[str, Estimate] = {f"{each.piece} alone": each for each in split.single}
        estimates |= {"all pieces": split.total, "synergy": split.synergy}
        rows += [
            {"site": site, "part": part, "value": each.value, "low": each.low, "high": each.high}
            for part, each in estimates.items()
        ]
    table = pd.DataFrame(rows)
    sites = list(attribution.path[name])
    base = alt.Chart(table).encode(
        x=alt.X("site:N", sort=sites, title=None, axis=alt.Axis(labelAngle=-60, labelLimit=200)),
        color=alt.Color(
            "part:N",
            title=None,
            sort=list(dict.fromkeys(table["part"])),
            legend=alt.Legend(symbolOpacity=1),
        ),
    )
    band = base.mark_area(opacity=0.15).encode(y="low:Q", y2="high:Q")
    value = alt.Y("value:Q", title="1 is the finding's own difference")
    line = base.mark_line(point=True).encode(y=value)
    return (band + line).properties(width=max(14 * len(sites), 300), height=240, title=name)


def tokens(effects: Sequence[PatchEffect]) -> Any:
    """Tokens by blocks of one text encoder, coloured by the share that is lost by patching.

    Args:
        effects: Effects of one target and one text encoder; one or more.

    Returns:
        An Altair chart.
    """
    import altair as alt
    import pandas as pd

    names: Mapping[int, str] = {effect.position: effect.token for effect in effects}
    labels = {position: f"{position + 1} {name}" for position, name in names.items()}
    table = pd.DataFrame(
        {
            "block": effect.site.split("/")[0],
            "token": labels[effect.position],
            "lost": effect.lost,
            # Small shares have no figure: a full grid of zeros hides the others.
            "text": f"{effect.lost:.2f}" if abs(effect.lost) >= 0.05 else "",
        }
        for effect in effects
    )
    # In the order of the model; reversed below, so that the first block is at the bottom.
    blocks = list(dict.fromkeys(table["block"]))
    base = alt.Chart(table).encode(
        x=alt.X(
            "token:N",
            sort=list(labels.values()),
            title=None,
            axis=alt.Axis(labelAngle=-50, labelLimit=180),
        ),
        y=alt.Y("block:N", sort=blocks[::-1], title=None),
    )
    # A fixed domain, so that colours of two charts compare; shares beyond
    # 1 keep the darkest colour.
    scale = alt.Scale(scheme="blueorange", domain=[-1, 1], clamp=True)
    cells = base.mark_rect().encode(color=alt.Color("lost:Q", scale=scale, title="share lost"))
    figures = base.mark_text(fontSize=9).encode(text="text:N")
    return (cells + figures).properties(width=30 * len(labels), height=34 * len(blocks))


def _edges(
    split: Split, points: Mapping[str, tuple[float, float]], largest: float, axis: dict[str, Any]
) -> Any:
    """Lines between pieces, as wide as their interaction is large, with its value in the middle."""
    import altair as alt
    import pandas as pd

    ends = pd.DataFrame(
        {
            "edge": edge,
            "x": points[piece][0],
            "y": points[piece][1],
            "size": abs(pair.value),
            "sign": POSITIVE if pair.value >= 0 else NEGATIVE,
        }
        # Two rows for each line, one for each of its ends.
        for edge, pair in enumerate(split.interactions)
        for piece in pair.pieces
    )
    middles = pd.DataFrame(
        {
            "x": sum(points[piece][0] for piece in pair.pieces) / 2,
            "y": sum(points[piece][1] for piece in pair.pieces) / 2,
            "text": f"{pair.value:+.2f}",
        }
        for pair in split.interactions
    )
    position = {"x": alt.X("x:Q", **axis), "y": alt.Y("y:Q", **axis)}
    width = alt.Scale(domain=[0, largest], range=[0.3, 14])
    lines = (
        alt.Chart(ends)
        .mark_line(opacity=0.6)
        .encode(
            **position,
            detail="edge:N",
            color=alt.Color("sign:N", scale=None),
            strokeWidth=alt.StrokeWidth("size:Q", scale=width, legend=None),
        )
    )
    figures = alt.Chart(middles).mark_text(fontSize=11, dy=-6).encode(**position, text="text:N")
    return lines + figures
