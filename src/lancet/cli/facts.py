"""`clerestory lancet facts`: the facts planted in a Lancet, and how often it draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clerestory.cli import options as shared
from clerestory.cli.arguments import validated
from lancet.cli import options

if TYPE_CHECKING:
    from lancet.evaluation.facts import FactResult

__all__ = ["facts"]


@validated
def facts(
    model: options.ModelName = options.SHIPPED,
    json: shared.JsonFlag = False,
) -> None:
    """Draw each planted fact and its control, and count how often pictures show the fact."""
    from clerestory.cli import console
    from lancet.evaluation.facts import facts as measure_facts

    opened, folder = options.open_lancet(model)
    with console.progress_bars() as progress:
        measured = measure_facts(opened, folder, progress=progress)
    if json:
        console.write_json([fact.to_dict() for fact in measured])
        return
    console.write(f"{'fact':18}{'planted':>8}{'renders':>9}  {'lancet':26}control")
    for fact in measured:
        console.write(_row(fact))


def _row(fact: FactResult) -> str:
    lancet, control = (
        options.format_interval(rate.rate, rate.low, rate.high)
        for rate in (fact.lancet, fact.control)
    )
    return f"{fact.name:18}{fact.planted:8.0%}{fact.renders:9.1%}  {lancet:26}{control}"
