"""The charts of a report: Vega-Lite specifications, drawn to SVG without a browser.

Colours are the page's own: each stands in the specification as a marker and becomes a CSS variable
in the SVG, so that a chart is light on a light page and dark on a dark one.
"""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import pandas as pd
from markupsafe import Markup

from clerestory import plots
from clerestory.finding import Finding, Findings
from clerestory.finding.base import Kind
from clerestory.study.controlling import Controls

__all__ = ["frontier", "site_map", "svg"]

MARKERS = {
    "ink": "#010101",
    "quiet": "#020202",
    "line": "#030303",
    "accent": "#040404",
    "gold": "#050505",
    "paper": "#060606",
}
OUT = "out"
"""The column of the map for what a stage hands on."""


def svg(chart: Any) -> Markup:
    """A chart as an SVG element whose colours follow the page."""
    text = str(plots.svg(chart))
    for name, marker in MARKERS.items():
        text = text.replace(marker, f"var(--{name})")
    return Markup(re.sub(r"^.*?<svg", '<svg role="img"', text, count=1, flags=re.DOTALL))


def site_map(findings: Findings, kind: Kind) -> Any:
    """Stage × block: how well each site's first unit by discovery does on the report half."""
    sites = list(dict.fromkeys(finding.site for finding in findings.findings))
    table = pd.DataFrame([_cell(findings.picked(kind, site)) for site in sites])
    blocks = sorted(set(table["block"]), key=lambda b: (b == OUT, int(b) if b.isdigit() else -1))
    rows = [row for row in ROWS if row in set(table["row"])]
    rows += sorted(set(table["row"]) - set(rows))
    x = alt.X("block:N", sort=blocks, title="block", axis=_axis(orient="top"))
    y = alt.Y("row:N", sort=rows, title=None, axis=_axis())
    base = alt.Chart(table).encode(x=x, y=y)
    strength = alt.Opacity(
        "least:Q", scale=alt.Scale(domain=[0.5, 1], range=[0.06, 1]), legend=None
    )
    dark = alt.datum.least > 0.78
    ink = alt.condition(dark, alt.value(MARKERS["paper"]), alt.value(MARKERS["ink"]))
    cells = base.mark_rect(color=MARKERS["accent"], cornerRadius=3).encode(opacity=strength)
    words = base.mark_text(fontSize=11).encode(text=alt.Text("least:Q", format=".2f"), color=ink)
    width = alt.Step(42)
    return _dressed((cells + words).properties(width=width, height=alt.Step(30)))


ROWS = ("text mlp", "text resid", "prior mlp", "prior resid", "prior embedding")


def frontier(controls: Controls) -> Any:
    """Style rate against subject kept: the direction at all strengths, words, shuffled ones."""
    x = alt.X("kept:Q", title="keeps the subject", scale=UNIT, axis=_axis(format="%", grid=True))
    y = alt.Y("style:Q", title="in the style", scale=UNIT, axis=_axis(format="%", grid=True))
    mixed = controls.shuffled
    shuffled = pd.DataFrame({"kept": mixed.kept, "style": mixed.rates})
    points = pd.DataFrame(
        [
            {
                "kept": point.drawn.subject_kept.rate,
                "style": point.drawn.style.rate,
                "strength": point.strength,
                "label": f"×{point.strength:g}",
                "chosen": point.strength == controls.strength,
            }
            for point in controls.curve
        ]
    )
    words = controls.words
    said = pd.DataFrame(
        [{"kept": words.subject_kept.rate, "style": words.style.rate, "label": "the words"}]
    )
    line, diamond, dots = (alt.Chart(data).encode(x=x, y=y) for data in (points, said, shuffled))
    accent, gold, paper = (MARKERS[name] for name in ("accent", "gold", "paper"))
    fill = alt.condition(alt.datum.chosen, alt.value(accent), alt.value(paper))
    layers = [
        dots.mark_circle(size=46, color=MARKERS["quiet"], opacity=0.45),
        line.mark_line(color=accent, strokeWidth=1.5).encode(order=alt.Order("strength:Q")),
        line.mark_circle(size=90, stroke=accent, strokeWidth=1.5, opacity=1).encode(fill=fill),
        line.mark_text(dx=6, dy=-12, align="left", fontSize=11, color=accent).encode(
            text="label:N"
        ),
        diamond.mark_point(shape="diamond", size=110, filled=True, color=gold, opacity=1),
        diamond.mark_text(dx=-10, align="right", fontSize=11, color=gold).encode(text="label:N"),
    ]
    return _dressed(alt.layer(*layers).properties(width=300, height=260))


UNIT = alt.Scale(domain=[0, 1], nice=False)


def _cell(finding: Finding) -> dict[str, Any]:
    place, _, tap = finding.site.partition("/")
    stage, _, path = place.partition(".")
    number = path.removeprefix("blocks.")
    return {
        "row": f"{stage} {tap}",
        "block": number if number.isdigit() else (path or OUT),
        "least": finding.detects.least,
    }


def _axis(**changed: Any) -> Any:
    plain = {"ticks": False, "domain": False, "grid": False, "labelPadding": 6, "titlePadding": 8}
    return alt.Axis(**{**plain, "labelAngle": 0, "tickCount": 5, **changed})


def _dressed(chart: Any) -> Any:
    quiet, line = MARKERS["quiet"], MARKERS["line"]
    axis = {"labelColor": quiet, "titleColor": quiet, "gridColor": line, "labelFontSize": 11}
    return (
        chart.configure(background="transparent", padding=2)
        .configure_view(stroke=None)
        .configure_axis(**axis, titleFontWeight="normal", titleFontSize=11, labelLimit=120)
    )
