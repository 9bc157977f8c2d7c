"""`clerestory compare`: do words that a search found draw a concept better than saying it?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.arguments import CacheFlag
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["compare"]


@takes_model
def compare(
    search: Annotated[Path, typer.Argument(help="Folder written by `maximize --out`.")],
    target: Annotated[str, typer.Argument(help="CLASSIFIER=LABEL, such as lancet:mood=scared.")],
    template: Annotated[
        str, typer.Argument(help="Template with the concept: `a stained glass of {item}`.")
    ],
    model: ModelOptions,
    items: Annotated[
        Path | None, typer.Option(help="File with one item per line; default: the model's items.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Number of items to draw.")] = 24,
    seeds: Annotated[str, typer.Option(help="Seeds per item: 0:2.")] = "0:2",
    best: Annotated[
        int, typer.Option(min=1, help="Number of prompts of the search to compare.")
    ] = 3,
    placement: Annotated[
        str, typer.Option(help="Template of the found words, with {words} and {item}.")
    ] = "{item}, {words}",
    steered: Annotated[
        Path | None, typer.Option(help="Folder of a steered model to compare.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    cache: CacheFlag = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Draw the same items by words that were found, by the usual words, and by a steered model.

    Evaluation classifiers count how often the target is drawn and what else is preserved.
    """
    from clerestory.cli import console
    from clerestory.io.writing import check_empty_folder
    from clerestory.maximization import compare as compare_prompts
    from clerestory.models import parse_seeds
    from clerestory.steering import SteeredModel

    # Refused before the minutes of drawing, not after.
    if out is not None:
        check_empty_folder(out)
    numbers, opened = parse_seeds(seeds), model.open()
    with console.progress_bars() as progress:
        result = compare_prompts(
            opened,
            search,
            target,
            template,
            items=items,
            count=count,
            seeds=numbers,
            best=best,
            placement=placement,
            steered=None if steered is None else SteeredModel.load(steered, opened),
            cache=cache,
            progress=progress,
        )
    if out is not None:
        result.save(out)
        console.status(f"The result, with a sheet of pictures, is in {out}.")
    if json:
        console.write_json(result.to_dict())
        return
    console.write(result.summary())
    console.write_table(result.table())
