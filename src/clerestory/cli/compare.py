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
    search: Annotated[Path, typer.Argument(help="A folder that `maximize --out` wrote.")],
    target: Annotated[str, typer.Argument(help="CLASSIFIER=LABEL, as lancet:mood=scared.")],
    template: Annotated[str, typer.Argument(help="How to say it: `a stained glass of {item}`.")],
    model: ModelOptions,
    items: Annotated[
        Path | None, typer.Option(help="A file with an item a line; the model's own otherwise.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Items to draw.")] = 24,
    seeds: Annotated[str, typer.Option(help="Seeds of each item: 0:2.")] = "0:2",
    best: Annotated[int, typer.Option(min=1, help="Prompts of the search that take part.")] = 3,
    placement: Annotated[
        str, typer.Option(help="Where the words that were found stand.")
    ] = "{item}, {words}",
    steered: Annotated[
        Path | None, typer.Option(help="The folder of a steered model that takes part.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the result.")] = None,
    cache: CacheFlag = True,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Draw the same items by words that were found, by the usual words, and by a steered model.

    Evaluation classifiers count how often the target is drawn and what else is preserved.
    """
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder
    from clerestory.maximization import compare as compare_prompts
    from clerestory.models import parse_seeds
    from clerestory.steering import SteeredModel

    if out is not None:
        free_folder(out)
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
