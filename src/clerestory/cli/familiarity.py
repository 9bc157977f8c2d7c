"""`clerestory familiarity`: does the model know this name, or fall back on context?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.arguments import CacheFlag
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["familiarity"]


@takes_model
def familiarity(
    phrase: Annotated[str, typer.Argument(help="Name to test.")],
    model: ModelOptions,
    controls: Annotated[
        Path | None,
        typer.Option(
            help="File with one unknown name per line, at least 99; default: invented names."
        ),
    ] = None,
    contexts: Annotated[
        Path | None,
        typer.Option(help="File with one context per line, with {item} for the name."),
    ] = None,
    classifiers: Annotated[
        list[str] | None,
        typer.Option(help="Classifier of the pictures; repeatable. Default: the model's own."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Seeds per context, averaged first: 0:2.")] = "0:2",
    count: Annotated[
        int, typer.Option(min=1, help="Number of names to invent, at least 99.")
    ] = 199,
    seed: Annotated[int, typer.Option(min=0, help="Random seed for the invented names.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page and intermediate results.")
    ] = None,
    cache: CacheFlag = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Compare a name's pictures with those of invented names.

    For a name that does not differ, the table lists what each context adds to invented names. With
    --out an interrupted call resumes, and other names share the invented names.
    """
    import clerestory.recognition as recognition
    from clerestory.cli import console, interrupts
    from clerestory.models import parse_seeds
    from clerestory.recognition.results import phrase_folder

    templates = recognition.CONTEXTS if contexts is None else read_lines(contexts)
    names = None if controls is None else read_lines(controls)
    numbers = parse_seeds(seeds)
    with interrupts.resumable(out), console.progress_bars() as report:
        result = recognition.familiarity(
            model.open(),
            phrase,
            controls=names,
            contexts=templates,
            classifiers=classifiers,
            seeds=numbers,
            count=count,
            seed=seed,
            out=out,
            cache=cache,
            progress=report,
        )
    if out is not None:
        console.status(f"The page is {phrase_folder(out, phrase) / 'familiarity.html'}.")
    if json:
        console.write_json(result.to_dict())
        return
    console.write(result.summary())
    # What contexts add matters where the name adds nothing of its own.
    if result.verdict != "familiar":
        console.write_table(result.table())
