"""`clerestory study`: questions written down, answered end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.studies import Forecast

__all__ = ["app"]

app = typer.Typer(help="Questions written down, answered end to end.", no_args_is_help=True)
_Name = Annotated[str, typer.Argument(help="A built-in study, or a file that ends in .toml.")]
_Scale = Annotated[Literal["quick", "full"], typer.Option(help="How much is drawn.")]


@app.callback()
def study() -> None:
    """Questions written down, answered end to end."""


@app.command()
@takes_model
def run(
    name: _Name,
    model: ModelOptions,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report and steps; by default NAME-SCALE.")
    ] = None,
    scale: _Scale = "quick",
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CLASSIFIER, in place of the study's. As often as you like."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on with what a stopped or an earlier run left in the folder.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="results.json, to stdout.")] = False,
) -> None:
    """Answer a study's question about a model: report.html, results.json and steered models.

    Each step is kept in the folder by what it depends on. The same command goes on where it was
    stopped; after a change of the file the changed steps are run again, and what rests on them.
    """
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder
    from clerestory.studies import Study, answer, forecast, told, write
    from clerestory.studies import run as answered
    from clerestory.studies.runner import check_free

    chosen, judges = Study.load(name, scale), _judges(classifier or [])
    folder = out or _folder(chosen.name, scale, model.name)
    if not dry_run:
        (check_free if resume else free_folder)(folder)
    opened = model.open()
    if dry_run:
        _forecast(forecast(chosen, opened, judges), as_json)
        return
    with console.progress_bars() as tell:
        ran = answered(
            chosen, opened, folder, classifiers=judges, progress=tell, announce=console.status
        )
    report = write(ran)
    if as_json:
        console.write_json(told(ran))
    console.write("\n".join(answer(ran)), err=as_json)
    console.write(f"The report is {report}", err=as_json)


@app.command("list")
def listing(
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, to stdout.")] = False,
) -> None:
    """The studies that come with Clerestory, and what they ask."""
    from clerestory.cli import console
    from clerestory.studies import built_in

    studies = built_in()
    if as_json:
        console.write_json([{"name": one.name, "question": one.question} for one in studies])
        return
    for one in studies:
        console.write(f"{one.name}: {one.question}")


@app.command()
@validated
def show(
    name: _Name,
    scale: _Scale = "quick",
    as_json: Annotated[bool, typer.Option("--json", help="The whole plan, to stdout.")] = False,
) -> None:
    """What a study asks and how it goes about it, step by step."""
    from clerestory.cli import console
    from clerestory.studies import Study

    chosen = Study.load(name, scale)
    if as_json:
        console.write_json(chosen.model_dump(mode="json"))
        return
    console.write(f"{chosen.name}, {scale}: {chosen.question}")
    for key, step in chosen.plan.items():
        gate = (
            f" Only if all that {' and '.join(step.only_if)} claims holds." if step.only_if else ""
        )
        console.write(f"\n{key}\n  {step.method()}{gate}")
    console.write(f"\nThe verdict rests on {', '.join(chosen.headline)}.")


@app.command()
@validated
def new(
    name: Annotated[str, typer.Argument(help="Of the study: small letters, digits, dashes.")],
    like: Annotated[
        str | None, typer.Option(help="A built-in study to begin from, instead of a short one.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The file; by default NAME.toml, here.")] = None,
) -> None:
    """Begin a study of your own: a file to edit, which runs as it is."""
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.io.outputs import new_file, whole_file
    from clerestory.studies import begun

    text = begun(name, like)
    if out is not None and out.suffix != ".toml":
        raise OutputError(f"--out is {str(out)!r}; a study's file must end in .toml.")
    path = new_file(out or Path(f"{name}.toml"))
    with whole_file(path) as part:
        part.write_text(text, "utf-8")
    console.write(f"{path} is a study that runs as it is: read it, change it, then")
    console.write(f"  clerestory study run {path} --dry-run")


def _folder(name: str, scale: str, model: str | None) -> Path:
    """Where a run goes unless it is said: each model and scale apart."""
    from clerestory.reporting.pictures import slug

    return Path("-".join([name, *([] if model is None else [slug(model)]), scale]))


def _judges(given: list[str]) -> dict[str, str]:
    from clerestory.errors import OptionError

    told = {}
    for one in given:
        name, equals, judge = one.partition("=")
        if not (name and equals and judge):
            raise OptionError(
                f"--classifier is {one!r}; give NAME=CLASSIFIER, NAME as in the study."
            )
        told[name] = judge
    return told


def _forecast(found: Forecast, as_json: bool) -> None:
    from clerestory.cli import console

    told = found.told()
    if as_json:
        console.write_json(told)
        return
    rows: list[dict[str, Any]] = [
        {
            "step": key,
            "pictures": f"{one['pictures']:,}",
            "prompts read": f"{one['read'] + one['text']:,}",
            "minutes": f"{one['seconds'] / 60:.1f}",
            "disk": f"{one['disk'] / 1e6:,.0f} MB",
        }
        for key, one in told["steps"].items()
    ]
    import pandas as pd

    console.write_table(pd.DataFrame(rows))
    console.write(
        f"Together {told['pictures']:,} pictures, about {told['seconds'] / 60:.0f} minutes here, "
        f"{told['disk'] / 1e6:,.0f} MB on disk; {told['memory'] / 1e9:.1f} GB of memory so far."
    )
