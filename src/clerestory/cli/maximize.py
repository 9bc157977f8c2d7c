"""`clerestory maximize`: which prompts maximize a unit?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from clerestory.cli import options
from clerestory.cli.arguments import split_names
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult
    from clerestory.models import Model

__all__ = ["maximize"]

_Findings = Annotated[
    Path | None, option("Folder written by `find --out`, to use its directions in the objective.")
]
_CompareSearches = Annotated[
    str, option("Compare these searches at equal budgets, such as random,metropolis.")
]
_RandomPrompts = Annotated[
    int | None,
    option(
        "Number of random prompts to compare with; default: 40 times the budget for text "
        "encoders, else 500, too few for a status.",
        min=2,
    ),
]
_Vocabulary = Annotated[
    str | None, option("File with one word per line, or a plug-in's vocabulary.")
]
_LanguageModel = Annotated[
    str | None, option("Language model of the fluency term; default: bigrams of the captions.")
]


@takes_model
def maximize(
    objective: Annotated[str, argument("A unit, CLASSIFIER=LABEL, or a quoted sum of these.")],
    model: ModelOptions,
    findings: _Findings = None,
    pool: options.Pool = "last",
    search: Annotated[str, option("Search algorithm, such as metropolis.")] = "metropolis",
    compare_searches: _CompareSearches = "",
    repeats: Annotated[int, option("Seeds per search with --compare-searches.", min=1)] = 5,
    budget: Annotated[int, option("Number of prompts to score.", min=1)] = 2_000,
    random_prompts: _RandomPrompts = None,
    template: Annotated[str, option("Template of the prompts, with {words}.")] = "{words}",
    words: Annotated[str, option("Number of words: 3, or 1:4 for one to four.")] = "3",
    tokens: Annotated[bool, option("Search over tokens instead of words.")] = False,
    ban: Annotated[list[str] | None, option("Word to exclude; repeatable.")] = None,
    vocabulary: _Vocabulary = None,
    fluency: Annotated[float, option("Weight of the fluency term.", min=0)] = 0.0,
    language_model: _LanguageModel = None,
    seeds: Annotated[str, option("Seeds for classifier objectives: 0:4.")] = "0",
    seed: Annotated[int, option("Random seed of the search.")] = 0,
    best: Annotated[int, option("Number of prompts to return.", min=1)] = 8,
    out: options.ResumableFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Search for the prompts that maximize a unit, and compare them with random search.

    Ctrl-C prints the best prompts so far; with --out the same command resumes.
    """
    from clerestory.cli import console, interrupts
    from clerestory.maximization import maximize as maximize_unit
    from clerestory.maximization.gallery import write_gallery
    from clerestory.models import parse_seeds

    settings: dict[str, Any] = {
        "random_prompts": random_prompts,
        "findings": findings,
        "pool": pool,
        "budget": budget,
        "template": template,
        "words": _parse_word_count(words),
        "tokens": tokens,
        "ban": ban or (),
        "vocabulary": vocabulary,
        "fluency": fluency,
        "language_model": language_model,
        "seeds": parse_seeds(seeds),
        "seed": seed,
        "announce": lambda forecast: console.status(str(forecast)),
    }
    opened = model.open()
    if compare_searches:
        _compare_searches(opened, objective, compare_searches, repeats, out, json, settings)
        return
    with interrupts.resumable(out):
        with console.progress_bars() as progress:
            result = maximize_unit(
                opened, objective, search=search, best=best, out=out, progress=progress, **settings
            )
        if out is not None:
            # Also after an interrupted search, which returns its best prompts so far.
            console.status(f"The gallery is {write_gallery(result, out)}.")
        _write(result, json=json)
        if result.stopped:
            raise KeyboardInterrupt  # which `main` reports


def _parse_word_count(words: str) -> tuple[int, int]:
    """The fewest and the most words of `--words`."""
    from clerestory.errors import SearchError

    shortest, _, longest = words.partition(":")
    try:
        return int(shortest), int(longest or shortest)
    except ValueError as error:
        raise SearchError(f"--words is {words!r}; write 3, or 1:4.") from error


def _compare_searches(
    model: Model,
    objective: str,
    searches: str,
    repeats: int,
    out: Path | None,
    json: bool,
    settings: dict[str, Any],
) -> None:
    from clerestory.cli import console
    from clerestory.io.writing import check_empty_folder
    from clerestory.maximization import compare_searches

    if out is not None:
        check_empty_folder(out)
    with console.progress_bars() as progress:
        result = compare_searches(
            model, objective, split_names(searches), repeats=repeats, progress=progress, **settings
        )
    if out is not None:
        result.save(out)
        console.status(f"The result, with a plot, is in {out}.")
    console.write_result(result, json=json)


def _write(result: MaximizationResult, *, json: bool) -> None:
    from clerestory.cli import console

    console.write_result(result, json=json)
    for name in () if json else ("r_hat", "effective_sample_size"):
        if name in result.diagnostics:
            console.write(f"{name}: {result.diagnostics[name]:.2f}")
