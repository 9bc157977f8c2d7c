"""`clerestory suppress`: remove a concept that a prompt produces without naming it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli import options
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["suppress"]


@takes_model
def suppress(
    prompt: Annotated[str, typer.Argument(help="Prompt with the association.")],
    unwanted: Annotated[list[str], typer.Option(help="CLASSIFIER=LABEL to remove; repeatable.")],
    preserve: Annotated[
        str,
        typer.Option(
            help="Words of the prompt to preserve: `raven,library`; or WORD=CLASSIFIER=LABEL."
        ),
    ],
    model: ModelOptions,
    baselines: Annotated[
        str, typer.Option(help="Words that replace them in the control: `owl,church`.")
    ] = "",
    classifiers: Annotated[
        list[str] | None,
        typer.Option(help="Classifier that measures side effects; default: the model's."),
    ] = None,
    other_prompts: Annotated[
        Path | None, typer.Option(help="File of other prompts; default: the model's items.")
    ] = None,
    selection_paraphrases: Annotated[
        int | None,
        typer.Option(min=12, help="Number of selection paraphrases; default: 24, or half of all."),
    ] = None,
    evaluation_paraphrases: Annotated[
        int | None,
        typer.Option(min=12, help="Number of evaluation paraphrases; default: 24, or half of all."),
    ] = None,
    seeds_per_paraphrase: Annotated[
        int, typer.Option(min=1, help="Seeds of each evaluation paraphrase, which has its own.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Another number gives other seeds.")] = 0,
    seeds: Annotated[
        str | None,
        typer.Option(help="The same seeds for all evaluation paraphrases instead: `0:4`."),
    ] = None,
    bound: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Accepted change of any other class, as every classifier predicts it.",
        ),
    ] = 0.2,
    budget: Annotated[
        int, typer.Option(min=0, help="Prompts to score in the search for words; 0: no search.")
    ] = 300,
    methods: Annotated[
        list[str] | None,
        typer.Option(help="Method to compare, such as `LEACE`; repeatable. Default: all."),
    ] = None,
    out: options.OptionalNewFolder = None,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Compare methods that remove unwanted labels, and recommend one.

    A negative prompt, a negative direction, projection, clipped reflection, replacement, LEACE
    and searched words: selection classifiers choose each one's setting on half of the paraphrases,
    evaluation classifiers measure it on the other half. The recommended one is saved as a steered
    model.
    """
    import clerestory.suppression as suppression
    from clerestory.cli import console
    from clerestory.models import parse_seeds

    # Without repeats: a repeated line would count twice.
    others = None if other_prompts is None else tuple(dict.fromkeys(read_lines(other_prompts)))
    with console.progress_bars() as progress:
        result = suppression.suppress(
            model.open(),
            prompt,
            unwanted=unwanted,
            preserve=preserve,
            baselines=baselines,
            classifiers=classifiers or (),
            other_prompts=others,
            selection_paraphrases=selection_paraphrases,
            evaluation_paraphrases=evaluation_paraphrases,
            seeds=None if seeds is None else parse_seeds(seeds),
            seeds_per_paraphrase=seeds_per_paraphrase,
            seed=seed,
            bound=bound,
            budget=budget,
            methods=methods or (),
            out=out,
            cache=cache,
            progress=progress,
        )
    if out is not None:
        console.status(f"The page is {out / 'suppression.html'}.")
        if result.steered is not None:
            console.status(f"The steered model is in {out / 'steered'}.")
    console.warn(result.warnings)
    if json:
        console.write_json(result.to_dict())
        return
    console.write(
        f"The unwanted is in {result.before.unwanted:.0%} of the pictures, and in "
        f"{result.control.unwanted:.0%} of the control's."
    )
    console.write_table(result.table())
    console.write(f"Recommended: {result.summary()}")
    if result.steered is None:
        console.write("No steered model was written: no method has edits.")
    elif result.steered_by != result.recommended:
        console.write(f"The steered model has the edits of {result.steered_by}.")
