"""Charts of a causal graph: nodes in the order in which they run, and maps of the effect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from clerestory.checks import check_choice
from clerestory.errors import OptionError

if TYPE_CHECKING:
    from clerestory.causal.graph_results import EffectMap, GraphNode, TraceResult

__all__ = ["Place", "chart", "graph_chart", "layout", "map_chart", "short_name"]

ATTENTION, MLP = (0.0, 0.72), (0.72, 1.0)
SIDES = dict.fromkeys(("z", "self_attn", "cross_attn"), ATTENTION) | {"mlp": MLP, "neurons": MLP}
"""The part of the width that a site's nodes have, by its tap; all of it for others."""
THINNEST, WIDEST = 1.2, 7.0
"""Widths of edges."""
SCALE = ["#2c5d8a", "#f3f1ea", "#8c3b1d"]
"""Against the effect, nothing, with it."""


@dataclass(frozen=True)
class Place:
    """Where a node is drawn.

    Attributes:
        row: Its layer, 0 for the words.
        x: From 0 to 1: attention on the left, MLPs on the right, so that an edge from layer to
            layer does not run through the nodes between.
    """

    row: int
    x: float


def chart(result: TraceResult, which: str) -> Any:
    """The graph or the maps.

    Args:
        result: The result.
        which: `graph` or `maps`.

    Returns:
        An Altair chart.

    Raises:
        OptionError: There is no such chart.
    """
    import altair as alt

    check_choice(OptionError, ("graph", "maps"), which=which)
    if which == "graph":
        return graph_chart(result)
    return alt.vconcat(*map(map_chart, result.maps))


def layout(result: TraceResult) -> dict[str, Place]:
    """Nodes in layers: the words, each site in the order in which they run, the objective.

    Args:
        result: The result.

    Returns:
        Places by address.
    """
    layers: dict[str, list[str]] = {}
    for node in result.nodes:
        site = node.address.partition("[")[0] if node.kind in ("head", "unit") else node.address
        layers.setdefault(site, []).append(node.address)
    return {
        address: Place(row, _across(site, column, len(addresses)))
        for row, (site, addresses) in enumerate(layers.items())
        for column, address in enumerate(addresses)
    }


def _across(site: str, column: int, columns: int) -> float:
    """From 0 to 1, for a node of a layer."""
    tap = site.partition("@")[0].rpartition("/")[2]
    left, right = SIDES.get(tap, (0.0, 1.0))
    return left + (right - left) * (column + 1) / (columns + 1)


def graph_chart(result: TraceResult) -> Any:
    """Nodes from the words at the top to the objective; verified edges as lines.

    Args:
        result: The result.

    Returns:
        An Altair chart.
    """
    import altair as alt
    import pandas as pd

    places = layout(result)
    nodes = pd.DataFrame([_node_row(node, places) for node in result.nodes])
    edges = pd.DataFrame(
        [
            {
                **asdict(edge),
                "x": places[edge.source].x,
                "y": places[edge.source].row,
                "x2": places[edge.target].x,
                "y2": places[edge.target].row,
            }
            for edge in result.edges
            if edge.verified
        ],
        columns=["source", "target", "effect", "share", "x", "y", "x2", "y2"],
    )
    colour = alt.Color(
        "share:Q", scale=alt.Scale(domain=[-1, 0, 1], range=SCALE, clamp=True), title="share"
    )
    none = alt.Axis(labels=False, ticks=False, grid=False, title=None, domain=False)
    deepest = max(place.row for place in places.values())
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, 1]), axis=none)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[deepest + 0.5, -0.7], nice=False), axis=none)
    # Not in the colours of nodes, in which a small share is hardly to be seen.
    sign = alt.condition("datum.share < 0", alt.value(SCALE[0]), alt.value(SCALE[-1]))
    width = alt.StrokeWidth("width:Q", scale=None, legend=None)
    lines = (
        alt.Chart(edges)
        .mark_rule(opacity=0.55)
        .encode(x=x, y=y, x2="x2:Q", y2="y2:Q", color=sign, strokeWidth=width)
        .transform_calculate(width=f"clamp({WIDEST} * abs(datum.share), {THINNEST}, {WIDEST})")
    )
    base = alt.Chart(nodes).encode(x=x, y=y)
    points = base.mark_point(filled=True, size=110, stroke="#555").encode(
        color=colour, tooltip=["address:N", "effect:Q", "share:Q"]
    )
    names = base.mark_text(dy=-11, fontSize=10).encode(text="name:N")
    height = 46 * (deepest + 1)
    title = alt.TitleParams(
        f"What carries {result.faithfulness:.0%} of the change of {result.objective}",
        subtitle=f"lines: the {len(edges)} of {len(result.edges)} measured edges that are verified",
    )
    return (lines + points + names).properties(width=680, height=height, title=title)


def map_chart(effects: EffectMap) -> Any:
    """A map with a number in every cell.

    Args:
        effects: The map.

    Returns:
        An Altair chart.
    """
    import altair as alt
    import pandas as pd

    cells = pd.DataFrame(
        [
            {"row": row, "column": column, "share": share}
            for row, shares in zip(effects.rows, effects.shares, strict=True)
            for column, share in zip(effects.columns, shares, strict=True)
        ]
    )
    base = alt.Chart(cells).encode(
        x=alt.X("column:N", sort=list(effects.columns), title=None, axis=alt.Axis(labelAngle=-30)),
        y=alt.Y("row:N", sort=list(effects.rows), title=None),
    )
    scale = alt.Scale(domain=[-1, 0, 1], range=SCALE, clamp=True)
    colours = base.mark_rect(cornerRadius=2).encode(
        color=alt.Color("share:Q", scale=scale, title="share of the effect")
    )
    # White where the cell is dark.
    ink = alt.condition("abs(datum.share) > 0.6", alt.value("white"), alt.value("#333"))
    numbers = base.mark_text(fontSize=10).encode(text=alt.Text("share:Q", format=".2f"), color=ink)
    return (colours + numbers).properties(
        width=alt.Step(46), height=alt.Step(26), title=effects.title
    )


def short_name(node: GraphNode) -> str:
    """An address without what every address has: `text 2 z h3`.

    Args:
        node: The node.

    Returns:
        The name in a drawing.
    """
    return node.address.replace(".blocks.", " ").replace("/", " ").replace("[", " ").rstrip("]")


def _node_row(node: GraphNode, places: Mapping[str, Place]) -> dict[str, Any]:
    place = places[node.address]
    return {**asdict(node), "name": short_name(node), "x": place.x, "y": place.row}
