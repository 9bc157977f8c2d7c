"""Exports a microscope: static pages without forms, or rows in Neuronpedia's format."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clerestory.io.writing import make_empty_folder
from clerestory.microscope.copying import copy_folder
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.rendering import STATIC, Renderer
from clerestory.microscope.themes import Theme, Themes, by_unit
from clerestory.microscope.views import DEFAULT_SORT, PAGE, SORTS, Views
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["neuronpedia", "site"]

TOKENS = re.compile(r"\s*\S+")
"""A word with the blanks before it, which Neuronpedia shows as a token."""
COPIED_TYPES = {
    "searched": (".png",),
    "studies": (".html", ".json", ".png", ".jpg", ".csv"),
}
"""Types of files that are copied, by folder."""
POLICY = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'\">"
)
BATCH = 1024
"""Units in a file."""


def site(folder: Path, out: Path, progress: ProgressOption = True) -> Path:
    """Write every page and its `.json` twin to a new folder.

    Args:
        folder: The folder of a microscope.
        out: A new or empty folder.
        progress: True for progress bars, or a callback.

    Returns:
        The path of the first page, `index.html`.

    Raises:
        OutputError: The folder holds something else.
        RecordingError: There is no microscope in `folder`.
    """
    views = _open(folder, out)
    microscope = views.microscope
    for name, types in COPIED_TYPES.items():
        if (folder / name).is_dir():
            copy_folder(folder / name, out / name, types)
    for report in (out / "studies").rglob("*"):
        # In any case of letters: a browser opens `.HTML` too.
        if report.suffix.lower() == ".html":
            _add_policy(report)
    _copy_pictures(microscope, out)
    # Only the style sheet: static pages have no forms and need no scripts.
    (out / "static").mkdir()
    shutil.copy(STATIC / "microscope.css", out / "static")
    render = Renderer(microscope.model)
    with progress_bars(progress) as report_progress:
        total = _page_count(microscope)
        for completed, (path, template, data) in enumerate(_pages(views), 1):
            _write(out, render, path, template, data)
            report_progress("writing pages", completed, total)
    start = out / "index.html"
    start.write_text(
        f'<!doctype html><meta charset="utf-8"><title>Clerestory</title>'
        f'<meta http-equiv="refresh" content="0; url={quote(microscope.model)}/index.html">'
        f'<a href="{quote(microscope.model)}/index.html">The microscope</a>\n',
        "utf-8",
    )
    return start


def _open(folder: Path, out: Path) -> Views:
    """The views of a microscope, after `out` was checked to be empty."""
    make_empty_folder(out)
    return Views(Microscope(folder), Themes(folder / "themes.sqlite"))


def _add_policy(report: Path) -> None:
    """Forbid scripts and requests in a report, which may come from anybody."""
    text = report.read_text("utf-8", errors="replace")
    # A second policy cannot loosen the first, but a refresh could lead to another page.
    # In any case of letters, as browsers read attributes.
    text = re.sub("http-equiv", "data-was", text, flags=re.IGNORECASE)
    report.write_text(f'<!doctype html><meta charset="utf-8">{POLICY}{text}', "utf-8")


def _copy_pictures(microscope: Microscope, out: Path) -> None:
    """Copy the pictures that pages may show; held-out ones stay unseen for blind tests."""
    for number in range(len(microscope.plan.recordings)):
        for sample, is_visible in enumerate(microscope.visible(number)):
            picture = microscope.picture(number, sample)
            if is_visible and picture is not None:
                (out / picture).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(microscope.folder / picture, out / picture)


def _pages(views: Views) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, template and data of every page."""
    yield views.microscope.model, "model", views.model()
    yield "studies", "studies", views.studies()
    for each in views.microscope.sites.values():
        for sort, page in product(SORTS, range(-(-each.units // PAGE))):
            path = views.path(each.address) + ("" if sort == DEFAULT_SORT else f"/by-{sort}")
            path += f"/page-{page}" if page else ""
            yield path, "site", views.site(each.address, sort, page)
        for number in range(each.units):
            unit = Unit(each, number)
            yield views.path(unit.path), "unit", views.unit(unit)


def _page_count(microscope: Microscope) -> int:
    """The number of `_pages`: model, studies, every unit, and the pages of sites in each order."""
    units = [each.units for each in microscope.sites.values()]
    # Counted without building the pages, which takes minutes.
    return 2 + sum(units) + len(SORTS) * sum(-(-count // PAGE) for count in units)


def _write(out: Path, render: Renderer, path: str, template: str, data: dict[str, Any]) -> None:
    folder = out / path
    folder.mkdir(parents=True, exist_ok=True)
    # Relative addresses, so that pages work from a disk and under any address.
    up = "../" * (path.count("/") + 1)

    def url(target: str) -> str:
        is_file = target.startswith(("pictures/", "searched/", "static/", "studies/"))
        return up + quote(target if is_file else f"{target}/index.html", safe="/")

    (folder / "index.html").write_text(render(template, **data, url=url), "utf-8")
    text = json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "index.json").write_text(text, "utf-8")


def neuronpedia(folder: Path, out: Path, progress: ProgressOption = True) -> Path:
    """Write units, activations and themes in the format of Neuronpedia's exports.

    The files are `features/batch-N.jsonl.gz`, `activations/…` and `explanations/…`, with a line a
    row. A site is a `layer`; prompts are split at blanks into `tokens`; the value of a prompt is at
    its last token, after zeros; and themes are `explanations` by a human.

    Args:
        folder: The folder of a microscope.
        out: A new or empty folder.
        progress: True for progress bars, or a callback.

    Returns:
        `out`.

    Raises:
        OutputError: The folder holds something else.
        RecordingError: There is no microscope in `folder`.
    """
    views = _open(folder, out)
    themes = by_unit(views.themes.all())
    units = list(views.microscope.units())
    with progress_bars(progress) as report_progress:
        for number, start in enumerate(range(0, len(units), BATCH)):
            batch: dict[str, list[dict[str, Any]]] = {}
            for completed, unit in enumerate(units[start : start + BATCH], start + 1):
                for kind, rows in _rows(views, unit, themes.get(unit.address, [])).items():
                    batch.setdefault(kind, []).extend(rows)
                report_progress("writing units", completed, len(units))
            for kind, rows in batch.items():
                # Neuronpedia imports files of a limited number of rows.
                path = out / kind / f"batch-{number}.jsonl.gz"
                path.parent.mkdir(exist_ok=True)
                with gzip.open(path, "wt", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return out


def _rows(views: Views, unit: Unit, themes: list[Theme]) -> dict[str, list[dict[str, Any]]]:
    data = views.unit(unit)
    # Neuronpedia's layers are parts of addresses and cannot hold a slash.
    key = {"modelId": data["model"], "layer": data["site"].replace("/", "--")}
    key["index"] = str(data["number"])
    low, high, counts = data["low"], data["high"], data["histogram"]["counts"]
    width = (high - low) / len(counts)
    feature = {
        **key,
        "sourceSetName": data["stage"],
        "hookName": data["site"],
        "maxActApprox": high,
        "frac_nonzero": float((unit.figure("values") != 0).mean()),
        "freq_hist_data_bar_values": [low + (at + 0.5) * width for at in range(len(counts))],
        "freq_hist_data_bar_heights": counts,
        "pos_str": [entry["word"] for entry in data["words"]["up"]],
        "pos_values": [entry["effect"] for entry in data["words"]["up"]],
        "neg_str": [entry["word"] for entry in data["words"]["down"]],
        "neg_values": [entry["effect"] for entry in data["words"]["down"]],
    }
    return {
        "features": [feature],
        "activations": [_activation(key, sample) for sample in data["most"]],
        "explanations": [
            {
                **key,
                "id": theme.key,
                "description": theme.text,
                "typeName": "human",
                "authorId": theme.rater,
                "notes": theme.note,
                "createdAt": theme.created_at,
            }
            for theme in themes
        ],
    }


def _activation(key: dict[str, str], sample: dict[str, Any]) -> dict[str, Any]:
    tokens = TOKENS.findall(sample["prompt"]) or [""]
    # The format has no value of a whole prompt; the last token is the one that depends on all.
    values = [0.0] * (len(tokens) - 1) + [sample["value"]]
    return {
        **key,
        "tokens": tokens,
        "values": values,
        "maxValue": sample["value"],
        "minValue": min(values),
        "maxValueTokenIndex": len(tokens) - 1,
    }
