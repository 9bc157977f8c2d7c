"""`clerestory group`: what pictures of one class share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from clerestory.contrasts import Groups

__all__ = ["group"]


@validated
def group(
    recording: Annotated[str, typer.Argument(help="A recording with pictures: folder or URL.")],
    classifier: Annotated[str, typer.Option(help="Who sorts the pictures: lancet:mood.")],
    classes: Annotated[str, typer.Option(help="Only these, as scared,happy; else all.")] = "",
    min_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Leave out pictures that it is less sure of.")
    ] = 0.0,
    gate: Annotated[
        str | None, typer.Option(help="CLASSIFIER=CLASS: leave out pictures of which it says else.")
    ] = None,
    control: Annotated[
        list[str] | None,
        typer.Option(help="Compare within levels of this column, or of lancet:place, and so on."),
    ] = None,
    within: Annotated[
        str | None, typer.Option(help="`prompt`: contrast the seeds of each prompt instead.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Neurons of each group.")] = 20,
    seed: Annotated[int, typer.Option(help="Of halves and partners, at random.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report, figures and each group's findings; new.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Sort the pictures of random prompts, and find what is excited in one group and not in others.

    Each group's findings, in the folder, are what `clerestory verify` takes.
    """
    from clerestory.classifiers import condition
    from clerestory.cli import console
    from clerestory.contrasts import group as ask
    from clerestory.contrasts.group_page import page
    from clerestory.io.outputs import free_folder, whole_folder
    from clerestory.recordings import Recording

    if out is not None:
        free_folder(out)
    if gate is not None:
        condition(gate)
    opened = Recording.open(recording)
    with console.progress("grouping") as progress:
        found = ask(
            opened,
            classifier,
            classes=[name.strip() for name in classes.split(",") if name.strip()],
            min_confidence=min_confidence,
            gate=gate,
            control=control or (),
            within=within,
            top=top,
            seed=seed,
            progress=progress,
        )
    if out is not None:
        with whole_folder(out) as part:
            found.save(part)
            (part / "report.html").write_text(page(found, opened), encoding="utf-8")
        console.status(f"The report is {out / 'report.html'}.")
    if json:
        console.write_json(found.told())
    else:
        _print(found)


def _print(found: Groups) -> None:
    from clerestory.cli import console

    if found.within is None:
        console.write(
            f"{len(found.split)} prompts whose seeds disagree are in no group; {found.unsure} are "
            "left out (no class that was asked for, unsure, or not alike in what is controlled)."
        )
    for name, own in found.groups.items():
        console.write(f"\n{name}: {own.prompts} prompts report, each beside another's")
        console.write(f"  {'':42}{'AUROC':>6} {'95%':>11} {'q':>8} {'ω²':>6} {'common':>7}")
        for kind in ("direction", "neuron"):
            for one in [unit for unit in own.units if unit.kind == kind][:5]:
                sign = "+" if one.sign > 0 else "-"
                span = f"{one.low:.2f}–{one.high:.2f}"
                console.write(
                    f"{sign} {one.unit:42}{one.auroc:6.3f} {span:>11} {one.q:8.1e} "
                    f"{one.omega2:6.2f} {one.common:7.0%}"
                )
    for warning in found.warnings:
        console.status(f"warning: {warning}")
