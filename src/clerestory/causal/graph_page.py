"""The page of a causal graph, in which nodes can be clicked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clerestory.causal.graph_charts import THINNEST, WIDEST, layout, map_chart, short_name
from clerestory.causal.graph_results import GraphEdge, GraphNode, TraceResult
from clerestory.reporting.pages import environment
from clerestory.reporting.plots import svg

__all__ = ["page"]

WIDTH, ROW, TOP = 1040, 62, 34


@dataclass(frozen=True)
class DrawnNode:
    """A node with its place in pixels, and the edges that it has."""

    id: str
    node: GraphNode
    name: str
    x: float
    y: float
    arriving: Sequence[GraphEdge]
    leaving: Sequence[GraphEdge]


def page(result: TraceResult) -> str:
    """One HTML file that needs no other, no script and no network.

    A node is a link to its row, and the row's links lead to its neighbours; while a node is the
    target, its row is marked. Whatever comes from prompts or names is escaped.

    Args:
        result: The result.

    Returns:
        HTML.
    """
    nodes = _drawn(result)
    by_address = {each.node.address: each for each in nodes}
    edges = [
        _line(edge, by_address)
        for edge in sorted(result.edges, key=lambda edge: (edge.verified, abs(edge.share)))
    ]
    return (
        environment("clerestory.causal")
        .get_template("trace.html")
        .render(
            result=result,
            nodes=nodes,
            ids={address: each.id for address, each in by_address.items()},
            edges=edges,
            width=WIDTH,
            height=max(each.y for each in nodes) + TOP,
            pairs=list(zip(result.clean_prompts, result.corrupted_prompts, strict=True)),
            maps=[svg(map_chart(each)) for each in result.maps],
            random=sorted(result.random_faithfulness),
        )
    )


def _drawn(result: TraceResult) -> list[DrawnNode]:
    places = layout(result)
    return [
        DrawnNode(
            f"node-{number}",
            node,
            short_name(node),
            WIDTH * places[node.address].x,
            TOP + ROW * places[node.address].row,
            [edge for edge in result.edges if edge.target == node.address],
            [edge for edge in result.edges if edge.source == node.address],
        )
        for number, node in enumerate(result.nodes)
    ]


def _line(edge: GraphEdge, nodes: dict[str, DrawnNode]) -> dict[str, Any]:
    start, end = nodes[edge.source], nodes[edge.target]
    # A curve, so that lines past a node in between can be told from those that end there.
    bend = (end.y - start.y) / 2
    path = (
        f"M{start.x:.0f},{start.y:.0f} C{start.x:.0f},{start.y + bend:.0f} "
        f"{end.x:.0f},{end.y - bend:.0f} {end.x:.0f},{end.y:.0f}"
    )
    return {
        "edge": edge,
        "path": path,
        "stroke": max(THINNEST, min(WIDEST, WIDEST * abs(edge.share))),
        "ends": f"from-{start.id} to-{end.id}",
    }
