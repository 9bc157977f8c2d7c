"""The page of a suppression: the frontier, a table of methods, and their pictures."""

from __future__ import annotations

from typing import Any

from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address
from clerestory.reporting.plots import svg
from clerestory.suppression.results import MIN_REDUCTION, SuppressionResult

__all__ = ["frontier", "page"]

SHOWN = 8
"""Paraphrases whose pictures are shown, with the first seed."""


def page(result: SuppressionResult) -> str:
    """One HTML file that needs no other; whatever comes from outside is escaped.

    Args:
        result: The result, with pictures by method.

    Returns:
        HTML.
    """
    template = environment("clerestory.suppression").get_template("suppression.html")
    return template.render(
        result=result,
        chart=svg(frontier(result)),
        rows={
            name: [data_address(picture) for picture in pictures[:SHOWN, 0]]
            for name, pictures in result.pictures.items()
        },
        min_reduction=MIN_REDUCTION,
        bound=result.best.side_effects.bound,
    )


def frontier(result: SuppressionResult) -> Any:
    """An Altair chart of reduction against preservation, for methods of which both are known.

    Args:
        result: The result.

    Returns:
        The chart; two reference lines alone where no method has both figures.
    """
    import altair as alt
    import pandas as pd

    # Without an excess there is no reduction, and such a method has no place in the chart.
    complete = [each for each in result.methods if None not in (each.reduction, each.preservation)]
    table = pd.DataFrame(
        {
            "method": each.name,
            "reduction": each.reduction,
            "low": each.reduction_low,
            "high": each.reduction_high,
            "preservation": each.preservation,
            "recommended": each.name == result.recommended,
        }
        for each in complete
    )
    title = "Evaluation half; the ringed method is recommended"
    base = alt.Chart(table, title=title).encode(
        x=alt.X("reduction:Q", title="share of the unwanted's excess that is gone"),
        y=alt.Y(
            "preservation:Q",
            title="preservation: 1 less the largest other change",
            scale=alt.Scale(zero=False),
        ),
    )
    points = base.mark_circle(size=90).encode(color=alt.Color("method:N", title=None))
    intervals = base.mark_rule(opacity=0.5).encode(x="low:Q", x2="high:Q", color="method:N")
    ring = base.transform_filter("datum.recommended")
    ring = ring.mark_point(size=320, color="#222", strokeWidth=2)
    limits = pd.DataFrame(
        {"reduction": [MIN_REDUCTION], "preservation": [1 - result.best.side_effects.bound]}
    )
    rules = [
        alt.Chart(limits).mark_rule(color="#999", strokeDash=[4, 3]).encode(**{axis: f"{name}:Q"})
        for axis, name in (("x", "reduction"), ("y", "preservation"))
    ]
    # Altair cannot infer the types of fields of an empty table.
    layers = [*rules, intervals, points, ring] if complete else rules
    return alt.layer(*layers).properties(width=460, height=280)
