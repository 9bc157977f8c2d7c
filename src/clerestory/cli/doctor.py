"""`clerestory doctor`: what a user runs first on a checkpoint of his own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model_argument
from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.diagnostics import Diagnosis

__all__ = ["doctor"]

_Prompts = Annotated[
    list[str] | None,
    option("Prompt to draw; a second one is what it is compared with.", "--prompt"),
]
_Steps = Annotated[int | None, option("Number of denoising steps. Default: 2.", min=1)]
_Size = Annotated[
    str | None,
    option("Picture size: `512`, or `768x512`. Default: a quarter of the model's, at least 256."),
]
MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("–", "dim")}
WIDTH = 110
"""Columns of the page where no terminal tells its own."""


@takes_model_argument
def doctor(
    model: ModelOptions,
    prompts: _Prompts = None,
    steps: _Steps = None,
    size: _Size = None,
    json: options.JsonFlag = False,
) -> None:
    """Check a checkpoint: what is promised of every model, tried on this one.

    Draws some ten small pictures and one for each stage: does it draw, are values finite, do
    reading and edits change what they name alone, are the branches the right ones, how long does
    it take? Exit status 1 where a check fails.
    """
    from clerestory.cli import console
    from clerestory.diagnostics import PROMPTS, Check, Diagnosis
    from clerestory.diagnostics import doctor as examine
    from clerestory.errors import ModelError, describe_error
    from clerestory.models import parse_size

    picture_size = {} if size is None else parse_size(size)
    try:
        opened = model.open()
    except ModelError as error:
        if not json:
            raise
        check = Check("opens", False, describe_error(error, 400))
        diagnosis = Diagnosis(model.name or "", "", "", (check,))
    else:
        settings: dict[str, Any] = {**picture_size, "steps": steps}
        settings = {name: value for name, value in settings.items() if value is not None}
        diagnosis = examine(opened, prompts or PROMPTS, progress=_report, **settings)
    if json:
        console.write_json(diagnosis.to_dict())
    else:
        _print_page(diagnosis)
    if not diagnosis.ok:
        raise typer.Exit(1)


def _report(label: str, completed: int, total: int) -> None:
    """A line for each run, before it begins."""
    from clerestory.cli import console

    if not completed:
        console.status(f"{label} …")


def _print_page(diagnosis: Diagnosis) -> None:
    import sys

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from clerestory.cli import console

    heading = f"{diagnosis.model} ({diagnosis.pipeline}, served as {diagnosis.family})"
    page = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    page.add_column(no_wrap=True)
    page.add_column(no_wrap=True)
    page.add_column(overflow="fold")
    for ok, names, detail in _rows(diagnosis):
        mark, style = MARKS[ok]
        page.add_row(Text(mark, style), Text(names), Text(console.plain(detail)))
    out = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    out.print(Text(console.plain(heading), "bold"))
    out.print(page)
    out.print(Text(console.plain(diagnosis.summary())))


def _rows(diagnosis: Diagnosis) -> list[tuple[bool | None, str, str]]:
    """Mark, name and detail of each check; several that one reason prevents are one row."""
    rows: list[tuple[bool | None, str, str]] = []
    names: dict[str, list[str]] = {}
    for check in diagnosis.checks:
        if check.ok is None:
            names.setdefault(check.detail, []).append(check.name)
    for check in diagnosis.checks:
        if check.ok is not None or not names[check.detail][1:]:
            rows.append((check.ok, check.name, check.detail))
        elif check.name == names[check.detail][0]:
            rows.append((None, "others", f"{', '.join(names[check.detail])}: {check.detail}"))
    return rows
