"""`clerestory compare`: do found words draw a concept better than saying it does?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["compare"]

APART = 1_000
"""Lancet's contents before these may have built the steered model that competes."""


@takes_model
def compare(
    folder: Annotated[Path, typer.Argument(help="What `maximize --out` wrote.")],
    concept: Annotated[str, typer.Argument(help="CLASSIFIER=CLASS, as lancet:mood=scared.")],
    said: Annotated[str, typer.Argument(help="The words: `a stained glass of {x}`.")],
    model: ModelOptions,
    contents: Annotated[
        Path | None, typer.Option(help="A file with a content a line; Lancet has its own.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Contents to draw.")] = 24,
    seeds: Annotated[str, typer.Option(help="Noises: 0:2.")] = "0:2",
    best: Annotated[int, typer.Option(min=1, help="Found prompts that compete.")] = 3,
    put: Annotated[str, typer.Option(help="Where found words stand.")] = "{x}, {found}",
    steered: Annotated[
        Path | None, typer.Option(help="A steered model that competes, its folder.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the sheet of pictures.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Draw the same contents by found words, by the words themselves, and by a steered model.

    Classifiers of set b tell how often the concept is there and how much of the rest is kept.
    """
    from clerestory.classifiers import condition
    from clerestory.cli import console
    from clerestory.cli.items import contents_of
    from clerestory.evaluation.outcomes import Panel
    from clerestory.io.outputs import free_folder, whole_folder
    from clerestory.maximization.compare import compare as compete
    from clerestory.maximization.compare import found_words, rows_of
    from clerestory.models import parse_seeds
    from clerestory.reporting.pictures import grid, save
    from clerestory.steering import SteeredModel

    if out is not None:
        free_folder(out)
    numbers, (judge, shows) = parse_seeds(seeds), condition(concept)
    panel, words = Panel.of(judge, shows), found_words(folder, best)
    opened = model.open()
    chosen = contents_of(opened, contents, judge, count, start=APART if contents is None else 0)
    edits = () if steered is None else SteeredModel.load(steered, opened).edits
    with console.progress_bars() as tell:
        came = compete(
            opened,
            words,
            panel,
            said=said,
            contents=chosen,
            seeds=numbers,
            put=put,
            steered=edits,
            progress=tell,
        )
    if out is not None:
        shown = [picture for one in came for picture in one.pictures[:8, 0]]
        with whole_folder(out) as part:
            save(grid(shown, columns=min(8, len(chosen))), part / "compare.png")
        console.status(f"Pictures, a row for each way, are in {out / 'compare.png'}.")
    if json:
        console.write_json([one.told() for one in came])
        return
    import pandas as pd

    console.write_table(pd.DataFrame([rows_of(one) for one in came]))
