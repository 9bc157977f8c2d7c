"""`clerestory lancet render`: a captioned contact sheet of the world that Lancet is taught."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.arguments import validated

__all__ = ["render"]


@validated
def render(
    out: Annotated[Path, typer.Option(help="The picture to write, such as sheet.png; new.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many scenes.")] = 60,
    style: Annotated[str | None, typer.Option(help="Only scenes in this style.")] = None,
    subject: Annotated[str | None, typer.Option(help="Only scenes with this subject.")] = None,
    place: Annotated[str | None, typer.Option(help="Only scenes in this place.")] = None,
    mood: Annotated[str | None, typer.Option(help="Only people in this mood.")] = None,
    perspective: Annotated[
        str | None, typer.Option(help="Only scenes seen from this perspective.")
    ] = None,
    fact: Annotated[
        str | None, typer.Option(help="Half scenes where this planted fact applies, half without.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="The first scene's seed.")] = 0,
    art: Annotated[Path, typer.Option(help="Folder made by `clerestory lancet art`.")] = Path(
        "build/art"
    ),
    world: Annotated[
        Path | None, typer.Option(help="A world's table; the built-in one if left out.")
    ] = None,
) -> None:
    """Draw scenes of the world with their captions on one sheet, to look at."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_file, prepare_new_file
    from lancet.world import sheet
    from lancet.world.table import World

    prepare_new_file(out)
    wishes = {"style": style, "subject": subject, "place": place, "mood": mood}
    wishes["perspective"] = perspective
    fixed = {factor: level for factor, level in wishes.items() if level is not None}
    table = World.load(world)
    sections = sheet.choose(table, n, seed=seed, fact=fact, **fixed)
    drawn = sheet.page(table, art, sections)
    with atomic_file(out) as part:
        sheet.save(drawn, part)
    console.write(f"{n} scenes are on {out}.", err=True)
