"""The loss curves of the stages, from their logs, as one picture."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

__all__ = ["draw", "read"]


def read(folder: Path) -> pd.DataFrame:
    """Every logged step of every stage: columns stage, step, loss.

    Args:
        folder: The folder with the logs, `STAGE.jsonl`.

    Returns:
        One row per logged step; none where nothing was logged.
    """
    logs = [
        pd.DataFrame(_lines(path), columns=["step", "loss"]).assign(stage=path.stem)
        for path in sorted(folder.glob("*.jsonl"))
        if path.stat().st_size
    ]
    columns = ["stage", "step", "loss"]
    return pd.concat(logs)[columns] if logs else pd.DataFrame(columns=columns)


def _lines(path: Path) -> Iterator[tuple[int, float]]:
    """Steps and losses of a log, without incomplete lines."""
    for line in path.read_text().splitlines():
        try:
            entry = json.loads(line)
        # A killed run may leave an incomplete line, and its continuation appends after it.
        except ValueError:
            continue
        yield entry["step"], entry["loss"]


def draw(folder: Path, out: Path) -> None:
    """Draw the loss curves to a PNG, one panel per stage, smoothed over ten values.

    Args:
        folder: The folder with the logs.
        out: The file; not written where nothing was logged.
    """
    import altair as alt

    logged = read(folder)
    if logged.empty:
        return
    smooth = logged.groupby("stage")["loss"].transform(lambda loss: loss.rolling(10, 1).mean())
    points = logged.assign(loss=smooth).to_dict("records")
    panel = (
        alt.Chart(alt.Data(values=points))
        .mark_line(strokeWidth=1.5, color="#2b4c7e")
        .encode(
            alt.X("step:Q", title="step"),
            alt.Y("loss:Q", title="loss", scale=alt.Scale(zero=False)),
        )
        .properties(width=240, height=140)
    )
    chart = panel.facet(facet=alt.Facet("stage:N", title=None), columns=3)
    chart.resolve_scale(x="independent", y="independent").save(out, scale_factor=2)
