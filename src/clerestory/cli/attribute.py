"""`clerestory attribute`: what does each piece of a prompt add to a value?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clerestory.cli.arguments import CacheFlag
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["attribute"]


@takes_model
def attribute(
    prompt: Annotated[
        str, typer.Argument(help="Prompt with pieces in brackets: `[a name] with a [raven]`.")
    ],
    of: Annotated[
        list[str],
        typer.Option(
            help="Target: a unit, a folder of `find --out`, or CLASSIFIER=LABEL; repeatable."
        ),
    ],
    model: ModelOptions,
    removal: Annotated[
        Literal["baseline", "delete", "both"],
        typer.Option(help="How pieces are removed: replaced by a baseline, or deleted."),
    ] = "baseline",
    seeds: Annotated[str, typer.Option(help="Seeds per prompt, averaged first: 0:4.")] = "0:4",
    paraphrases: Annotated[
        int | None,
        typer.Option(min=20, help="Number of paraphrases around the pieces; default: 48, or all."),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(help="File with your own paraphrases, one per line, pieces in brackets."),
    ] = None,
    pool: Annotated[
        str, typer.Option(help="Pooling of positions, as for the finding: mean, max or last.")
    ] = "mean",
    budget: Annotated[
        int,
        typer.Option(
            min=64, help="Coalitions per sample (two are drawn) for more than ten pieces."
        ),
    ] = 128,
    synergy: Annotated[
        bool,
        typer.Option(
            help="Test for neurons that the pieces activate jointly (at most ten).",
            show_default=True,
        ),
    ] = True,
    path: Annotated[
        bool,
        typer.Option(
            help="With --out or --json: findings site by site, tokens, layers.", show_default=True
        ),
    ] = True,
    pictures: Annotated[
        bool,
        typer.Option(help="With --out: draw coalitions and layers.", show_default=True),
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; the same command resumes there.")
    ] = None,
    cache: CacheFlag = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")] = False,
) -> None:
    """Split values over the pieces of a prompt, by measuring every coalition of them.

    Units inside the model come first, then what evaluation classifiers predict.
    """
    import clerestory.attribution as attribution
    from clerestory.attribution.paraphrases import DEFAULT_COUNT
    from clerestory.attribution.shapley import MAX_EXACT
    from clerestory.cli import console, interrupts
    from clerestory.models import parse_seeds

    parsed, numbers = attribution.parse_pieces(prompt), parse_seeds(seeds)
    opened = model.open()
    nothing = [False] * len(parsed.pieces)
    for way in ("baseline", "delete") if removal == "both" else (removal,):
        pieces = "replaced by baselines" if way == "baseline" else "deleted"
        text = parsed.text(nothing, way) or "(nothing)"
        console.status(f"With its pieces {pieces}, the prompt is: {text}")
    if synergy and len(parsed.pieces) > MAX_EXACT:
        console.status(f"Beyond {MAX_EXACT} pieces no neurons are tested for --synergy.")
    with interrupts.resumable(out), console.progress_bars() as report:
        result = attribution.attribute(
            opened,
            parsed,
            of,
            removal=removal,
            seeds=numbers,
            paraphrases=paraphrases,
            sentences=None if sentences is None else read_lines(sentences),
            pool=pool,
            budget=budget,
            synergy=synergy,
            # It takes a run for each token and block, and the printed table shows nothing of it.
            path=path and (out is not None or json),
            pictures=pictures,
            out=out,
            cache=cache,
            progress=report,
        )
    if paraphrases is None and sentences is None and result.paraphrases < DEFAULT_COUNT:
        console.status(
            f"There are {result.paraphrases} paraphrases of this prompt, not {DEFAULT_COUNT}: "
            "all are used."
        )
    if out is not None:
        console.status(f"The page is {out / 'attribution.html'}.")
    for warning in result.warnings:
        console.status(f"Note: {warning}")
    if json:
        console.write_json(result.to_dict())
        return
    console.write(result.summary())
    console.write_table(result.table())
    if result.synergy is not None:
        console.write(
            f"{result.synergy.found} of {result.synergy.tested} neurons are activated by all "
            "pieces more than by the sum of the single pieces (q < .05)"
        )
