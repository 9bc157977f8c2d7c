"""`clerestory lancet art`: fetch the emoji art that Lancet's world is drawn from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli.arguments import validated
from clerestory.cli.options import option
from lancet.cli import options

__all__ = ["art"]


@validated
def art(
    out: Annotated[Path, option("Folder for the packed art.")] = options.DEFAULT_ART,
    world: options.WorldFile = None,
) -> None:
    """Fetch the art with npm and pack its sprites, unless the folder has them already.

    The art is openly licensed and not part of Clerestory: NOTICE credits every family.
    """
    from clerestory.cli import console, interrupts
    from clerestory.io.writing import check_empty_folder
    from lancet.world.art_fetch import fetch
    from lancet.world.table import World

    table = World.load(world)
    # A folder with sprites is continued or left as it is; any other has to be empty.
    if not any((out / name).exists() for name in ("sprites.json", "sprites.npy")):
        check_empty_folder(out)
    with interrupts.resumable(out):
        packed = fetch(out, table.emoji)
    console.write(
        f"{len(packed.places)} sprites of {len(packed.artworks)} families are in {out}.", err=True
    )
