"""`clerestory steer bake` and `steer show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["bake", "show"]


@takes_model
def bake(
    folder: Annotated[Path, typer.Argument(help="A steered model.")],
    out: Annotated[Path, typer.Option(help="Folder for what is written; empty or absent.")],
    model: ModelOptions,
    form: Annotated[
        Literal["pipeline", "lora"], typer.Option("--as", help="Whole weights, or a LoRA file.")
    ] = "pipeline",
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Fold the edits into the weights: a plain diffusers pipeline, or a LoRA, that needs no hooks.

    An edit that is no matrix is refused with the reason, and the nearest one that is is told.
    """
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder
    from clerestory.steering import SteeredModel
    from clerestory.steering import bake as fold
    from clerestory.steering.steered import opened_as

    free_folder(out)
    name, opened_with = opened_as(folder)
    made = fold(
        SteeredModel.load(folder, model.open(name, **opened_with)), out, lora=form == "lora"
    )
    if json:
        console.write_json(made.told())
    for one in made.refused:
        offer = "" if one.offer is None else f" Nearest that can: {one.offer}"
        apart = "" if one.apart is None else f", {one.apart:.1f} of 255 apart in pictures"
        console.status(f"{one.edit} cannot be folded: {one.why}.{offer}{apart}")
    if made.folder is None:
        raise typer.Exit(1)
    console.status(
        f"Written to {made.folder}: {made.max_difference:.1e} from the steered model's "
        f"predictions, {made.pictures_apart} of 255 at most from its pictures, "
        f"{made.from_base} from the base's."
    )


@validated
def show(
    folder: Annotated[Path, typer.Argument(help="A steered model.")],
    json: Annotated[bool, typer.Option("--json", help="steering.json, to stdout.")] = False,
) -> None:
    """Print what a steered model is: its card, or all that was measured."""
    from clerestory.cli import console
    from clerestory.steering.card import card
    from clerestory.steering.steered import steering_of

    told = steering_of(folder)
    if json:
        console.write_json(told)
    else:
        console.write(card(told))
