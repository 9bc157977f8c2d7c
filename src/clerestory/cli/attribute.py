"""`clerestory attribute`: what does each piece of a prompt add to a value?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clerestory.cli import options
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
    seeds_per_paraphrase: Annotated[
        int, typer.Option(min=1, help="Seeds of each paraphrase, which has others than the rest.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another number gives other seeds.")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(help="The same seeds for all paraphrases instead: `0:4`, or `3,7`."),
    ] = None,
    paraphrases: Annotated[
        int | None,
        typer.Option(min=20, help="Number of paraphrases around the pieces; default: 48, or all."),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(help="File with your own paraphrases, one per line, pieces in brackets."),
    ] = None,
    pool: options.Pool = "mean",
    budget: Annotated[
        int,
        typer.Option(
            min=64, help="Coalitions per sample (two are drawn) for more than ten pieces."
        ),
    ] = 128,
    synergy: Annotated[
        bool, typer.Option(help="Test for neurons that the pieces activate jointly (at most ten).")
    ] = True,
    path: Annotated[
        bool, typer.Option(help="With --out or --json: findings site by site, tokens, layers.")
    ] = True,
    pictures: Annotated[bool, typer.Option(help="With --out: draw coalitions and layers.")] = True,
    out: options.ResumableFolder = None,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Split values over the pieces of a prompt, by measuring every coalition of them.

    Units inside the model come first, then what evaluation classifiers predict. Values are
    averaged over seeds.
    """
    import clerestory.attribution as attribution
    from clerestory.attribution.paraphrases import DEFAULT_COUNT
    from clerestory.attribution.shapley import MAX_EXACT
    from clerestory.cli import console, interrupts
    from clerestory.models import parse_seeds

    parsed = attribution.parse_pieces(prompt)
    seed_numbers = None if seeds is None else parse_seeds(seeds)
    # After the arguments were parsed: a typing error should not load a model.
    opened = model.open()
    no_pieces = [False] * len(parsed.pieces)
    for mode in ("baseline", "delete") if removal == "both" else (removal,):
        change = "replaced by baselines" if mode == "baseline" else "deleted"
        # Shown, since the removed prompt is what every share is relative to.
        text = parsed.text(no_pieces, mode) or "(nothing)"
        console.status(f"With its pieces {change}, the prompt is: {text}")
    if synergy and len(parsed.pieces) > MAX_EXACT:
        console.status(f"Beyond {MAX_EXACT} pieces no neurons are tested for --synergy.")
    with interrupts.resumable(out), console.progress_bars() as progress:
        result = attribution.attribute(
            opened,
            parsed,
            of,
            removal=removal,
            seeds=seed_numbers,
            seeds_per_paraphrase=seeds_per_paraphrase,
            seed=seed,
            paraphrases=paraphrases,
            sentences=None if sentences is None else read_lines(sentences),
            pool=pool,
            budget=budget,
            synergy=synergy,
            # It takes a run for each token and block, and is not in the printed table.
            path=path and (out is not None or json),
            pictures=pictures,
            out=out,
            cache=cache,
            progress=progress,
        )
    if paraphrases is None and sentences is None and result.paraphrases < DEFAULT_COUNT:
        console.status(
            f"There are {result.paraphrases} paraphrases of this prompt, not {DEFAULT_COUNT}: "
            "all are used."
        )
    if out is not None:
        console.status(f"The page is {out / 'attribution.html'}.")
    console.warn(result.warnings)
    console.write_result(result, json=json)
    if result.synergy is not None and not json:
        console.write(
            f"{result.synergy.significant} of {result.synergy.tested} neurons that were picked in "
            "other templates are activated by all pieces more than by the sum of the single pieces "
            "(q <= .05)."
        )
