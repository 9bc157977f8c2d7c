"""Charts of findings: a map of sites and steps, and the units of groups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.models.core.addresses import parse
from clerestory.reporting.plots import png

if TYPE_CHECKING:
    from clerestory.contrasts.evidence import SiteFigure, UnitKind
    from clerestory.contrasts.findings import Findings
    from clerestory.contrasts.groups import Groups

__all__ = ["group_chart", "save_map", "site_map"]

NO_STEP = "—"
GROUP_UNITS = 5
"""Units of each kind shown per group."""


def site_map(findings: Findings, kind: UnitKind = "direction") -> Any:
    """Map how well each site detects the concept: sites down, steps across.

    Args:
        findings: The findings.
        kind: Neurons or directions.

    Returns:
        An Altair chart. The colour is the held-out AUROC of the unit ranked first by the selection
        half; the smaller one of the two arms. 0.5 is chance.
    """
    import altair as alt
    import pandas as pd

    table = pd.DataFrame([_cell(figure) for figure in findings.sites if figure.kind == kind])
    # Altair would sort by name: `block 10` before `block 2`.
    sites = sorted(table["site"].unique(), key=_site_order)
    steps = sorted(table["step"].unique(), key=lambda step: (step != NO_STEP, _step_number(step)))
    base = alt.Chart(table).encode(
        x=alt.X("step:N", sort=steps, title="step", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labelLimit=240)),
        tooltip=["unit:N", "auroc:Q", "hard_negative_auroc:Q"],
    )
    # From chance to perfect: maps of different findings compare.
    scale = alt.Scale(domain=[0.5, 0.75, 1.0], range=["#f3f1ea", "#8fb3c9", "#1d4f7c"])
    colour = alt.Color("worst_auroc:Q", scale=scale, title="held-out AUROC")
    cells = base.mark_rect(cornerRadius=2).encode(color=colour)
    # White numbers where the cell is too dark for grey ones.
    ink = alt.condition(alt.datum.worst_auroc > 0.8, alt.value("white"), alt.value("#333"))
    numbers = base.mark_text(fontSize=10).encode(
        text=alt.Text("worst_auroc:Q", format=".2f"), color=ink
    )
    hard = table["hard_negative_auroc"].notna().any()
    against = "negatives and hard negatives" if hard else "negatives"
    title = f"Held-out AUROC against {against} of the first-ranked {kind} of each site"
    return (cells + numbers).properties(
        width=alt.Step(34), height=alt.Step(17), title=alt.TitleParams(title, anchor="start")
    )


def save_map(findings: Findings, path: Path, kind: UnitKind = "direction") -> Path:
    """Write the map as a PNG.

    Args:
        findings: The findings.
        path: The PNG file; one that exists is overwritten.
        kind: Neurons or directions.

    Returns:
        `path`.
    """
    path.write_bytes(png(site_map(findings, kind)))
    return path


def group_chart(groups: Groups) -> Any:
    """Chart the AUROCs of each group's first units with their intervals.

    Args:
        groups: The groups.

    Returns:
        An Altair chart, a row of panels for each group.
    """
    import altair as alt

    # The table's order is the order of selection, which `sort=None` keeps in the chart.
    table = groups.table(GROUP_UNITS)
    base = alt.Chart(table).encode(y=alt.Y("unit:N", sort=None, title=None))
    intervals = base.mark_rule().encode(
        x=alt.X("low:Q", title="held-out AUROC, 95% interval", scale=alt.Scale(zero=False)),
        x2="high:Q",
    )
    points = base.mark_point(filled=True).encode(
        x="auroc:Q", color="kind:N", tooltip=["unit:N", "status:N", "auroc:Q", "q:Q"]
    )
    return (
        (intervals + points)
        .facet(row=alt.Row("group:N", sort=None, title=None))
        .resolve_scale(y="independent")
    )


def _cell(figure: SiteFigure) -> dict[str, Any]:
    parsed = parse(figure.site)
    return {
        "site": parsed.site,
        "step": NO_STEP if parsed.steps is None else str(parsed.steps[0]),
        "unit": figure.unit,
        "worst_auroc": figure.worst_auroc,
        "auroc": figure.auroc,
        "hard_negative_auroc": figure.hard_negative_auroc,
    }


def _site_order(site: str) -> tuple[int, list[tuple[int, str]]]:
    """Stages in the order that they run, blocks by their numbers."""
    stages = ("text", "prior", "denoiser", "vae")
    # `text_2.…` stands with `text`.
    stage = site.split("/")[0].split(".")[0].split("_")[0]
    parts = site.replace("/", ".").split(".")
    # Numbers as numbers: block 10 comes after block 9.
    numbered = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return (stages.index(stage) if stage in stages else len(stages)), numbered


def _step_number(step: str) -> int:
    return int(step) if step.isdigit() else -1
