"""`clerestory suppress`: what counteracts something that a prompt brings along unasked?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.lines import lines_of
from clerestory.cli.opening import Asked, with_model

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.suppressing import Suppressed

__all__ = ["suppress"]


@with_model
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
    model: Asked,
    control: Annotated[
        str, typer.Option(help="Words in their place in the control: `owl,church`.")
    ] = "",
    other: Annotated[
        list[str] | None, typer.Option(help="Who sees the rest; Lancet's other factors.")
    ] = None,
    elsewhere: Annotated[
        Path | None, typer.Option(help="A file of other prompts; Lancet has its own.")
    ] = None,
    tune: Annotated[int, typer.Option(min=10, help="Sentences that choose.")] = 24,
    report: Annotated[int, typer.Option(min=10, help="Others, that report.")] = 24,
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

    A negative prompt, a negative direction, projection, clipped reflection, LEACE, and found words:
    classifiers of set a choose settings, set b reports on the other half. One is recommended, with
    what it costs, and saved as a steered model.
    """
    from clerestory.cli import console
    from clerestory.models import parse_seeds
    from clerestory.outputs import free_folder
    from clerestory.suppressing import Case
    from clerestory.suppressing import suppress as climb
    from clerestory.suppressing.page import keep as kept

    numbers = parse_seeds(seeds)
    if out is not None:
        free_folder(out)
    opened = model.open()
    case = Case.of(
        opened, prompt, unwanted, _words(keep), instead=_words(control), others=other or ()
    )
    with console.stages() as tell:
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
        console.say(f"The page is {kept(found, out)}; the steered model is in {out / 'steered'}.")
    for warning in found.warnings:
        console.say(f"Note: {warning}")
    if json:
        console.emit(found.told())
    else:
        _print(found)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _elsewhere(model: Model, file: Path | None) -> tuple[str, ...]:
    from clerestory.lancet.contents import contents

    if file is None:
        return contents(24, "style") if model.name == "lancet" else ()
    return tuple(dict.fromkeys(lines_of(file)))


def _print(found: Suppressed) -> None:
    from clerestory.cli import console

    typer.echo(
        f"The unwanted: {found.before.unwanted:.2f} of pictures, the control's "
        f"{found.control.unwanted:.2f}; {found.contents} sentences, set b"
    )
    rows = []
    for rung in found.rungs:
        came = rung.came
        drop = (
            ""
            if came.drop is None
            else f"{came.drop:.2f} ({came.drop_low:.2f}-{came.drop_high:.2f})"
        )
        rows.append(
            {
                "rung": rung.name,
                "setting": rung.way.setting,
                "unwanted": f"{came.unwanted:.2f}",
                "excess gone": drop,
                "kept": f"{came.kept_share:.2f}",
                "rest": "" if came.rest is None else f"{came.rest:.2f}",
                **{
                    name.upper(): "" if value is None else f"{value:.2f}"
                    for name, value in (("ua", rung.ua), ("ira", rung.ira), ("cra", rung.cra))
                },
            }
        )
    typer.echo(console.table(rows))
    chosen = found.chosen
    rest = "" if chosen.came.rest is None else f", {1 - chosen.came.rest:.0%} of the rest changes"
    typer.echo(
        console.plain(
            f"Recommended: {chosen.name} ({chosen.way.setting or 'as it is'}). It keeps "
            f"{chosen.came.kept_share:.0%} of what is to stay{rest}."
        )
    )
    if found.steered_by != chosen.name:
        typer.echo(f"The steered model has the edits of {found.steered_by}: words are no edits.")
