"""The report: one HTML file that needs nothing else, and `results.json` with every figure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from clerestory.errors import TableError
from clerestory.io.reading import path_inside, read_bytes, read_text
from clerestory.io.writing import atomic_file
from clerestory.reporting.escaping import to_json
from clerestory.reporting.pages import environment
from clerestory.studies.results import RESULTS, TASKS, StudyResult
from clerestory.studies.tasks import Claim, Task

__all__ = ["render_report", "write_report"]

REPORT = "report.html"


def write_report(result: StudyResult) -> Path:
    """Write `results.json` and `report.html` into the study's folder; the path of the report.

    Args:
        result: The result, whose folder exists.

    Returns:
        The path of `report.html`.
    """
    content = result.to_dict()
    # The figures first: a report that fails to render leaves them readable.
    texts = {RESULTS: to_json(content) + "\n", REPORT: render_report(result, content)}
    for name, text in texts.items():
        with atomic_file(result.folder / name) as part:
            part.write_text(text, "utf-8")
    return result.folder / REPORT


def render_report(result: StudyResult, content: Mapping[str, Any]) -> str:
    """The report as HTML, with all text from files, prompts and names escaped.

    Args:
        result: The result.
        content: Its `to_dict()`.

    Returns:
        HTML.
    """
    headline = set(result.study.headline)

    def sections(include: Callable[[str, Task], bool]) -> list[dict[str, Any]]:
        # A task without anything to show has no section; its figures are in `results.json`.
        keys = (key for key, run in result.tasks.items() if include(key, run.task))
        return [_section(result, key) for key in keys if result.tasks[key].result.has_content]

    pages = environment("clerestory.studies")
    pages.filters["interval"] = _interval
    return pages.get_template("report.html").render(
        content=content,
        illustrations=sections(lambda key, task: task.illustrates),
        headline=sections(lambda key, task: key in headline),
        others=sections(lambda key, task: key not in headline and not task.illustrates),
    )


def _section(result: StudyResult, key: str) -> dict[str, Any]:
    run, folder = result.tasks[key], result.folder / TASKS / key
    return {
        "key": key,
        "run": run,
        "method": run.task.method(),
        "pictures": [
            {
                "title": block.title,
                "columns": block.columns,
                "rows": [
                    (caption, [_data_url(folder, file) for file in files])
                    for caption, files in block.rows
                ],
            }
            for block in run.result.pictures
        ],
        "charts": [
            # An SVG is markup: escaped, it would be shown as text.
            (title, Markup(read_text(path_inside(folder, file, TableError), TableError)))
            for title, file in run.result.charts
        ],
    }


def _data_url(folder: Path, file: str) -> str:
    raw = read_bytes(path_inside(folder, file, TableError), TableError)
    return "data:image/png;base64," + base64.b64encode(raw).decode()


def _interval(claim: Claim) -> dict[str, float] | None:
    """Where an interval lies on a line from -1 or 0 to 1, in percent; None if it does not."""
    if claim.figure is None or claim.low is None or claim.high is None:
        return None
    # Differences lie on a line from −1, rates and shares on one from 0.
    start = -1.0 if claim.low < 0 else 0.0
    if claim.low < -1 or claim.high > 1:
        return None
    low, figure, high = (
        100 * (value - start) / (1 - start) for value in (claim.low, claim.figure, claim.high)
    )
    # A width of zero would not be seen.
    width = max(high - low, 0.4)
    return {"low": low, "figure": figure, "width": width, "zero": 50.0 if start else 0.0}
