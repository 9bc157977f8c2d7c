"""The map of findings: sites down, steps across, how well each place tells the concept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.models.core.addresses import parse
from clerestory.reporting.plots import png

if TYPE_CHECKING:
    from clerestory.contrasts.findings import Findings, Kind

__all__ = ["save_map", "site_map"]

WITHOUT_STEPS = "—"
TITLES = {
    "neuron": "the neuron that discovery put first",
    "direction": "the direction that discovery put first",
}


def site_map(found: Findings, kind: Kind = "direction") -> Any:
    """An Altair chart: a cell for each site and step, coloured by the held-out figure.

    The figure is the worse of two AUROCs, against absence and against the decoy, of the unit that
    discovery put first there. 0.5 is chance.
    """
    import altair as alt
    import pandas as pd

    places = list(dict.fromkeys(one.site for one in found.of(kind)))
    table = pd.DataFrame([_cell(found, kind, place) for place in places])
    sites = sorted(table["site"].unique(), key=_in_order)
    steps = sorted(table["step"].unique(), key=lambda step: (step != WITHOUT_STEPS, _number(step)))
    base = alt.Chart(table).encode(
        x=alt.X("step:N", sort=steps, title="step", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("site:N", sort=sites, title=None, axis=alt.Axis(labelLimit=240)),
        tooltip=["unit:N", "auroc:Q", "decoy:Q", "q:Q"],
    )
    scale = alt.Scale(domain=[0.5, 0.75, 1.0], range=["#f3f1ea", "#8fb3c9", "#1d4f7c"])
    colour = alt.Color("figure:Q", scale=scale, title="held-out AUROC")
    cells = base.mark_rect(cornerRadius=2).encode(color=colour)
    ink = alt.condition(alt.datum.figure > 0.8, alt.value("white"), alt.value("#333"))
    words = base.mark_text(fontSize=10).encode(text=alt.Text("figure:Q", format=".2f"), color=ink)
    against = "against absence and decoy" if table["decoy"].notna().any() else "against absence"
    title = f"How well each place tells it: {TITLES[kind]}, {against}"
    return (cells + words).properties(
        width=alt.Step(34), height=alt.Step(17), title=alt.TitleParams(title, anchor="start")
    )


def save_map(found: Findings, path: Path, kind: Kind = "direction") -> Path:
    """The map as a PNG."""
    path.write_bytes(png(site_map(found, kind)))
    return path


def _cell(found: Findings, kind: Kind, place: str) -> dict[str, Any]:
    best = found.picked(kind, place)
    address = parse(place)
    return {
        "site": address.site,
        "step": WITHOUT_STEPS if address.steps is None else str(address.steps[0]),
        "unit": best.unit,
        "figure": best.detects.least,
        "auroc": best.detects.auroc,
        "decoy": best.detects.decoy_auroc,
        "q": best.detects.q,
    }


def _in_order(site: str) -> tuple[int, list[tuple[int, str]]]:
    """Stages in the order that they run, blocks by their numbers."""
    stages = ("text", "prior", "denoiser", "vae")
    stage = site.split("/")[0].split(".")[0].split("_")[0]
    parts = site.replace("/", ".").split(".")
    numbered = [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
    return (stages.index(stage) if stage in stages else len(stages)), numbered


def _number(step: str) -> int:
    return int(step) if step.isdigit() else -1
