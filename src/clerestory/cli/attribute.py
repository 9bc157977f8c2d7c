"""`clerestory attribute`: what does each piece of a prompt add to a value?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from clerestory.cli import options
from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.attribution.pieces import Removal, SegmentedPrompt

__all__ = ["attribute"]

_Of = Annotated[
    list[str], option("Target: a unit, a folder of `find --out`, or CLASSIFIER=LABEL; repeatable.")
]
_Removal = Annotated[
    Literal["baseline", "delete", "both"],
    option("How pieces are removed: replaced by a baseline, or deleted."),
]
_SeedsPerParaphrase = Annotated[
    int, option("Seeds of each paraphrase, which has others than the rest.", min=1)
]
_Seeds = Annotated[
    str | None, option("The same seeds for all paraphrases instead: `0:4`, or `3,7`.")
]
_Paraphrases = Annotated[
    int | None, option("Number of paraphrases around the pieces; default: 48, or all.", min=20)
]
_Sentences = Annotated[
    Path | None, option("File with your own paraphrases, one per line, pieces in brackets.")
]
_Budget = Annotated[
    int, option("Coalitions per sample (two are drawn) for more than ten pieces.", min=64)
]
_Synergy = Annotated[
    bool, option("Test for neurons that the pieces activate jointly (at most ten).")
]
_Path = Annotated[bool, option("With --out or --json: findings site by site, tokens, layers.")]


@takes_model
def attribute(
    prompt: Annotated[str, argument("Prompt with pieces in brackets: `[a name] with a [raven]`.")],
    of: _Of,
    model: ModelOptions,
    removal: _Removal = "baseline",
    seeds_per_paraphrase: _SeedsPerParaphrase = 4,
    seed: Annotated[int, option("Another number gives other seeds.", min=0)] = 0,
    seeds: _Seeds = None,
    paraphrases: _Paraphrases = None,
    sentences: _Sentences = None,
    pool: options.Pool = "mean",
    budget: _Budget = 128,
    synergy: _Synergy = True,
    path: _Path = True,
    pictures: Annotated[bool, option("With --out: draw coalitions and layers.")] = True,
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
    _write_removed(parsed, ("baseline", "delete") if removal == "both" else (removal,))
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


def _write_removed(prompt: SegmentedPrompt, removals: Sequence[Removal]) -> None:
    """Write the prompt without its pieces, which every share is relative to."""
    from clerestory.cli import console

    for removal in removals:
        change = "replaced by baselines" if removal == "baseline" else "deleted"
        text = prompt.text([False] * len(prompt.pieces), removal) or "(nothing)"
        console.status(f"With its pieces {change}, the prompt is: {text}")
