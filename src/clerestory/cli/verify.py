"""`clerestory verify`: do the units of findings control the picture?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.causal import Causes, Control, Effect

__all__ = ["verify"]


@takes_model
def verify(
    findings: Annotated[Path, typer.Argument(help="The folder that `find --out` wrote.")],
    model: ModelOptions,
    classifier: Annotated[str, typer.Option(help="Who says what is drawn: lancet:style.")],
    shows: Annotated[str, typer.Option("--class", help="Its class for the concept.")],
    unit: Annotated[
        list[str] | None,
        typer.Option(help="Only these; else the first of each kind in each stage, and between."),
    ] = None,
    contents: Annotated[
        int, typer.Option(min=2, help="Contents to draw, of the report half.")
    ] = 24,
    seeds: Annotated[
        str | None, typer.Option(help="`7,8`; by default one that was not recorded.")
    ] = None,
    directions: Annotated[
        int, typer.Option(min=1, help="Directions from shuffled pairs beside each unit.")
    ] = 20,
    maps: Annotated[bool, typer.Option(help="Trace where, when and from which sample.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for causes and maps; new.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Change the units of findings, and count what becomes of the picture.

    Detecting is not controlling: each unit is added where the concept is absent and ablated where
    it is said, beside saying the words and beside shuffled directions of the same length; whole
    sites, ranges of blocks and of steps are put from one prompt into the other.
    """
    from clerestory.causal import verify as ask
    from clerestory.causal.range_charts import save_ranges
    from clerestory.cli import console
    from clerestory.contrasts import Findings
    from clerestory.io.outputs import free_folder, whole_folder
    from clerestory.models import parse_seeds

    if out is not None:
        free_folder(out)
    found, numbers = Findings.load(findings), parse_seeds(seeds) if seeds else None
    opened = model.open()
    with console.progress_bars() as tell:
        causes = ask(
            found,
            opened,
            classifier,
            shows,
            units=unit or (),
            contents=contents,
            seeds=numbers,
            directions=directions,
            maps=maps,
            progress=tell,
        )
    if out is not None:
        with whole_folder(out) as part:
            causes.save(part)
            save_ranges(causes, part)
        console.status(f"The causes are in {out}.")
    if json:
        console.write_json(causes.told())
    else:
        _print(causes)


def _print(causes: Causes) -> None:
    """Detects and controls side by side, then the answer in words."""
    from clerestory.cli import console

    console.write(
        f"{causes.classifier} sees {causes.shows!r} in {causes.unedited:.0%} of {causes.contents} "
        f"prompts without it; the prompts with it add {_span(causes.words)}"
        f"{_least(causes.words_keep)}.\n"
    )
    head = f"{'detects':>8} {'controls':>19} {'ablated':>19} {'patched':>8} {'back':>6}"
    console.write(f"{'':42}{head} {'shuffled':>12}  {'kept':>5}")
    for one in causes.controls:
        console.write(_row(one))
    console.write("")
    for sentence in causes.sentences():
        console.write(sentence)
    for swap in causes.swaps:
        console.write(
            f"{swap.factor}: {swap.condition:.0%} ({swap.low:.0%}–{swap.high:.0%}) by the "
            f"condition, {swap.noise:.0%} by the noise ({swap.pictures} pictures)"
        )
    for warning in causes.warnings:
        console.status(f"warning: {warning}")


def _least(kept: Mapping[str, float]) -> str:
    """What is kept least; "" where nothing else is looked at."""
    if not kept:
        return ""
    name = min(kept, key=lambda each: kept[each])
    return f" and keep, at worst, {kept[name]:.0%} of {name}"


def _row(one: Control) -> str:
    patched = "–" if one.patching is None else f"{one.patching.effect:.2f}"
    back = "–" if one.back is None else f"{one.back.effect:.2f}"
    band = one.shuffled
    mixed = "–" if band is None else f"{band.low:.2f}–{band.high:.2f}"
    kept = f"{min(one.collateral.values()):.2f}" if one.collateral else "–"
    return (
        f"{one.unit:42}{one.detects:8.3f} {_span(one.addition):>19} {_span(one.ablation):>19} "
        f"{patched:>8} {back:>6} {mixed:>12}  {kept:>5}"
    )


def _span(effect: Effect) -> str:
    return f"{effect.effect:.2f} ({effect.low:.2f}–{effect.high:.2f})"
