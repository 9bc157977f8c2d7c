"""`clerestory suppress`: remove a concept that a prompt produces without naming it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clerestory.cli import options
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.suppression import SuppressionResult

__all__ = ["suppress"]

_Preserve = Annotated[
    str, option("Words of the prompt to preserve: `raven,library`; or WORD=CLASSIFIER=LABEL.")
]
_Classifiers = Annotated[
    list[str] | None, option("Classifier that measures side effects; default: the model's.")
]
_OtherPrompts = Annotated[Path | None, option("File of other prompts; default: the model's items.")]
_SelectionParaphrases = Annotated[
    int | None, option("Number of selection paraphrases; default: 24, or half of all.", min=12)
]
_EvaluationParaphrases = Annotated[
    int | None, option("Number of evaluation paraphrases; default: 24, or half of all.", min=12)
]
_SeedsPerParaphrase = Annotated[
    int, option("Seeds of each evaluation paraphrase, which has its own.", min=1)
]
_Seeds = Annotated[
    str | None, option("The same seeds for all evaluation paraphrases instead: `0:4`.")
]
_Bound = Annotated[
    float,
    option("Accepted change of any other class, as every classifier predicts it.", min=0, max=1),
]
_Budget = Annotated[int, option("Prompts to score in the search for words; 0: no search.", min=0)]
_Methods = Annotated[
    list[str] | None, option("Method to compare, such as `LEACE`; repeatable. Default: all.")
]


@takes_model
def suppress(
    prompt: Annotated[str, argument("Prompt with the association.")],
    unwanted: Annotated[list[str], option("CLASSIFIER=LABEL to remove; repeatable.")],
    preserve: _Preserve,
    model: ModelOptions,
    baselines: Annotated[str, option("Words that replace them in the control: `owl,church`.")] = "",
    classifiers: _Classifiers = None,
    other_prompts: _OtherPrompts = None,
    selection_paraphrases: _SelectionParaphrases = None,
    evaluation_paraphrases: _EvaluationParaphrases = None,
    seeds_per_paraphrase: _SeedsPerParaphrase = 4,
    seed: Annotated[int, option("Another number gives other seeds.", min=0)] = 0,
    seeds: _Seeds = None,
    bound: _Bound = 0.2,
    budget: _Budget = 300,
    methods: _Methods = None,
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
    console.write_result(result, json=json, text=lambda: _print(result))


def _print(result: SuppressionResult) -> None:
    from clerestory.cli import console

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
