"""`clerestory familiarity`: does the model know this name, or fall back on context?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.recognition import Familiarity

__all__ = ["familiarity"]

AUTO = "auto"
TOLD = 5
"""Classes that are told of a context; the page has all."""


@takes_model
def familiarity(
    phrase: Annotated[str, typer.Argument(help="The name that is asked about.")],
    model: ModelOptions,
    controls: Annotated[
        str, typer.Option(help="A file with a made-up name a line, 99 or more; auto makes them up.")
    ] = AUTO,
    contexts: Annotated[
        str, typer.Option(help="A file with a context a line, {item} where the name goes.")
    ] = AUTO,
    classifier: Annotated[
        list[str] | None,
        typer.Option(help="What looks at the pictures; Lancet has its own. As often as you like."),
    ] = None,
    seeds: Annotated[str, typer.Option(help="Noises, averaged first: 0:2.")] = "0:2",
    count: Annotated[int, typer.Option(min=1, help="Names to make up, 99 or more.")] = 199,
    seed: Annotated[int, typer.Option(min=0, help="Of the made-up names.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page, and for names as they are drawn.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Tell whether a name's pictures lie apart from those of made-up names, which nobody knows.

    If not, each context says what it makes of such a name. With --out a killed call goes on, and
    other phrases use the same made-up names.
    """
    from clerestory.cli import console
    from clerestory.models import parse_seeds
    from clerestory.recognition import CONTEXTS
    from clerestory.recognition import familiarity as ask
    from clerestory.recognition.page import keep

    chosen = CONTEXTS if contexts == AUTO else read_lines(Path(contexts))
    listed = None if controls == AUTO else read_lines(Path(controls))
    numbers = parse_seeds(seeds)
    with console.progress_bars() as tell:
        found = ask(
            model.open(),
            phrase,
            controls=listed,
            contexts=chosen,
            classifiers=classifier,
            seeds=numbers,
            count=count,
            seed=seed,
            out=out,
            progress=tell,
            announce=console.status,
        )
    if out is not None:
        console.status(f"The page is {keep(found, out)}.")
    if json:
        console.write_json(found.told())
    else:
        _print(found)


def _print(found: Familiarity) -> None:
    from clerestory.cli import console

    beside, alike = found.controls.told(), found.told()["consistency"]
    lines = [
        f"{found.phrase}: {found.said}",
        f"p {found.p:.3g} among {beside['names']} controls; distance {found.distance:.2f} (the "
        f"median control's is 1, the farthest's {beside['distances'][3]:.2f}), consistency "
        f"{'none' if alike is None else f'{alike:.2f}'} (controls: {found.controls.span})",
    ]
    for context, one in found.contexts.items() if found.verdict != "familiar" else ():
        told = ", ".join(
            f"{made.name} {made.rate.rate:.0%} (elsewhere {made.elsewhere:.0%}, this name "
            f"{made.asked:.0%})"
            for made in one.made[:TOLD]
        )
        lines.append(f"  {context}: {told or 'nothing of its own'}")
    console.write("\n".join(lines))
