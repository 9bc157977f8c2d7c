"""`clerestory study`: questions written down, answered end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.opening import Asked, with_model

__all__ = ["app"]

app = typer.Typer(help="Questions written down, answered end to end.", no_args_is_help=True)


@app.callback()
def study() -> None:
    """Questions written down, answered end to end."""


@app.command()
@with_model
def run(
    name: Annotated[str, typer.Argument(help="A built-in study, or a file that ends in .toml.")],
    out: Annotated[Path, typer.Option(help="Folder for the report; must be empty or absent.")],
    model: Asked,
    as_json: Annotated[bool, typer.Option("--json", help="results.json, to stdout.")] = False,
) -> None:
    """Answer a study's question about a model: report.html, results.json and the steered model."""
    from clerestory.cli import console
    from clerestory.outputs import free_folder
    from clerestory.study import Definition, plan
    from clerestory.study import run as answer

    chosen = Definition.load(name)
    free_folder(out)
    opened = model.open()
    console.say(str(plan(chosen, opened)))
    with console.stages() as progress:
        results = answer(chosen, opened, out, progress=progress)
    if as_json:
        console.emit(results.told())
    console.tell(results.answer, err=as_json)
    console.tell(f"The report is {out / 'report.html'}", err=as_json)


@app.command("list")
def listing(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, to stdout.")] = False,
) -> None:
    """The studies that come with Clerestory, and what they ask."""
    from clerestory.cli import console
    from clerestory.study.definition import built_in

    studies = built_in()
    if as_json:
        console.emit([{"name": one.name, "question": one.question} for one in studies])
        return
    for one in studies:
        console.tell(f"{one.name}: {one.question}")
