"""Charts of causal effects: units with their baselines, and maps of ranges of blocks or steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.errors import OptionError
from clerestory.reporting.plots import png

if TYPE_CHECKING:
    from clerestory.causal.results import EffectMaps, RangeEffect, VerificationResult

__all__ = ["range_map", "save_maps", "unit_chart"]

TITLES = {
    "where": "Where “{label}” gets in: effect of patching these blocks into the negative prompt",
    "when": "When “{label}” gets in: effect of patching predictions of these steps",
}
INVISIBLE = 0.02
"""Effects of at most this size are written as 0, without a sign."""


def range_map(result: EffectMaps, which: str) -> Any:
    """Map the effects of ranges, a triangle for each stage: first part down, last part across.

    Args:
        result: The result.
        which: `where` or `when`.

    Returns:
        An Altair chart. On the diagonal is what one part does alone; the corner is the whole stage.

    Raises:
        OptionError: There is no such map.
    """
    import altair as alt

    if which not in TITLES:
        raise OptionError(f"which is {which!r}; expected one of {', '.join(TITLES)}.")
    ranges: tuple[RangeEffect, ...] = getattr(result, which)
    triangles = [
        _triangle([effect for effect in ranges if effect.stage == stage], stage)
        for stage in dict.fromkeys(effect.stage for effect in ranges)
    ]
    title = TITLES[which].format(label=result.label)
    chart = alt.hconcat(*triangles) if triangles else alt.hconcat()
    return chart.properties(title=alt.TitleParams(title, anchor="start"))


def save_maps(result: EffectMaps, folder: Path) -> list[Path]:
    """Write `where.png` and `when.png`, those that have a range.

    Args:
        result: The result whose maps are drawn.
        folder: An existing folder; files of these names are overwritten.

    Returns:
        The paths of the files that were written.
    """
    paths = []
    for which in TITLES:
        if getattr(result, which):
            path = folder / f"{which}.png"
            path.write_bytes(png(range_map(result, which)))
            paths.append(path)
    return paths


def unit_chart(result: VerificationResult) -> Any:
    """Chart each unit's addition with its interval and its baselines' range.

    Args:
        result: The result.

    Returns:
        An Altair chart.
    """
    import altair as alt

    base = alt.Chart(result.table()).encode(y=alt.Y("unit:N", sort=None, title=None))
    title = f"change of the rate of “{result.label}”; grey: baselines"
    baselines = base.mark_bar(color="#d8d4c8", height=10).encode(
        x=alt.X("baselines_low:Q", title=title), x2="baselines_high:Q"
    )
    intervals = base.mark_rule().encode(x="addition_low:Q", x2="addition_high:Q")
    points = base.mark_point(filled=True, size=60).encode(
        x="addition:Q",
        color="status:N",
        tooltip=["unit:N", "detects:Q", "addition:Q", "q:Q", "side_effects:N"],
    )
    return baselines + intervals + points


def _triangle(ranges: list[RangeEffect], stage: str) -> Any:
    import altair as alt
    import pandas as pd

    rows = [
        {
            "from": _short_name(effect.first, stage),
            "to": _short_name(effect.last, stage),
            "effect": (
                # Small effects of either sign are noise, and would fill the map with signs.
                round(effect.effect.effect, 2) if abs(effect.effect.effect) > INVISIBLE else 0.0
            ),
        }
        for effect in ranges
    ]
    table = pd.DataFrame(rows)
    firsts, lasts = (list(dict.fromkeys(table[name])) for name in ("from", "to"))
    base = alt.Chart(table).encode(
        x=alt.X("to:N", sort=lasts, title="to", axis=alt.Axis(labelAngle=-40)),
        y=alt.Y("from:N", sort=firsts, title="from"),
    )
    # One scale for all maps, so that their colours compare.
    scale = alt.Scale(domain=[0, 0.5, 1], range=["#f3f1ea", "#d9a273", "#8c3b1d"], clamp=True)
    colour = alt.Color("effect:Q", scale=scale, title="change of the rate")
    # White numbers above 0.6, where the cells are too dark for grey ones.
    ink = alt.condition(alt.datum.effect > 0.6, alt.value("white"), alt.value("#333"))
    cells = base.mark_rect(cornerRadius=2).encode(color=colour)
    numbers = base.mark_text(fontSize=10).encode(text=alt.Text("effect:Q", format=".2f"), color=ink)
    title = f"{stage}: whole outputs" if ranges[0].cumulative else stage
    return (cells + numbers).properties(width=alt.Step(36), height=alt.Step(26), title=title)


def _short_name(name: str, stage: str) -> str:
    """A block's address without its stage; a step as it is."""
    return name.removeprefix(f"{stage}.")
