"""The page of what `tools/calibrate.py` measured, and its plot.

python tools/calibration_page.py    # writes docs/pictures/calibration-power.png
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from calibrate import FIGURES
from calibration_contrasts import TOP, UNITS
from calibration_effects import BANK
from paths import DOCS, PICTURES

__all__ = ["FIGURES", "page", "picture"]

PLOT = PICTURES / "calibration-power.png"
HIGHEST, LOWEST, ENOUGH = 0.07, 0.93, 0.9
"""Bars: share of nulls with a finding, coverage, and power at J = 6, I = 24, AUROC .90."""

Row = dict[str, Any]


def page() -> str:
    """The page, from the figures."""
    rows: list[Row] = json.loads(FIGURES.read_text())
    return (
        (DOCS / "calibration" / "page.md.in")
        .read_text()
        .format(
            units=UNITS,
            others=UNITS - 1,
            top=TOP,
            bank=BANK,
            verdict=_verdict(rows),
            power=_power(rows),
            nulls=_nulls(rows),
            lancet=_lancet(rows),
            confounds=_table(_with(rows, "warned"), ["verb", "null", "sets", "warned"]),
            intervals=_intervals(rows),
            others_power=_table(
                [row for row in _with(rows, "power") if row["null"] != "planted" and _drawn(row)],
                ["verb", "null", "items", "sets", "power"],
            ),
        )
    )


def picture() -> None:
    """Save the plot of power by phrases, items and AUROC."""
    import altair as alt
    import pandas as pd

    from clerestory.reporting.plots import png

    table = pd.DataFrame(_planted(json.loads(FIGURES.read_text())))
    table = table.assign(
        phrases=2 * table["templates"],
        unit="AUROC " + table["planted"].map("{:.2f}".format),
        pairs=table["items"].astype(str),
    )
    chart = (
        alt.Chart(table)
        .mark_line(point=True)
        .encode(
            x=alt.X(
                "phrases:Q", title="phrases of an arm (both halves)", axis=alt.Axis(tickMinStep=2)
            ),
            y=alt.Y("power:Q", title="share found", scale=alt.Scale(domain=[0, 1])),
            color=alt.Color("pairs:N", title="items to evaluate on", sort=["12", "24", "48"]),
        )
        .properties(width=190, height=200)
        .facet(column=alt.Column("unit:N", title="How many phrases do I need?"))
    )
    PLOT.write_bytes(png(chart))


def _verdict(rows: Sequence[Row]) -> str:
    """Every bar, and the rows that miss it."""
    found, covered = _with(rows, "any_found"), _with(rows, "coverage")
    bars: list[tuple[str, list[Row], Callable[[Row], bool]]] = [
        ("null data sets: any finding within its bar", found, _is_level),
        (f"intervals: coverage ≥ {LOWEST:.2f}", covered, lambda row: row["coverage"] >= LOWEST),
        ("confounded data sets: warned of", _with(rows, "warned"), lambda row: row["warned"] == 1),
        (
            f"one unit of AUROC .90, J = 6, I = 24: found in ≥ {ENOUGH:.2f}",
            [row for row in _planted(rows) if _standard(row)],
            lambda row: row["power"] >= ENOUGH,
        ),
        (
            "stained glass in Lancet: 12 of 20 neurons or more in every split",
            [row for row in rows if "found" in row],
            lambda row: row["power"] == 1,
        ),
    ]
    lines = ["| bar | rows | met | not met |", "|---|---|---|---|"]
    for name, these, met in bars:
        missed = [row for row in these if not met(row)]
        named = "; ".join(_missed(row) for row in missed) or "none"
        lines.append(f"| {name} | {len(these)} | {len(these) - len(missed)} | {named} |")
    return "\n".join(lines)


def _standard(row: Row) -> bool:
    return (row["templates"], row["items"], row["planted"]) == (6, 24, 0.9)


def _is_level(row: Row) -> bool:
    return bool(row["any_found"] <= (row["bar"] or HIGHEST))


def _missed(row: Row) -> str:
    figures = ("any_found", "coverage", "warned", "power")
    shown = ", ".join(f"{_number(row[name])}" for name in figures if row[name] is not None)
    design = f"J {_number(row['templates'])}, I {row['items']}"
    return f"{row['verb']}, {row['null']}, {design}: {shown}"


def _power(rows: Sequence[Row]) -> str:
    planted = _planted(rows)
    templates = sorted({row["templates"] for row in planted})
    power = {(row["planted"], row["items"], row["templates"]): row["power"] for row in planted}
    lines = [
        "| AUROC | items (I) | " + " | ".join(f"J = {count}" for count in templates) + " |",
        "|---|---|" + "---|" * len(templates),
    ]
    for auroc, items in sorted({key[:2] for key in power}):
        cells = [_number(power.get((auroc, items, count))) for count in templates]
        lines.append(f"| {auroc:.2f} | {items} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _nulls(rows: Sequence[Row]) -> str:
    these = [row for row in _with(rows, "any_found") if row["coverage"] is None]
    these = [row for row in these if not _of_lancet(row)]
    return _table(these, ["verb", "null", "templates", "items", "sets", "any_found"])


def _lancet(rows: Sequence[Row]) -> str:
    lines = []
    for row in filter(_of_lancet, rows):
        if row["any_found"] is not None:
            lines.append(
                f"Twelve of {row['frames']} neutral phrases an arm, drawn and split at random, "
                f"{2 * row['items']} subjects: something is found in {_number(row['any_found'])} "
                f"of {row['sets']} data sets."
            )
        elif "found" in row:
            counts = row["found"]
            lines.append(
                f"Real stained glass with its hard negative, {2 * row['templates']} phrases an "
                f"arm: of 20 text neurons {', '.join(map(str, counts))} are found in "
                f"{row['sets']} splits; twelve or more in {sum(n >= 12 for n in counts)} of them."
            )
    return "\n\n".join(lines)


def _intervals(rows: Sequence[Row]) -> str:
    """By verb and structure: the range of coverage, and the mean widths."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in _with(rows, "coverage"):
        key = (row["verb"], row["null"], row["templates"], row["items"])
        groups.setdefault(key, []).append(row)
    lines = [
        "| verb | data sets | J | I | sets | coverage | mean width |",
        "|---|---|---|---|---|---|---|",
    ]
    for (verb, null, templates, items), these in groups.items():
        named = [f"{row['planted']:.2f}: " if row["planted"] else "" for row in these]
        covered, widths = (
            ", ".join(
                f"{label}{_number(row[figure])}" for label, row in zip(named, these, strict=True)
            )
            for figure in ("coverage", "width")
        )
        cells = (verb, null, _number(templates), items, these[0]["sets"], covered, widths)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _planted(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["null"] == "planted"]


def _with(rows: Sequence[Row], figure: str) -> list[Row]:
    return [row for row in rows if row[figure] is not None]


def _of_lancet(row: Row) -> bool:
    return str(row["null"]).startswith("Lancet")


def _drawn(row: Row) -> bool:
    return not _of_lancet(row) and row["coverage"] is None


TITLES = {"templates": "J", "items": "I", "null": "data sets", "any_found": "any finding"}


def _table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    lines = [
        "| " + " | ".join(TITLES.get(column, column) for column in columns) + " |",
        "|" + "---|" * len(columns),
    ]
    lines += ["| " + " | ".join(_number(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    picture()
