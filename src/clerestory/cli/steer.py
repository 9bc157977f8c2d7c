"""`clerestory steer`: build models that carry edits, draw with them, bake them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.model_options import ModelOptions, takes_model, takes_model_alone
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clerestory.steering import SteeredModel

__all__ = ["app"]

_SteeredFolder = Annotated[Path, argument("Folder written by `steer build`.")]

app = typer.Typer(help="Steered models: build, draw, show, bake.", no_args_is_help=True)

_Template = Annotated[
    str | None,
    argument("Template with the concept: `a stained glass of {item}`; default: the model's."),
]
_Findings = Annotated[
    Path | None, argument("Folder written by `find --out`; none with --from-pictures.")
]
_Target = Annotated[
    str | None,
    argument("CLASSIFIER=LABEL, such as lancet:mood=scared; none with --from-pictures."),
]
_FromPictures = Annotated[
    Path | None, option("Folder of pictures with what is wanted, PNG or JPEG; 8 or more.")
]
_Against = Annotated[
    Path | None, option("Folder of pictures without it, alike in all else.", "--against")
]
_Remove = Annotated[bool, option("Remove the concept from prompts that name it.", "--remove")]
_HardNegative = Annotated[
    str | None, option("CLASSIFIER=LABEL that must not increase, such as lancet:window=present.")
]
_Preserve = Annotated[
    list[str] | None, option("Classifier whose predictions should not change; repeatable.")
]
_MinPreservation = Annotated[
    float | None,
    option("Lowest acceptable preservation; by default the knee of the frontier.", min=0, max=1),
]
_Sites = Annotated[
    list[str] | None, option("Site to edit; repeatable. Default: the best few.", "--site")
]
_Strengths = Annotated[
    str, option("Strengths to try, in standard deviations of the site's activations: 1,2,4.")
]
_SeedsPerItem = Annotated[int, option("Number of seeds of each evaluation item, its own.", min=1)]
_Baselines = Annotated[
    int, option("Number of edits of the same length without the concept.", min=0)
]
_SmallestEffect = Annotated[
    float, option("Effect above which the edit controls the target.", min=0, max=1)
]
_Search = Annotated[Path | None, option("Folder written by `maximize --out`, as a baseline.")]
_Slider = Annotated[
    int, option("Training steps of a LoRA slider as a baseline; 0 for none.", min=0)
]
_Form = Annotated[Literal["pipeline", "lora"], option("A whole pipeline, or a LoRA file.", "--as")]


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
    region: options.Region = None,
) -> None:
    """Draw with and without the edits; the grid has a row without and a row with, per prompt.

    With --region the edits act there, in place of where they were built for.

    The model is the one that the edits were made for, unless --model names another copy of it.
    """
    from dataclasses import replace

    from clerestory.cli import console
    from clerestory.cli.regions import read_region
    from clerestory.io.writing import atomic_folder
    from clerestory.models import parse_seeds
    from clerestory.reporting.pictures import grid, pairs, save, save_run

    seed_numbers, part_of_picture = parse_seeds(seeds), read_region(region)
    steered = _open(folder, model)
    # All prompts are checked before the first is drawn.
    for prompt in prompts:
        steered.model.check_prompt(prompt)
    edited_by = list(steered.edits)
    if part_of_picture is not None:
        # Edits that were loaded are dataclasses.
        edited_by = [replace(cast(Any, edit), region=part_of_picture) for edit in edited_by]
    edits, columns = [[], edited_by], len(seed_numbers)
    with atomic_folder(out) as part:
        with console.progress_bars() as progress:
            plain, edited = steered.model.sweep(prompts, seed_numbers, edits, progress=progress)
        save_run(edited, part, edited=True)
        save(grid(pairs(plain, edited, columns=columns), columns=columns), part / "grid.png")
    console.status(f"{len(edited.samples)} pictures and grid.png are in {out}.")


@app.command()
@takes_model
def build(
    model: ModelOptions,
    out: options.NewFolder,
    findings: _Findings = None,
    target: _Target = None,
    template: _Template = None,
    from_pictures: _FromPictures = None,
    against: _Against = None,
    remove: _Remove = False,
    hard_negative: _HardNegative = None,
    preserve: _Preserve = None,
    min_preservation: _MinPreservation = None,
    sites: _Sites = None,
    region: options.Region = None,
    strengths: _Strengths = "",
    items: options.ItemFile = None,
    selection_items: Annotated[int, option("Number of selection items.", min=4)] = 24,
    evaluation_items: Annotated[int, option("Number of evaluation items.", min=4)] = 48,
    seeds_per_item: _SeedsPerItem = 2,
    seeds: options.ItemSeeds = None,
    baselines: _Baselines = 99,
    smallest_effect: _SmallestEffect = 0.2,
    bound: options.Bound = 0.2,
    search: _Search = None,
    slider: _Slider = 0,
    cache: options.CacheFlag = True,
    json: options.JsonFlag = False,
) -> None:
    """Try strengths, sites and steps of a finding's directions, and save the best as a model.

    With --from-pictures and --against, in place of FINDINGS and TARGET, the direction is the
    difference of two folders of pictures for the model's own image encoder; --strengths then has
    one number, by default 1: as far as the pictures differ.

    Selection classifiers choose the setting; evaluation classifiers measure it on other items and
    compare it with the template, with edits of its length without the concept and other baselines;
    what else changes is part of the claim.
    """
    from clerestory.cli import console
    from clerestory.cli.regions import read_region
    from clerestory.errors import OptionError
    from clerestory.models import parse_seeds
    from clerestory.steering import steer as build_steered

    seed_numbers = parse_seeds(seeds) if seeds else None
    if from_pictures is not None or against is not None:
        others: dict[str, Any] = {
            "FINDINGS": findings,
            "TARGET": target,
            "TEMPLATE": template,
            "--remove": remove,
        }
        others |= {"--site": sites, "--region": region, "--search": search, "--slider": slider}
        others |= {"--hard-negative": hard_negative, "--preserve": preserve, "--seeds": seeds}
        others |= {"--items": items, "--min-preservation": min_preservation}
        _check_alone([name for name, value in others.items() if value])
        _build_from_pictures(model, from_pictures, against, _parse_strengths(strengths), out, json)
        return
    if findings is None or target is None:
        raise OptionError(
            "steer build takes FINDINGS and TARGET, or --from-pictures with --against."
        )
    strength_values, part_of_picture = _parse_strengths(strengths), read_region(region)
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
            region=part_of_picture,
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


def _check_alone(others: Sequence[str]) -> None:
    """OptionError where there is something that a direction of pictures has no use for."""
    from clerestory.errors import OptionError

    if others:
        raise OptionError(
            f"{', '.join(others)} would change nothing with --from-pictures and --against: a "
            "direction of pictures is neither selected nor calibrated; leave it out."
        )


def _build_from_pictures(
    model: ModelOptions,
    good: Path | None,
    against: Path | None,
    strengths: Sequence[float],
    out: Path,
    json: bool,
) -> None:
    """The direction of two folders of pictures as a steered model."""
    from clerestory.cli import console
    from clerestory.errors import OptionError
    from clerestory.io.writing import atomic_folder
    from clerestory.steering import direction_from_pictures

    if good is None or against is None:
        raise OptionError("--from-pictures and --against belong together: give both folders.")
    if len(strengths) > 1:
        raise OptionError(
            f"--strengths has {len(strengths)} numbers; of pictures one is taken: nothing selects."
        )
    opened = model.open()
    found = direction_from_pictures(opened, good, against)
    with atomic_folder(out) as folder:
        found.steered(opened, *strengths).save(folder)
        found.write(folder / "pictures")
    console.status(f"The steered model is in {out}, the direction in {out / 'pictures'}.")
    console.warn(found.warnings)
    console.write_result(found, json=json)


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
@takes_model_alone
def bake(
    folder: _SteeredFolder,
    out: options.NewFolder,
    model: ModelOptions,
    form: _Form = "pipeline",
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
