"""`clerestory lancet facts`: what was planted in a Lancet, and what it learnt of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from lancet.evaluation.facts import FactResult

__all__ = ["facts"]


@validated
def facts(
    model: Annotated[
        str, typer.Option(help="`lancet`, or a folder made by `clerestory lancet train`.")
    ] = "lancet",
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, to stdout.")] = False,
) -> None:
    """Draw each planted fact and its control, and say how often the fact is seen."""
    import clerestory
    from clerestory.cli import console
    from lancet.evaluation import facts as measuring

    opened = clerestory.load(model)
    folder = None if model == "lancet" else Path(model)
    with console.progress_bars() as progress:
        measured = measuring.facts(opened, folder, progress=progress)
    if as_json:
        console.write_json([fact.to_dict() for fact in measured])
        return
    console.write(f"{'fact':18}{'planted':>8}{'renders':>9}  {'lancet':26}control")
    for fact in measured:
        console.write(_row(fact))


def _row(fact: FactResult) -> str:
    spans = [
        f"{rate.rate:6.1%} ({rate.low:.1%} to {rate.high:.1%})"
        for rate in (fact.lancet, fact.control)
    ]
    return f"{fact.name:18}{fact.planted:8.0%}{fact.renders:9.1%}  {spans[0]:26}{spans[1]}"
