"""The report: one HTML file that needs nothing else, and `results.json` with every figure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clerestory.errors import TableError
from clerestory.io.outputs import whole_file
from clerestory.io.reading import inside, read_bytes, read_text
from clerestory.reporting.escaping import to_json
from clerestory.reporting.pages import environment
from clerestory.studies import verdict as answering
from clerestory.studies.runner import STEPS, Ran
from clerestory.studies.tasks import Claim, Show, Step

__all__ = ["page", "write"]


def write(ran: Ran) -> Path:
    """Write `results.json` and `report.html` into the study's folder; the report's path."""
    told = answering.told(ran)
    for name, text in (("results.json", to_json(told) + "\n"), ("report.html", page(ran, told))):
        with whole_file(ran.out / name) as part:
            part.write_text(text, "utf-8")
    return ran.out / "report.html"


def page(ran: Ran, told: Mapping[str, Any]) -> str:
    """The report as HTML; whatever comes from files, prompts and names is escaped."""
    rests = set(ran.study.headline)

    def sections(wanted: Callable[[str, Step], bool]) -> list[dict[str, Any]]:
        chosen = (key for key, done in ran.done.items() if wanted(key, done.step))
        return [_section(ran, key) for key in chosen if ran.done[key].came.tells]

    made = environment("clerestory.studies")
    made.filters["bar"] = _bar
    return made.get_template("report.html").render(
        told=told,
        shows=sections(lambda key, step: isinstance(step, Show)),
        rests=sections(lambda key, step: key in rests),
        others=sections(lambda key, step: key not in rests and not isinstance(step, Show)),
    )


def _section(ran: Ran, key: str) -> dict[str, Any]:
    done, folder = ran.done[key], ran.out / STEPS / key
    return {
        "key": key,
        "done": done,
        "method": done.step.method(),
        "strips": [
            {
                "title": one.title,
                "columns": one.columns,
                "rows": [(name, [_data(folder, file) for file in own]) for name, own in one.rows],
            }
            for one in done.came.strips
        ],
        "charts": [
            (title, Markup(read_text(inside(folder, file, TableError), TableError)))
            for title, file in done.came.charts
        ],
    }


def _data(folder: Path, file: str) -> str:
    raw = read_bytes(inside(folder, file, TableError), TableError)
    return "data:image/png;base64," + base64.b64encode(raw).decode()


def _bar(claim: Claim) -> dict[str, float] | None:
    """Where a rate's or an AUROC's interval lies on a line from -1 or 0 to 1, in percent."""
    if claim.figure is None or claim.low is None or claim.high is None:
        return None
    least = -1.0 if claim.low < 0 else 0.0
    if claim.low < -1 or claim.high > 1:
        return None
    low, at, high = (
        100 * (one - least) / (1 - least) for one in (claim.low, claim.figure, claim.high)
    )
    return {"low": low, "at": at, "width": max(high - low, 0.4), "zero": 50.0 if least else 0.0}
