"""`clerestory draw`: pictures from prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["draw"]


def draw(
    prompts: Annotated[list[str], typer.Argument(help="What to draw; several are drawn in turn.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures; must be empty or absent.")],
    seeds: Annotated[str, typer.Option(help="`0:4` for 0 to 3, or `3,7`.")] = "0:4",
    model: Annotated[str, typer.Option(help="`lancet`, or a pipeline's folder.")] = "lancet",
) -> None:
    """Draw one picture a prompt and seed, and a grid of all with a row for each prompt."""
    from clerestory.cli import console
    from clerestory.models import load, parse_seeds
    from clerestory.outputs import empty_folder
    from clerestory.pictures import grid, save, save_run

    numbers = parse_seeds(seeds)
    opened = load(model)
    for prompt in prompts:
        opened.check(prompt)
    empty_folder(out)
    with console.progress("drawing") as progress:
        run = opened.run(prompts, numbers, progress=progress)
    save_run(run, out)
    assert run.pictures is not None
    save(grid(run.pictures, columns=len(numbers)), out / "grid.png")
    console.say(f"{len(run.pictures)} pictures and grid.png are in {out}.")
