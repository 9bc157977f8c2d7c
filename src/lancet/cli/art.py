"""`clerestory lancet art`: fetch the emoji art that Lancet's world is drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.arguments import validated

__all__ = ["art"]


@validated
def art(
    out: Annotated[Path, typer.Option(help="Folder for the packed art.")] = Path("build/art"),
    world: Annotated[
        Path | None, typer.Option(help="A world's table; the built-in one if left out.")
    ] = None,
) -> None:
    """Fetch the art with npm and pack its sprites; nothing to do where it is there, unaltered.

    The art is openly licensed and not part of Clerestory: NOTICE credits every family.
    """
    from clerestory.cli import console, interrupts
    from clerestory.io.writing import check_empty_folder
    from lancet.world.art_fetch import fetch
    from lancet.world.table import World

    table = World.load(world)
    if not any((out / name).exists() for name in ("sprites.json", "sprites.npy")):
        check_empty_folder(out)
    with interrupts.resumable(out):
        packed = fetch(out, table.emoji)
    console.write(
        f"{len(packed.places)} sprites of {len(packed.artworks)} families are in {out}.", err=True
    )
