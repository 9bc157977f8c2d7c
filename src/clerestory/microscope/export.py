"""A microscope as files: static pages without forms, or what Neuronpedia imports."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

from clerestory.io.writing import make_empty_folder
from clerestory.microscope.copying import copy_folder
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.rendering import STATIC, Renderer
from clerestory.microscope.themes import Theme, Themes
from clerestory.microscope.views import PAGE, SORTS, Views

__all__ = ["neuronpedia", "site"]

Progress = Callable[[str, int, int], None]
TOKENS = re.compile(r"\s*\S+")
KINDS = {
    "searched": (".png",),
    "studies": (".html", ".json", ".png", ".jpg", ".csv"),
}
"""Files that are copied."""
SEAL = (
    '<meta http-equiv="Content-Security-Policy" '
    "content=\"default-src 'none'; img-src 'self' data: file:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'\">"
)
BATCH = 1024
"""Units of a file."""


def site(folder: Path, out: Path, progress: Progress | None = None) -> Path:
    """Write every page to a new folder, with a `.json` beside each; the first page.

    Args:
        folder: The folder of a microscope.
        out: A new or empty folder.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        The path of the first page, `index.html`.

    Raises:
        OutputError: The folder holds something else.
        RecordingError: There is no microscope in `folder`.
    """
    make_empty_folder(out)
    microscope = Microscope(folder)
    views = Views(microscope, Themes(folder / "themes.sqlite"))
    for name, kinds in KINDS.items():
        if (folder / name).is_dir():
            copy_folder(folder / name, out / name, kinds)
    for report in (out / "studies").rglob("*"):
        if report.suffix.lower() == ".html":
            _seal(report)
    _pictures(microscope, out)
    (out / "static").mkdir()
    shutil.copy(STATIC / "microscope.css", out / "static")
    sites = microscope.sites.values()
    total = sum(one.units - len(SORTS) * (-one.units // PAGE) for one in sites) + 2
    render = Renderer(microscope.model)
    for completed, (path, template, data) in enumerate(_pages(views), 1):
        _write(out, render, path, template, data)
        if progress is not None and completed % 50 == 0:
            progress("writing pages", completed, total)
    start = out / "index.html"
    start.write_text(
        f'<!doctype html><meta charset="utf-8"><title>Clerestory</title>'
        f'<meta http-equiv="refresh" content="0; url={quote(microscope.model)}/index.html">'
        f'<a href="{quote(microscope.model)}/index.html">The microscope</a>\n',
        "utf-8",
    )
    return start


def _seal(report: Path) -> None:
    """A report may have come from anybody: in it no script runs, and nothing else is asked for."""
    text = report.read_text("utf-8", errors="replace")
    # A policy of the report's own could not loosen this one, but a refresh would lead elsewhere.
    text = re.sub("http-equiv", "data-was", text, flags=re.IGNORECASE)  # nor is it left for another
    report.write_text(f'<!doctype html><meta charset="utf-8">{SEAL}{text}', "utf-8")


def _pictures(microscope: Microscope, out: Path) -> None:
    """Copy those that pages may show: what is kept for blind tests stays unseen."""
    for number in range(len(microscope.plan["recordings"])):
        for sample, shown in enumerate(microscope.shown(number)):
            picture = microscope.picture(number, sample)
            if shown and picture is not None:
                (out / picture).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(microscope.folder / picture, out / picture)


def _pages(views: Views) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, template and data of every page."""
    yield views.microscope.model, "model", views.model()
    yield "studies", "studies", views.studies()
    for one in views.microscope.sites.values():
        for sort, page in product(SORTS, range(-(-one.units // PAGE))):
            path = views.path(one.address) + ("" if sort == "number" else f"/by-{sort}")
            path += f"/page-{page}" if page else ""
            yield path, "site", views.site(one.address, sort, page)
        for number in range(one.units):
            unit = Unit(one, number)
            yield views.path(unit.path), "unit", views.unit(unit)


def _write(out: Path, render: Renderer, path: str, template: str, data: dict[str, Any]) -> None:
    folder = out / path
    folder.mkdir(parents=True, exist_ok=True)
    # Relative addresses: the pages work from a disk and under any address.
    up = "../" * (path.count("/") + 1)

    def url(to: str) -> str:
        is_file = to.startswith(("pictures/", "searched/", "static/", "studies/"))
        return up + quote(to if is_file else f"{to}/index.html", safe="/")

    (folder / "index.html").write_text(render(template, **data, url=url), "utf-8")
    text = json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / "index.json").write_text(text, "utf-8")


def neuronpedia(folder: Path, out: Path, progress: Progress | None = None) -> Path:
    """Write units, activations and themes as Neuronpedia's exports have them.

    `features/batch-N.jsonl.gz`, `activations/…` and `explanations/…`, a line a row, with its names:
    a site is a `layer`, prompts are cut at blanks into `tokens`, and since a value is one of a
    whole prompt it stands at the last token, zeros before it. Themes are `explanations` by a human.

    Args:
        folder: The folder of a microscope.
        out: A new or empty folder.
        progress: A callback of (label, completed, total); None for silence.

    Returns:
        `out`.

    Raises:
        OutputError: The folder holds something else.
        RecordingError: There is no microscope in `folder`.
    """
    make_empty_folder(out)
    microscope = Microscope(folder)
    views = Views(microscope, Themes(folder / "themes.sqlite"))
    themes: dict[str, list[Theme]] = {}
    for theme in views.themes.every():
        themes.setdefault(theme.unit, []).append(theme)
    batch: dict[str, list[dict[str, Any]]] = {}
    units = list(microscope.units())
    for completed, unit in enumerate(units, 1):
        for kind, rows in _rows(views, unit, themes.get(unit.address, [])).items():
            batch.setdefault(kind, []).extend(rows)
        if completed % BATCH == 0 or completed == len(units):
            for kind, rows in batch.items():
                path = out / kind / f"batch-{(completed - 1) // BATCH}.jsonl.gz"
                path.parent.mkdir(exist_ok=True)
                with gzip.open(path, "wt", encoding="utf-8") as file:
                    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            batch = {}
            if progress is not None:
                progress("writing units", completed, len(units))
    return out


def _rows(views: Views, unit: Unit, themes: list[Theme]) -> dict[str, list[dict[str, Any]]]:
    data = views.unit(unit)
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
        "pos_str": [one["word"] for one in data["words"]["up"]],
        "pos_values": [one["effect"] for one in data["words"]["up"]],
        "neg_str": [one["word"] for one in data["words"]["down"]],
        "neg_values": [one["effect"] for one in data["words"]["down"]],
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
    # The value is of the whole prompt, which the format cannot say; the last token has read all
    # others.
    values = [0.0] * (len(tokens) - 1) + [sample["value"]]
    return {
        **key,
        "tokens": tokens,
        "values": values,
        "maxValue": sample["value"],
        "minValue": min(values),
        "maxValueTokenIndex": len(tokens) - 1,
    }
