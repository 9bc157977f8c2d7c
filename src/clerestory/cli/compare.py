"""`clerestory compare`: do the words of a search draw a concept better than a template?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli import options
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

__all__ = ["compare"]

_SeedsPerItem = Annotated[int, option("Number of seeds of each item, its own.", min=1)]
_Placement = Annotated[str, option("Template of the found words, with {words} and {item}.")]


@takes_model
def compare(
    search: Annotated[Path, argument("Folder written by `maximize --out`.")],
    target: options.Target,
    template: Annotated[str, argument("Template with the concept: `a stained glass of {item}`.")],
    model: ModelOptions,
    items: options.ItemFile = None,
    count: Annotated[int, option("Number of items to draw.", min=2)] = 24,
    seeds_per_item: _SeedsPerItem = 2,
    seeds: options.ItemSeeds = None,
    best: Annotated[int, option("Number of prompts of the search to compare.", min=1)] = 3,
    placement: _Placement = "{item}, {words}",
    steered: Annotated[Path | None, option("Folder of a steered model to compare.")] = None,
    out: options.OptionalNewFolder = None,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Draw the same items with the words of a search, with a template, and with a steered model.

    Evaluation classifiers count how often the target is drawn and what else is preserved.
    """
    from clerestory.cli import console
    from clerestory.maximization import compare as compare_prompts
    from clerestory.models import parse_seeds
    from clerestory.steering import SteeredModel

    seed_numbers = parse_seeds(seeds) if seeds else None
    opened = model.open()
    with console.progress_bars() as progress:
        result = compare_prompts(
            opened,
            search,
            target,
            template,
            items=items,
            count=count,
            seeds_per_item=seeds_per_item,
            seeds=seed_numbers,
            best=best,
            placement=placement,
            steered=None if steered is None else SteeredModel.load(steered, opened),
            cache=cache,
            progress=progress,
        )
    if out is not None:
        result.save(out)
        console.status(f"The result, with a sheet of pictures, is in {out}.")
    console.write_result(result, json=json)
