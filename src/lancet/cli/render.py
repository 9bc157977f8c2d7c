"""`clerestory lancet render`: a captioned contact sheet of Lancet's world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli.arguments import validated
from clerestory.cli.options import option
from lancet.cli import options

__all__ = ["render"]

_Fact = Annotated[str | None, option("Half of the scenes with this planted fact, half without.")]


@validated
def render(
    out: Annotated[Path, option("New picture file, such as sheet.png.")],
    n: Annotated[int, option("Number of scenes.", "--n", min=1)] = 60,
    style: Annotated[str | None, option("Only scenes in this style.")] = None,
    subject: Annotated[str | None, option("Only scenes with this subject.")] = None,
    place: Annotated[str | None, option("Only scenes in this place.")] = None,
    mood: Annotated[str | None, option("Only people in this mood.")] = None,
    perspective: Annotated[str | None, option("Only scenes seen from this perspective.")] = None,
    fact: _Fact = None,
    seed: Annotated[int, option("Seed of the first scene.", min=0)] = 0,
    art: options.ArtFolder = options.DEFAULT_ART,
    world: options.WorldFile = None,
) -> None:
    """Draw scenes of the world with their captions on one sheet."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_file, prepare_new_file
    from lancet.world import sheet
    from lancet.world.table import World

    prepare_new_file(out)
    levels = {"style": style, "subject": subject, "place": place, "mood": mood}
    levels["perspective"] = perspective
    fixed = {factor: level for factor, level in levels.items() if level is not None}
    table = World.load(world)
    sections = sheet.choose(table, n, seed=seed, fact=fact, **fixed)
    page = sheet.page(table, art, sections)
    with atomic_file(out) as part:
        sheet.save(page, part)
    console.write(f"{n} scenes are on {out}.", err=True)
