"""`clerestory familiarity`: does the model know this name, or fall back on the context?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli import options
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

__all__ = ["familiarity"]

_Controls = Annotated[
    Path | None,
    option("File with one unknown name per line, at least 99; default: invented names."),
]
_Contexts = Annotated[
    Path | None, option("File with one context per line, with {item} for the name.")
]
_Known = Annotated[
    Path | None, option("File with one name per line that the model knows; default: its profile's.")
]
_SeedsPerItem = Annotated[int, option("Number of seeds of each name, drawn for it alone.", min=1)]


@takes_model
def familiarity(
    phrase: Annotated[str, argument("Name to test.")],
    model: ModelOptions,
    controls: _Controls = None,
    contexts: _Contexts = None,
    classifiers: options.Classifiers = None,
    known: _Known = None,
    seeds_per_item: _SeedsPerItem = 2,
    seeds: Annotated[str | None, option("The same seeds for every name instead: `0:2`.")] = None,
    count: Annotated[int, option("Number of names to invent, at least 99.", min=1)] = 199,
    seed: Annotated[int, option("Random seed for invented names and seeds.", min=0)] = 0,
    out: options.ResumableFolder = None,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Compare a name's pictures with those of invented names.

    For a name that does not differ, the table lists what each context adds to invented names. With
    --out an interrupted call resumes, and other names share the invented names. Values are averaged
    over seeds.
    """
    import clerestory.recognition as recognition
    from clerestory.cli import console, interrupts
    from clerestory.models import parse_seeds
    from clerestory.recognition.results import phrase_folder

    templates = recognition.CONTEXTS if contexts is None else read_lines(contexts)
    names = None if controls is None else read_lines(controls)
    known_names = None if known is None else read_lines(known)
    explicit_seeds = None if seeds is None else parse_seeds(seeds)
    with interrupts.resumable(out), console.progress_bars() as progress:
        result = recognition.familiarity(
            model.open(),
            phrase,
            controls=names,
            contexts=templates,
            classifiers=classifiers,
            known=known_names,
            seeds_per_item=seeds_per_item,
            seeds=explicit_seeds,
            count=count,
            seed=seed,
            out=out,
            cache=cache,
            progress=progress,
        )
    if out is not None:
        console.status(f"The page is {phrase_folder(out, phrase) / 'familiarity.html'}.")
    if json:
        console.write_json(result.to_dict())
        return
    console.write(result.summary())
    # The table lists what contexts add, which matters where the name itself adds nothing.
    if result.verdict != "familiar":
        console.write_table(result.table())
