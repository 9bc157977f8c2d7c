"""The report: one HTML file that needs nothing else, for a reader who has not seen the code."""

from __future__ import annotations

from typing import Any

from clerestory.finding import Finding, Findings
from clerestory.pages import environment
from clerestory.pictures import data_address
from clerestory.study import charts
from clerestory.study.controlling import Controls, Gallery
from clerestory.study.results import Results

__all__ = ["page"]

SHOWN = 8
"""Contents in the strip of pictures: the first ones of the report half, not the best ones."""

TOP = 8
"""Neurons in the table of units: the first of discovery, whatever the report half says of them."""

HOW = {
    "unedited": "the prompt as it is",
    "edited": "the same, with the direction added",
    "words": "saying the words instead",
    "shuffled": "one of the shuffled directions added",
}


def page(results: Results, gallery: Gallery) -> str:
    """The report as HTML. Whatever comes from prompts, names or models is escaped."""
    made = environment("clerestory.study")
    made.filters |= {"percent": _percent, "span": _span, "figure": _figure, "small": _small}
    found, controls = results.findings, results.controls
    return made.get_template("report.html").render(
        results=results,
        study=results.study,
        controls=controls,
        direction=found.picked("direction", controls.site),
        ways=_ways(controls, results.study.concept.decoy),
        strip=_strip(gallery),
        shown=gallery.contents[:SHOWN],
        prompts=gallery.prompts[:SHOWN],
        seed=gallery.seed,
        units=_units(found, controls),
        probes={probe.unit: probe.drawn for probe in controls.probes},
        neuron_map=charts.svg(charts.site_map(found, "neuron")),
        direction_map=charts.svg(charts.site_map(found, "direction")),
        frontier=charts.svg(charts.frontier(controls)),
    )


def _ways(controls: Controls, decoy: str) -> list[dict[str, Any]]:
    """The rows of the table of ways to draw."""
    mixed = controls.shuffled
    rows: list[dict[str, Any]] = [
        {"how": "the plain prompt", "drawn": controls.unedited, "own": True},
        {"how": "with the direction added", "drawn": controls.edited, "key": True},
        {"how": "saying the words", "drawn": controls.words},
        {"how": f"asking for {decoy}", "drawn": controls.decoy},
    ]
    told = [
        {
            "how": row["how"],
            "key": row.get("key", False),
            "style": row["drawn"].style,
            "kept": None if row.get("own") else row["drawn"].subject_kept,
            "object": row["drawn"].object,
            "of": f"{row['drawn'].style.contents} contents",
        }
        for row in rows
    ]
    told.append(
        {
            "how": f"{mixed.directions} shuffled directions",
            "key": False,
            "style": mixed.style,
            "kept": mixed.subject_kept,
            "object": None,
            "of": f"{mixed.directions} directions, {mixed.contents} contents each",
        }
    )
    return told


def _units(found: Findings, controls: Controls) -> list[Finding]:
    """The edited direction, discovery's first of each kind, and whatever else was changed."""
    first = found.picked("direction", controls.site)
    tried = {probe.unit for probe in controls.probes}
    neurons = [finding for finding in found.of("neuron") if finding.rank <= TOP]
    directions = [finding for finding in found.of("direction") if finding.rank <= TOP // 2]
    more = [finding for finding in found.findings if finding.unit in tried]
    listed = {finding.unit: finding for finding in (first, *directions, *neurons, *more)}
    rest = list(listed.values())[1:]
    return [first, *sorted(rest, key=lambda finding: (finding.kind, -finding.detects.least))]


def _strip(gallery: Gallery) -> list[dict[str, Any]]:
    return [
        {"how": how, "says": HOW[how], "pictures": [data_address(p) for p in pictures[:SHOWN]]}
        for how, pictures in gallery.rows.items()
    ]


def _percent(value: float) -> str:
    return f"{value:.0%}"


def _span(low: float, high: float) -> str:
    return f"{low * 100:.0f}–{high * 100:.0f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _small(value: float) -> str:
    """A q or p: two figures, or a power of ten.

    >>> _small(0.0312), _small(3.2e-6)
    ('0.031', '3×10⁻⁶')
    """
    if value >= 0.001:
        return f"{value:.2g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = str(abs(int(exponent))).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{mantissa}×10⁻{power}"
