"""Maps of causes: what every contiguous range of blocks, or of steps, does by itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.reporting.plots import png

if TYPE_CHECKING:
    from clerestory.causal.results import Causes, Range

__all__ = ["range_map", "save_ranges"]

TITLES = {
    "where": "Where {x} gets in: these blocks, put into the prompt without it",
    "when": "When {x} gets in: predictions of these steps, put into the prompt without it",
}
LOST = 0.02
"""Effects below it are written without a sign: they are nothing."""


def range_map(causes: Causes, which: str) -> Any:
    """An Altair chart, a triangle for each stage: from where (down) to where (across).

    The colour is the change of the rate of the concept, 1 = all of it. On the diagonal stands what
    one part does alone; the corner is the whole stage.
    """
    import altair as alt

    ranges: tuple[Range, ...] = getattr(causes, which)
    triangles = [
        _triangle([one for one in ranges if one.stage == stage], stage)
        for stage in dict.fromkeys(one.stage for one in ranges)
    ]
    title = TITLES[which].format(x=f"“{causes.shows}”")
    whole = alt.hconcat(*triangles) if triangles else alt.hconcat()
    return whole.properties(title=alt.TitleParams(title, anchor="start"))


def save_ranges(causes: Causes, folder: Path) -> list[Path]:
    """`where.png` and `when.png`, each where there is anything to show."""
    made = []
    for which in TITLES:
        if getattr(causes, which):
            path = folder / f"{which}.png"
            path.write_bytes(png(range_map(causes, which)))
            made.append(path)
    return made


def _triangle(own: list[Range], stage: str) -> Any:
    import altair as alt
    import pandas as pd

    rows = [
        {
            "from": _short(one.first, stage),
            "to": _short(one.last, stage),
            "effect": round(one.effect.effect, 2) if abs(one.effect.effect) > LOST else 0.0,
        }
        for one in own
    ]
    table = pd.DataFrame(rows)
    firsts, lasts = (list(dict.fromkeys(table[name])) for name in ("from", "to"))
    base = alt.Chart(table).encode(
        x=alt.X("to:N", sort=lasts, title="to", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("from:N", sort=firsts, title="from"),
    )
    scale = alt.Scale(domain=[0, 0.5, 1], range=["#f3f1ea", "#d9a273", "#8c3b1d"], clamp=True)
    colour = alt.Color("effect:Q", scale=scale, title="change of the rate")
    ink = alt.condition(alt.datum.effect > 0.6, alt.value("white"), alt.value("#333"))
    cells = base.mark_rect(cornerRadius=2).encode(color=colour)
    words = base.mark_text(fontSize=10).encode(text=alt.Text("effect:Q", format=".2f"), color=ink)
    title = f"{stage}: whole outputs" if own[0].holds else stage
    return (cells + words).properties(width=alt.Step(36), height=alt.Step(26), title=title)


def _short(name: str, stage: str) -> str:
    """A block's address without its stage; a step as it is."""
    return name.removeprefix(f"{stage}.")
