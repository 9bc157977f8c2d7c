"""`clerestory maximize`: which prompts maximize a unit?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult
    from clerestory.maximization.search_comparison import SearchComparison
    from clerestory.models import Model

__all__ = ["maximize"]


@takes_model
def maximize(
    objective: Annotated[
        str,
        typer.Argument(help="A unit, `CLASSIFIER=CLASS`, or a sum of such in quotes."),
    ],
    model: ModelOptions,
    findings: Annotated[
        Path | None, typer.Option(help="A folder that `find --out` wrote: its directions count.")
    ] = None,
    pool: Annotated[str, typer.Option(help="mean, max or last.")] = "last",
    search: Annotated[str, typer.Option(help="By name, such as metropolis.")] = "metropolis",
    compare: Annotated[str, typer.Option(help="Several, as random,metropolis, side by side.")] = "",
    repeats: Annotated[int, typer.Option(min=1, help="Seeds of each that is compared.")] = 5,
    budget: Annotated[int, typer.Option(min=1, help="Prompts to score.")] = 20_000,
    null: Annotated[int, typer.Option(min=2, help="Random prompts to hold it to.")] = 500,
    template: Annotated[str, typer.Option(help="Where the words go is {}.")] = "{}",
    words: Annotated[str, typer.Option(help="How many: 3, or 1:4 for one to four.")] = "3",
    tokens: Annotated[bool, typer.Option(help="Raw tokens, not words.")] = False,
    ban: Annotated[list[str] | None, typer.Option(help="Never in a prompt.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="A file with a word a line.")] = None,
    fluency: Annotated[float, typer.Option(min=0, help="What a likely text counts.")] = 0.0,
    language_model: Annotated[
        str | None, typer.Option(help="Who says what is likely; Lancet has its captions.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Noises, where pictures are drawn: 0:4.")] = "0",
    seed: Annotated[int, typer.Option(help="Replays the search.")] = 0,
    best: Annotated[int, typer.Option(min=1, help="Prompts to show.")] = 8,
    out: Annotated[
        Path | None, typer.Option(help="Folder for trail and gallery; the same call resumes there.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Search for the prompts that maximize a unit, and compare them with random prompts.

    Ctrl-C leaves the best so far; with --out the same command goes on.
    """
    from clerestory.cli import console
    from clerestory.maximization import maximize as search_for
    from clerestory.maximization.page import keep

    opened = model.open()
    how = _how(opened, template, words, tokens, ban or [], vocabulary)
    how |= {"objective": _objective(objective, pool, findings), "budget": budget}
    how |= {"fluency": fluency, "fluent": language_model, "seeds": _seeds(seeds), "best": best}
    how |= {"null": null, "seed": seed, "announce": lambda forecast: console.status(str(forecast))}
    if compare:
        _compare(opened, compare, repeats, out, json, how)
        return
    with console.progress("searching") as progress:
        found = search_for(opened, search=search, out=out, progress=progress, **how)
    if out is not None:
        console.status(f"The gallery is {keep(found, out)}.")
    if json:
        console.write_json(found.told())
    else:
        _print(found)
    if found.stopped:
        raise KeyboardInterrupt  # which `main` tells


def _how(
    model: Model,
    template: str,
    words: str,
    tokens: bool,
    ban: list[str],
    vocabulary: Path | None,
) -> dict[str, Any]:
    from clerestory.errors import SearchError
    from clerestory.io.reading import MOST_LINES, read_text
    from clerestory.maximization import words_of

    shortest, _, longest = words.partition(":")
    try:
        lengths = int(shortest), int(longest or shortest)
    except ValueError as error:
        raise SearchError(f"--words is {words!r}; write 3, or 1:4.") from error
    listed = None
    if vocabulary is not None:
        listed = read_text(vocabulary, SearchError, MOST_LINES).splitlines()
    space = words_of(
        model, words=lengths, template=template, vocabulary=listed, banned=ban, tokens=tokens
    )
    return {"space": space}


def _objective(text: str, pool: str, findings: Path | None) -> Any:
    from clerestory.contrasts import Findings
    from clerestory.evaluation import parse_objective

    known = {} if findings is None else Findings.load(findings).directions
    return parse_objective(text, pool, known)


def _seeds(text: str) -> Any:
    from clerestory.models import parse_seeds

    return parse_seeds(text)


def _compare(
    model: Model, names: str, repeats: int, out: Path | None, json: bool, how: dict[str, Any]
) -> None:
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder
    from clerestory.maximization.page import keep_compared
    from clerestory.maximization.search_comparison import compare_searches

    how.pop("best")
    if out is not None:
        free_folder(out)
    with console.progress("comparing") as progress:
        found: SearchComparison = compare_searches(
            model,
            how.pop("objective"),
            [name.strip() for name in names.split(",") if name.strip()],
            repeats=repeats,
            progress=progress,
            **how,
        )
    if out is not None:
        console.status(f"The plot is {keep_compared(found, out)}.")
    if json:
        console.write_json(found.told())
        return
    console.write(f"{found.objective}, {found.budget} evaluations, {repeats} seeds")
    for name, end in found.told()["compare"].items():
        span = f"{end['low']:.3f} to {end['high']:.3f}"
        console.write(f"  {name:20} {end['median']:10.3f}   {span}")


def _print(found: MaximizationResult) -> None:
    from clerestory.cli import console

    null = found.null
    console.write(
        f"{found.objective}: {found.search}, {found.evaluations:,} evaluations; "
        f"{len(null.scores)} random prompts {null.mean:.3f} ± {null.sd:.3f}, the best of them "
        f"{null.scores.max():.3f}"
    )
    console.write(
        f"{'score':>9} {'z':>6} {'above':>6} {'chains':>6}  prompt  (what each word brings)"
    )
    for one in found.best:
        parts = ", ".join(f"{word} {loss:+.2f}" for word, loss in one.without)
        console.write(
            f"{one.score:9.3f} {one.z:6.1f} {one.percentile:5.1f}% {one.chains:6}  "
            f"{one.prompt}  ({parts})"
        )
    for name in ("r_hat", "effective"):
        if name in found.about:
            console.write(f"{name}: {found.about[name]:.2f}")
