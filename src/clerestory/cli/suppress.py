"""`clerestory suppress`: what counteracts something that a prompt brings along unasked?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.suppression import Rung, Suppressed

__all__ = ["suppress"]


@takes_model
def suppress(
    prompt: Annotated[str, typer.Argument(help="What brings it along.")],
    unwanted: Annotated[
        list[str], typer.Option(help="CLASSIFIER=CLASS that should go. Repeatable.")
    ],
    keep: Annotated[
        str,
        typer.Option(
            help="Words of the prompt to keep: `raven,library`; else WORD=CLASSIFIER=CLASS."
        ),
    ],
    model: ModelOptions,
    control: Annotated[
        str, typer.Option(help="Words in their place in the control: `owl,church`.")
    ] = "",
    other: Annotated[
        list[str] | None, typer.Option(help="Who sees the rest; Lancet's other factors.")
    ] = None,
    elsewhere: Annotated[
        Path | None, typer.Option(help="A file of other prompts; Lancet has its own.")
    ] = None,
    tune: Annotated[
        int | None, typer.Option(min=10, help="Sentences that choose; 24, or half of all.")
    ] = None,
    report: Annotated[
        int | None, typer.Option(min=10, help="Others, that report; 24, or half of all.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Noises of the report: 0:2.")] = "0:2",
    budget: Annotated[int, typer.Option(min=0, help="Prompts scored for words; 0: none.")] = 300,
    rung: Annotated[
        list[str] | None, typer.Option(help="Only this one, such as `LEACE`. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for page and steered model; empty or absent.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Try a ladder of ways to counteract it, each tuned on half of the sentences.

    A negative prompt, a negative direction, projection, clipped reflection, replacement, LEACE,
    and found words: classifiers of set a choose settings, set b reports on the other half. One is
    recommended, with what it costs, and saved as a steered model.
    """
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder
    from clerestory.models import parse_seeds
    from clerestory.suppression import Case
    from clerestory.suppression import suppress as climb
    from clerestory.suppression.page import keep as kept

    numbers = parse_seeds(seeds)
    if out is not None:
        free_folder(out)
    opened = model.open()
    case = Case.of(
        opened, prompt, unwanted, _words(keep), instead=_words(control), others=other or ()
    )
    with console.progress_bars() as tell:
        found = climb(
            case,
            tune=tune,
            report=report,
            seeds=numbers,
            elsewhere=_elsewhere(opened, elsewhere),
            budget=budget,
            only=rung or (),
            progress=tell,
        )
    if out is not None:
        console.status(f"The page is {kept(found, out)}.")
        if found.steered is not None:
            console.status(f"The steered model is in {out / 'steered'}.")
    for warning in found.warnings:
        console.status(f"Note: {warning}")
    if json:
        console.write_json(found.told())
    else:
        _print(found)


def _words(text: str) -> list[str]:
    """What stands between commas, but for those in brackets.

    >>> _words("raven=zero-shot:MODEL[raven, owl, none]=raven, library")
    ['raven=zero-shot:MODEL[raven, owl, none]=raven', 'library']
    """
    return [word.strip() for word in re.split(r",(?![^\[\]]*\])", text) if word.strip()]


def _elsewhere(model: Model, file: Path | None) -> tuple[str, ...]:
    if file is None:
        return model.profile.items(24)
    return tuple(dict.fromkeys(read_lines(file)))


def _print(found: Suppressed) -> None:
    from clerestory.cli import console

    console.write(
        f"The unwanted: {found.before.unwanted:.2f} of pictures, the control's "
        f"{found.control.unwanted:.2f}; {found.contents} sentences, set b"
    )
    import pandas as pd

    console.write_table(pd.DataFrame([_row(rung) for rung in found.rungs]))
    chosen = found.chosen
    share, same = chosen.came.kept_share, chosen.came.rest
    kept = "" if share is None else f" It keeps {share:.0%} of what is to stay."
    rest = "" if same is None else f" {1 - same:.0%} of the rest changes."
    console.write(f"Recommended: {chosen.name} ({chosen.way.setting or 'as it is'}).{kept}{rest}")
    if found.steered is None:
        console.write("There is no steered model: words are no edits, and no rung has any.")
    elif found.steered_by != chosen.name:
        console.write(f"The steered model has the edits of {found.steered_by}: words are no edits.")


def _row(rung: Rung) -> dict[str, str]:
    came = rung.came
    ends = "" if came.drop is None else f" ({came.drop_low:.2f}-{came.drop_high:.2f})"
    return {
        "rung": rung.name,
        "setting": rung.way.setting,
        "unwanted": _rate(came.unwanted),
        "excess gone": _rate(came.drop) + ends,
        "kept": _rate(came.kept_share),
        "rest": _rate(came.rest),
        "UA": _rate(rung.ua),
        "IRA": _rate(rung.ira),
        "CRA": _rate(rung.cra),
    }


def _rate(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
