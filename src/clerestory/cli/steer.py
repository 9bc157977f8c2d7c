"""`clerestory steer`: build models that carry edits, draw with them, bake them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.steering import SteeredModel

__all__ = ["app"]

_SteeredFolder = Annotated[Path, typer.Argument(help="Folder written by `steer build`.")]

app = typer.Typer(help="Steered models: build, draw, show, bake.", no_args_is_help=True)


@app.callback()
def steer() -> None:
    """Steered models: build, draw, show, bake."""


@app.command()
@takes_model
def draw(
    folder: _SteeredFolder,
    prompts: options.Prompts,
    model: ModelOptions,
    out: options.NewFolder = Path("drawn"),
    seeds: options.Seeds = "0:4",
) -> None:
    """Draw with and without the edits; the grid has a row without and a row with, per prompt.

    The model is the one that the edits were made for, unless --model names another copy of it.
    """
    from clerestory.cli import console
    from clerestory.io.writing import atomic_folder
    from clerestory.models import parse_seeds
    from clerestory.reporting.pictures import grid, pairs, save, save_run

    seed_numbers = parse_seeds(seeds)
    steered = _open(folder, model)
    # All prompts are checked before the first is drawn.
    for prompt in prompts:
        steered.model.check_prompt(prompt)
    edits, columns = [[], steered.edits], len(seed_numbers)
    with atomic_folder(out) as part:
        with console.progress_bars() as progress:
            plain, edited = steered.model.sweep(prompts, seed_numbers, edits, progress=progress)
        save_run(edited, part, edited=True)
        save(grid(pairs(plain, edited, columns=columns), columns=columns), part / "grid.png")
    console.status(f"{len(edited.samples)} pictures and grid.png are in {out}.")


@app.command()
@takes_model
def build(
    findings: options.FindingsFolder,
    target: options.Target,
    model: ModelOptions,
    out: options.NewFolder,
    template: Annotated[
        str | None,
        typer.Argument(
            help="Template with the concept: `a stained glass of {item}`; default: the model's."
        ),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove the concept from prompts that name it.")
    ] = False,
    hard_negative: Annotated[
        str | None,
        typer.Option(
            help="CLASSIFIER=LABEL that must not increase, such as lancet:window=present."
        ),
    ] = None,
    preserve: Annotated[
        list[str] | None,
        typer.Option(help="Classifier whose predictions should not change; repeatable."),
    ] = None,
    min_preservation: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Lowest acceptable preservation; by default the knee of the frontier.",
        ),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", help="Site to edit; repeatable. Default: the best few."),
    ] = None,
    strengths: Annotated[
        str,
        typer.Option(
            help="Strengths to try, in standard deviations of the site's activations: 1,2,4."
        ),
    ] = "",
    items: options.ItemFile = None,
    selection_items: Annotated[int, typer.Option(min=4, help="Number of selection items.")] = 24,
    evaluation_items: Annotated[int, typer.Option(min=4, help="Number of evaluation items.")] = 48,
    seeds_per_item: Annotated[
        int, typer.Option(min=1, help="Number of seeds of each evaluation item, its own.")
    ] = 2,
    seeds: Annotated[
        str | None,
        typer.Option(help="Seeds of every item instead: `0:4`; the figures are then of these."),
    ] = None,
    baselines: Annotated[
        int, typer.Option(min=0, help="Number of edits of the same length without the concept.")
    ] = 99,
    smallest_effect: Annotated[
        float, typer.Option(min=0, max=1, help="Effect above which the edit controls the target.")
    ] = 0.2,
    bound: options.Bound = 0.2,
    search: Annotated[
        Path | None, typer.Option(help="Folder written by `maximize --out`, as a baseline.")
    ] = None,
    slider: Annotated[
        int, typer.Option(min=0, help="Training steps of a LoRA slider as a baseline; 0 for none.")
    ] = 0,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Try strengths, sites and steps of a finding's directions, and save the best as a model.

    Selection classifiers choose the setting; evaluation classifiers measure it on other items and
    compare it with the template, with edits of its length without the concept and other baselines;
    what else changes is part of the claim.
    """
    from clerestory.cli import console
    from clerestory.models import parse_seeds
    from clerestory.steering import steer as build_steered

    seed_numbers = parse_seeds(seeds) if seeds else None
    strength_values = _parse_strengths(strengths)
    opened = model.open()
    with console.progress_bars() as progress:
        result = build_steered(
            opened,
            findings,
            target,
            template,
            remove=remove,
            hard_negative=hard_negative,
            preserve=preserve or (),
            min_preservation=min_preservation,
            sites=sites or (),
            strengths=strength_values,
            items=items,
            selection_items=selection_items,
            evaluation_items=evaluation_items,
            seeds_per_item=seeds_per_item,
            seeds=seed_numbers,
            baselines=baselines,
            smallest_effect=smallest_effect,
            bound=bound,
            search=search,
            slider=slider,
            cache=cache,
            progress=progress,
        )
    result.save(out)
    console.status(f"The steered model and its card are in {out}.")
    console.warn(result.calibration.warnings)
    if json:
        console.write_json({"calibration": result.steered.calibration})
    else:
        console.write_result(result, json=False)


@app.command()
@validated
def show(
    folder: _SteeredFolder,
    json: options.JsonFlag = False,
) -> None:
    """Print the card of a steered model, or all its measurements."""
    from dataclasses import asdict

    from clerestory.cli import console
    from clerestory.steering.card import card
    from clerestory.steering.steered import read_steering

    steering = asdict(read_steering(folder))
    if json:
        console.write_json(steering)
    else:
        console.write(card(steering))


@app.command()
@takes_model
def bake(
    folder: _SteeredFolder,
    out: options.NewFolder,
    model: ModelOptions,
    form: Annotated[
        Literal["pipeline", "lora"], typer.Option("--as", help="A whole pipeline, or a LoRA file.")
    ] = "pipeline",
    json: options.JsonFlag = False,
) -> None:
    """Fold the edits into the weights: a plain diffusers pipeline, or a LoRA, without hooks.

    An edit that is not an affine map is refused, with the reason and the nearest affine edit.
    """
    from clerestory.cli import console
    from clerestory.steering import bake as bake_steered

    result = bake_steered(_open(folder, model), out, lora=form == "lora")
    if json:
        console.write_json(result.to_dict())
    for refusal in result.refusals:
        line = f"{refusal.edit} cannot be folded: {refusal.reason}."
        if refusal.alternative is not None:
            line += f" Nearest that can: {refusal.alternative}"
        if refusal.picture_difference is not None:
            line += f", whose pictures differ by {refusal.picture_difference:.1f} of 255"
        console.status(line)
    if result.folder is None:
        # Nothing was written, which a script has to notice.
        raise typer.Exit(1)
    console.status(
        f"Written to {result.folder}: predictions differ by at most {result.max_difference:.1e} "
        f"from the steered model's, pictures by {result.picture_difference} of 255; the base "
        f"model's pictures differ by {result.base_picture_difference}."
    )


def _open(folder: Path, model: ModelOptions) -> SteeredModel:
    """A saved steered model on its base model, or on the one that the options name."""
    from clerestory.steering import SteeredModel
    from clerestory.steering.steered import read_steering

    base = read_steering(folder).base
    return SteeredModel.load(folder, model.open(base.name, **base.load_options))


def _parse_strengths(text: str) -> tuple[float, ...]:
    from math import isfinite

    from clerestory.errors import OptionError

    try:
        numbers = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        # Refused below with the same message as an infinite one.
        numbers = (float("nan"),)
    if not all(map(isfinite, numbers)):
        raise OptionError(f"--strengths is {text!r}; expected numbers such as 1,2,4.")
    return numbers
