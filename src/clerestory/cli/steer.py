"""`clerestory steer`: build models that carry edits, draw with them, bake them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli import steer_bake, steer_build
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["app"]

app = typer.Typer(help="Models that carry edits: build, draw, show, bake.", no_args_is_help=True)


@app.callback()
def steer() -> None:
    """Models that carry edits: build, draw, show, bake."""


@app.command()
@takes_model
def draw(
    folder: Annotated[Path, typer.Argument(help="A steered model, as a study saves it.")],
    prompts: Annotated[list[str], typer.Argument(help="What to draw; several are drawn in turn.")],
    model: ModelOptions,
    out: Annotated[
        Path, typer.Option(help="Folder for the pictures; must be empty or absent.")
    ] = Path("drawn"),
    seeds: Annotated[str, typer.Option(help="`0:4` for 0 to 3, or `3,7`.")] = "0:4",
) -> None:
    """Draw with and without the edits; in the grid each prompt has a row without, then one with.

    The model is the one that the edits were made for, unless you name another copy of it.
    """
    from clerestory.cli import console
    from clerestory.io.outputs import whole_folder
    from clerestory.models import parse_seeds
    from clerestory.reporting.pictures import grid, pairs, save, save_run
    from clerestory.steering import SteeredModel
    from clerestory.steering.steered import opened_as

    numbers = parse_seeds(seeds)
    name, opened_with = opened_as(folder)
    steered = SteeredModel.load(folder, model.open(name, **opened_with))
    for prompt in prompts:
        steered.model.check_prompt(prompt)
    with whole_folder(out) as part:
        with console.progress_bars() as progress:
            runs = steered.model.sweep(prompts, numbers, [[], steered.edits], progress=progress)
        save_run(runs[1], part, edited=True)
        sheet = grid(pairs(runs[0], runs[1], columns=len(numbers)), columns=len(numbers))
        save(sheet, part / "grid.png")
    console.status(f"{len(runs[1].samples)} pictures and grid.png are in {out}.")


app.command()(steer_build.build)
app.command()(steer_bake.show)
app.command()(steer_bake.bake)
