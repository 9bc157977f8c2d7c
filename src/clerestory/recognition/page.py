"""The page of a name: the verdict, where it lies among its controls, and pictures side by side."""

from __future__ import annotations

from typing import Any

from clerestory.recognition.results import FamiliarityResult
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import data_address, grid
from clerestory.reporting.plots import svg
from clerestory.types import Pictures

__all__ = ["chart", "page", "sheet"]

CONTROLS, PHRASE = "invented names", "the phrase"


def page(result: FamiliarityResult) -> str:
    """One HTML file that needs no other; whatever comes from outside is escaped.

    Args:
        result: The result.

    Returns:
        HTML.
    """
    rows = [
        {
            "context": name,
            "result": context,
            "pictures": [(key, data_address(each[index])) for key, each in result.pictures.items()],
        }
        for index, (name, context) in enumerate(result.contexts.items())
    ]
    template = environment("clerestory.recognition").get_template("familiarity.html")
    return template.render(
        result=result,
        rows=rows,
        plot=svg(chart(result)),
        distances=result.controls.quantiles("distances"),
        consistencies=result.controls.quantiles("consistencies"),
    )


def sheet(result: FamiliarityResult) -> Pictures:
    """A row for each context: the phrase first, then controls.

    Args:
        result: The result, with pictures.

    Returns:
        One picture, `[height, width, 3]`.
    """
    tiles = [
        pictures[index]
        for index in range(len(result.contexts))
        for pictures in result.pictures.values()
    ]
    return grid(tiles, columns=len(result.pictures))


def chart(result: FamiliarityResult) -> Any:
    """An Altair chart of the distance and consistency of every control, and of the phrase.

    Args:
        result: The result.

    Returns:
        The chart; distances alone where there is a single context.
    """
    import altair as alt
    import pandas as pd

    controls = result.controls
    table = pd.DataFrame(
        {
            "distance": [*controls.distances, result.distance],
            "consistency": [*controls.consistencies, result.consistency],
            "name": [*controls.names, result.phrase],
            "kind": [CONTROLS] * len(controls.names) + [PHRASE],
        }
    )
    # With one context there is nothing to be consistent with: points lie on one line.
    single = result.consistency is None
    colours = alt.Scale(domain=[CONTROLS, PHRASE], range=["#b9b3a4", "#234f8c"])
    return (
        alt.Chart(table)
        .mark_circle(opacity=0.85)
        .encode(
            x=alt.X("distance:Q", title="distance (the median control's is 1)"),
            y=alt.value(60) if single else alt.Y("consistency:Q", title="consistency"),
            color=alt.Color("kind:N", scale=colours, title=None),
            size=alt.condition(f"datum.kind == '{PHRASE}'", alt.value(140), alt.value(40)),
            tooltip=["name:N"],
        )
        .properties(width=460, height=120 if single else 220)
    )
