"""`clerestory draw`: pictures from prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["draw"]


@takes_model
def draw(
    prompts: Annotated[list[str], typer.Argument(help="Prompts to draw.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures; must be empty or absent.")],
    model: ModelOptions,
    seeds: Annotated[str, typer.Option(help="Seeds: `0:4` for 0 to 3, or `3,7`.")] = "0:4",
    negative: Annotated[str | None, typer.Option(help="Negative prompt.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="Guidance scale; default: the family's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of denoising steps.")] = None,
    size: Annotated[
        str | None, typer.Option(help="Picture size: `512`, or width and height such as `768x512`.")
    ] = None,
) -> None:
    """Draw one picture per prompt and seed, and a grid with a row for each prompt."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_folder, check_empty_folder
    from clerestory.models import parse_seeds, parse_size
    from clerestory.reporting.pictures import grid, save, save_run

    numbers, sides = parse_seeds(seeds), {} if size is None else parse_size(size)
    check_empty_folder(out)
    opened = model.open()
    for prompt in prompts:
        opened.check_prompt(prompt)
    options: dict[str, Any] = {"negative": negative, "guidance": guidance, "steps": steps, **sides}
    # Only to raise what is wrong with the options before the folder is made.
    opened.options(**options)
    with atomic_folder(out) as part:
        with console.progress_bars() as progress:
            run = opened.run(prompts, numbers, progress=progress, **options)
        save_run(run, part)
        assert run.pictures is not None
        save(grid(run.pictures, columns=len(numbers)), part / "grid.png")
    console.status(f"{len(run.pictures)} pictures and grid.png are in {out}.")
