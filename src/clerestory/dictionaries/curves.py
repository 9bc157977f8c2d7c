"""The course of a training as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["curves_chart"]

PANELS = {
    "loss": "loss",
    "explained_variance": "explained variance, held out",
    "l0": "latents per position, held out",
    "dead": "share of latents never active, held out",
}


def curves_chart(curves: Sequence[Mapping[str, Any]]) -> Any:
    """Loss, explained variance, latents per position and dead latents by update.

    Args:
        curves: A row for each measurement, with `update` and these figures.

    Returns:
        An Altair chart of four panels.
    """
    import altair as alt
    import pandas as pd

    table = pd.DataFrame(list(curves))
    panels = [
        alt.Chart(table[["update", name]], title=title, width=260, height=140)
        .mark_line(point=True)
        .encode(
            x=alt.X("update:Q", title="updates"),
            # A loss falls by orders of magnitude, and may be 0 in an easy problem.
            y=alt.Y(f"{name}:Q", title=None, scale=alt.Scale(zero=name != "loss")),
        )
        for name, title in PANELS.items()
    ]
    return alt.concat(*panels, columns=2)
