"""`clerestory study`: questions in TOML files, answered end to end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clerestory.cli import options
from clerestory.cli.arguments import parse_pairs, validated
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.studies import Forecast

__all__ = ["app"]

app = typer.Typer(
    help="Studies: questions in TOML files, answered end to end.", no_args_is_help=True
)
_Name = Annotated[str, argument("A built-in study, or a file that ends in .toml.")]
_Scale = Annotated[Literal["quick", "full"], option("Scale of the study.")]
_Out = Annotated[Path | None, option("Folder for the report and tasks; default: NAME-SCALE.")]
_Classifier = Annotated[
    list[str] | None, option("NAME=CLASSIFIER, to replace the study's; repeatable.")
]


@app.callback()
def study() -> None:
    """Studies: questions in TOML files, answered end to end."""


@app.command()
@takes_model
def run(
    name: _Name,
    model: ModelOptions,
    out: _Out = None,
    scale: _Scale = "quick",
    classifier: _Classifier = None,
    dry_run: options.DryRun = False,
    resume: Annotated[bool, option("Resume from the results in the folder.")] = True,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Answer a study's question about a model: report.html, results.json and steered models.

    The same command resumes an interrupted run. After a change of the file it reruns the changed
    tasks and those that depend on them.
    """
    from clerestory.cli import console, interrupts
    from clerestory.io.writing import check_empty_folder
    from clerestory.studies import Study, forecast, run_study, write_report
    from clerestory.studies.runner import check_folder

    study, classifiers = Study.load(name, scale), parse_pairs("--classifier", classifier or ())
    folder = out or _default_folder(study.name, scale, model.name)
    # A forecast writes nothing: no folder is refused.
    if not dry_run:
        # Before the model is loaded.
        (check_folder if resume else check_empty_folder)(folder)
    opened = model.open()
    if dry_run:
        _write_forecast(forecast(study, opened, classifiers), json=json)
        return
    with interrupts.resumable(folder), console.progress_bars() as progress:
        result = run_study(
            study,
            opened,
            folder,
            classifiers=classifiers,
            cache=cache,
            progress=progress,
            announce=console.status,
        )
        report = write_report(result)
    if json:
        console.write_json(result.to_dict())
    # With --json, stdout is one JSON value and nothing else.
    console.write("\n".join(result.answer()), err=json)
    console.write(f"The report is {report}", err=json)


@app.command("list")
@validated
def list_studies(json: options.JsonFlag = False) -> None:
    """List the studies of installed packages and their questions."""
    from clerestory.cli import console
    from clerestory.studies import built_in_studies

    studies = built_in_studies()
    if json:
        console.write_json([{"name": study.name, "question": study.question} for study in studies])
        return
    for study in studies:
        console.write(f"{study.name}: {study.question}")


@app.command()
@validated
def show(name: _Name, scale: _Scale = "quick", json: options.JsonFlag = False) -> None:
    """Print the question of a study and the methods of its tasks."""
    from clerestory.cli import console
    from clerestory.studies import Study

    study = Study.load(name, scale)
    if json:
        console.write_json(study.model_dump(mode="json"))
        return
    console.write(f"{study.name}, {scale}: {study.question}")
    for key, task in study.plan.items():
        required = " and ".join(task.requires_support)
        only = f" Only if every claim of {required} is supported." if required else ""
        console.write(f"\n{key}\n  {task.method()}{only}")
    console.write(f"\nThe answer depends on {', '.join(study.headline)}.")


@app.command()
@validated
def new(
    name: Annotated[str, argument("Name of the study: lowercase letters, digits and dashes.")],
    like: Annotated[str | None, option("Built-in study to copy; default: a short study.")] = None,
    out: Annotated[Path | None, option("File to write; default: NAME.toml.")] = None,
) -> None:
    """Write the file of a new study, ready to run."""
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.io.writing import atomic_file, prepare_new_file
    from clerestory.studies import new_study
    from clerestory.studies.new_study import missing_class

    text = new_study(name, like)
    if out is not None and out.suffix != ".toml":
        raise OutputError(f"--out is {str(out)!r}; a study's file must end in .toml.")
    path = prepare_new_file(out or Path(f"{name}.toml"))
    with atomic_file(path) as part:
        part.write_text(text, "utf-8")
    console.write(f"{path} is a study that runs as it is: read it, change it, then")
    console.write(f"  clerestory study run {path} --dry-run")
    if hint := None if like else missing_class(name):
        console.status(f"warning: {hint}")


def _default_folder(name: str, scale: str, model: str | None) -> Path:
    """The default folder of a run: each model and scale has its own."""
    from clerestory.reporting.pictures import slug

    return Path("-".join([name, *([] if model is None else [slug(model)]), scale]))


def _write_forecast(forecast: Forecast, *, json: bool) -> None:
    import pandas as pd

    from clerestory.cli import console

    content = forecast.to_dict()
    if json:
        console.write_json(content)
        return
    rows: list[dict[str, Any]] = [
        {
            "task": key,
            "pictures": f"{cost['pictures']:,}",
            "prompts read": f"{cost['read'] + cost['text']:,}",
            "minutes": f"{cost['seconds'] / 60:.1f}",
            "disk": f"{cost['disk'] / 1e6:,.0f} MB",
        }
        for key, cost in content["tasks"].items()
    ]
    console.write_table(pd.DataFrame(rows))
    console.write(
        f"Together {content['pictures']:,} pictures, about {content['seconds'] / 60:.0f} minutes "
        f"here, {content['disk'] / 1e6:,.0f} MB on disk; "
        f"{content['memory'] / 1e9:.1f} GB of memory so far."
    )
    for key, reason in content["left_out"].items():
        console.write(f"{key} will be left out: {reason}")
