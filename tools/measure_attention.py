"""Maps of words against the true masks of scenes, on a Lancet: `results/attention/NAME.json`.

python tools/measure_attention.py --model lancet-unet [--art build/art] [--scenes 48] [--seeds 2]

A picture that a model draws has no true mask, but a scene of Lancet's world has. So the scene's own
picture is encoded, noise is added as the scheduler would at each step, and the denoiser is given
that instead of what it drew so far; maps are read as always. An item is a scene with two objects;
each seed is other noise. Maps are held against two baselines on the same masks: a centred blob, and
the map of the other object's word. Maps over a model's own pictures are not scored.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from paths import BUILD, RESULTS
from torch import Tensor

from clerestory.edits import Patch
from clerestory.errors import ClerestoryError, SiteError
from clerestory.evaluation.localization import MEASURES, localization_of
from clerestory.models.attention import select_layers
from clerestory.models.attention_outputs import joint_layers
from clerestory.stats.clustered_intervals import share_interval
from clerestory.stats.maps import mask_figures
from clerestory.types import Floats

FOLDER = RESULTS / "attention"
LATENT = "denoiser/latent"
FIRST_SCENE = 10_000_000
"""Seeds of scenes from here on, which no training reads."""
LEAST_AREA = 0.01
"""Objects that cover less of the picture are too small for maps of 16×16 positions."""
METHODS = ("weights", "output", "concepts")
"""Attention's weights; its outputs, of words and of concepts, where there is joint attention."""
BLOB = 0.25
"""The standard deviation of the centred blob, as a share of the picture's side."""

Maps: TypeAlias = Mapping[str, Floats]
Masks: TypeAlias = Mapping[str, NDArray[np.bool_]]
Rows: TypeAlias = list[dict[str, float]]


def choose_scenes(world: Any, art: Any, count: int, size: int) -> list[tuple[Any, Masks]]:
    """Scenes of two objects whose captions name both, with their masks.

    Args:
        world: Lancet's world.
        art: Its sprites.
        count: How many scenes.
        size: Height and width of pictures in pixels.

    Returns:
        Scenes with the masks of their objects, `[size, size]`.
    """
    from lancet.world.drawing import object_masks
    from lancet.world.sampler import scene_for

    found: list[tuple[Any, Mapping[str, NDArray[np.bool_]]]] = []
    seed = FIRST_SCENE
    while len(found) < count:
        scene = scene_for(world, seed, kind="pair")
        seed += 1
        names = scene.subject, scene.second
        # A synonym, and a word that is part of another one, would be no word of the caption.
        if not all(
            len(re.findall(rf"\b{re.escape(name)}\b", scene.caption)) == 1 for name in names
        ):
            continue
        masks = object_masks(art, world, scene, size)
        if all(masks[name].mean() >= LEAST_AREA for name in names):
            found.append((scene, masks))
    return found


def noised_inputs(
    model: Any, prompt: str, picture: NDArray[np.uint8], seeds: Sequence[int]
) -> list[Patch]:
    """Edits that give the denoiser a picture at each step's level of noise.

    Args:
        model: A latent diffusion model.
        prompt: Any prompt, which tells the steps.
        picture: `[height, width, 3]`.
        seeds: Seeds of noise, one for each sample of the run.

    Returns:
        An edit for each step, with a value for each seed.

    Raises:
        SiteError: The model has no autoencoder, or its scheduler does not say how it adds noise.
    """
    pipeline = model.pipeline
    scheduler, vae = getattr(pipeline, "scheduler", None), getattr(pipeline, "vae", None)
    if vae is None or not (hasattr(scheduler, "scale_noise") or hasattr(scheduler, "add_noise")):
        raise SiteError(f"{model.name} has no autoencoder and scheduler that make noised latents.")
    clean = _encode(vae, picture)
    steps = model.run(prompt, 0, read=LATENT, pool="none", pictures=False, progress=False).read(
        LATENT
    )
    noise = torch.cat(
        [torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    )
    edits = []
    for index in steps["step"].to_numpy().tolist():
        timestep = torch.tensor([float(steps["timestep"].to_numpy()[index])])
        noised = _add_noise(scheduler, clean, noise, timestep)
        values = noised.flatten(2).transpose(1, 2).numpy()
        edits.append(Patch(f"{LATENT}@{index}", values))
    return edits


def _encode(vae: Any, picture: NDArray[np.uint8]) -> Tensor:
    values = torch.from_numpy(picture).permute(2, 0, 1)[None].to(vae.device, vae.dtype)
    with torch.no_grad():
        latents = vae.encode(values / 127.5 - 1).latent_dist.mode().float().cpu()
    scaled: Tensor = (latents - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor
    return scaled


def _add_noise(scheduler: Any, clean: Tensor, noise: Tensor, timestep: Tensor) -> Tensor:
    rows = clean.expand(len(noise), -1, -1, -1)
    if hasattr(scheduler, "scale_noise"):
        mixed: Tensor = scheduler.scale_noise(rows, timestep.expand(len(noise)), noise)
        return mixed
    noised: Tensor = scheduler.add_noise(rows, noise, timestep.long().expand(len(noise)))
    return noised


def methods_of(model: Any) -> list[str]:
    """The kinds of maps of words that a model has.

    Args:
        model: The model.

    Returns:
        `weights`, and with joint attention `output` and `concepts`.
    """
    try:
        joint_layers(model)
    except SiteError:
        return ["weights"]
    return list(METHODS)


def read_maps(
    model: Any, method: str, scene: Any, seeds: Sequence[int], edits: Sequence[Patch]
) -> Any:
    """Maps of the two objects of a scene, for each seed and step.

    Args:
        model: The model.
        method: One of `METHODS`.
        scene: The scene.
        seeds: A sample each.
        edits: Those of `noised_inputs`.

    Returns:
        float `[word, sample, step, y, x]`.
    """
    names = [scene.subject, scene.second]
    asked: dict[str, Any] = {"words": names}
    if method == "output":
        asked["space"] = "output"
    if method == "concepts":
        # What is around the objects is named too: maps are shares among concepts.
        asked = {"concepts": [*names, scene.place]}
    maps = model.attention(
        scene.caption,
        list(seeds),
        keep="step",
        edits=edits,
        pictures=False,
        batch=len(seeds),
        progress=False,
        **asked,
    )
    return maps.array.sel(word=names).transpose("word", "sample", "step", "y", "x").to_numpy()


def centred_blob(shape: tuple[int, int]) -> Floats:
    """A Gaussian in the middle of the picture.

    Args:
        shape: Height and width.

    Returns:
        float32 `[y, x]`.
    """
    down, along = (np.abs((np.arange(side) + 0.5) / side - 0.5) / BLOB for side in shape)
    return np.exp(-(down[:, None] ** 2 + along[None] ** 2) / 2).astype(np.float32)


def score(maps: Maps, masks: Masks) -> dict[str, Rows]:
    """Figures of each object's map, and of the baselines on the same masks.

    Args:
        maps: `[y, x]` by object, two of them.
        masks: By object.

    Returns:
        By `map`, `blob` and `other word` a row for each object.
    """
    names = list(maps)
    rows: dict[str, Rows] = {"map": [], "blob": [], "other word": []}
    for name, other in zip(names, reversed(names), strict=True):
        shape = maps[name].shape
        drawn = {"map": maps[name], "blob": centred_blob(shape), "other word": maps[other]}
        for kind, values in drawn.items():
            figures = mask_figures(values, masks[name])
            rows[kind].append({key: float(figures[key]) for key in MEASURES})
    return rows


def summarize(items: Sequence[Mapping[str, Rows]]) -> dict[str, Any]:
    """Means with intervals over items, and differences from the baselines.

    Args:
        items: For each scene, what `score` gave of all its seeds together.

    Returns:
        By `map`, `blob`, `other word` the measures with intervals; by `map - blob` and
        `map - other word` the differences, on the same scenes.
    """
    found: dict[str, Any] = {}
    for kind in ("map", "blob", "other word"):
        localized = localization_of([each[kind] for each in items])
        found[kind] = {name: asdict(value) for name, value in localized.items()}
    for kind in ("blob", "other word"):
        found[f"map - {kind}"] = {}
        for name in MEASURES:
            pairs = [
                [np.mean([row[name] for row in each[k]]) for k in ("map", kind)] for each in items
            ]
            differences = np.array([first - second for first, second in pairs])
            low, high = share_interval(differences)
            mean = float(differences.mean())
            found[f"map - {kind}"][name] = {"mean": mean, "low": low, "high": high}
    return found


def measure(
    model: Any, scenes: Sequence[tuple[Any, Masks]], draw: Any, seeds: Sequence[int]
) -> dict[str, Any]:
    """Score all methods of a model on scenes.

    Args:
        model: The model.
        scenes: Scenes and masks.
        draw: Makes the picture of a scene.
        seeds: Seeds of noise.

    Returns:
        By method the summary of maps averaged over steps, and `steps`: the mean of each measure at
        each step alone, without intervals.
    """
    methods = methods_of(model)
    scores: dict[str, list[dict[str, Rows]]] = {method: [] for method in methods}
    by_step: dict[str, list[list[Rows]]] = {method: [] for method in methods}
    for scene, masks in scenes:
        edits = noised_inputs(model, scene.caption, draw(scene), seeds)
        names = [scene.subject, scene.second]
        for method in methods:
            maps = read_maps(model, method, scene, seeds, edits)
            item: dict[str, Rows] = {"map": [], "blob": [], "other word": []}
            for sample in range(len(seeds)):
                means = dict(zip(names, maps[:, sample].mean(1), strict=True))
                for kind, rows in score(means, masks).items():
                    item[kind] += rows
            scores[method].append(item)
            by_step[method].append(_step_rows(names, maps, masks))
    return {
        method: {
            **summarize(scores[method]),
            "steps": _step_means(by_step[method]),
        }
        for method in methods
    }


def _step_rows(names: Sequence[str], maps: Floats, masks: Masks) -> list[Rows]:
    """For each step the rows of all samples and objects."""
    return [
        [
            row
            for sample in range(maps.shape[1])
            for row in score(dict(zip(names, maps[:, sample, step], strict=True)), masks)["map"]
        ]
        for step in range(maps.shape[2])
    ]


def _step_means(items: Sequence[Sequence[Rows]]) -> list[dict[str, float]]:
    steps = zip(*items, strict=True)
    return [
        {name: float(np.mean([row[name] for rows in step for row in rows])) for name in MEASURES}
        for step in steps
    ]


def table(figures: Mapping[str, Any]) -> str:
    """The methods as rows of Markdown.

    Args:
        figures: What a file holds.

    Returns:
        The table: means and 95% intervals over scenes.
    """
    lines = ["| maps | intersection over union | pointing | mass inside |", "|---|---|---|---|"]
    methods = figures["methods"]
    first = next(iter(methods.values()))
    rows = {method: each["map"] for method, each in methods.items()}
    rows |= {"centred blob": first["blob"]}
    rows |= {f"{method}, other word": each["other word"] for method, each in methods.items()}
    for name, each in rows.items():
        cells = [
            f"{each[key]['mean']:.2f} ({each[key]['low']:.2f} to {each[key]['high']:.2f})"
            for key in ("iou", "pointing", "mass_inside")
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure one model."""
    import clerestory
    from lancet.world.art import Art
    from lancet.world.drawing import draw
    from lancet.world.table import World

    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--art", type=Path, default=BUILD / "art")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    try:
        model = clerestory.load(arguments.model, device="cpu")
        # Before anything is drawn: the error says what else there is.
        select_layers(model, None, None)
        world, art = World.load(), Art.open(arguments.art)
        size = model.defaults.height
        scenes = choose_scenes(world, art, arguments.scenes, size)
        seeds = range(arguments.seeds)
        methods = measure(model, scenes, lambda scene: draw(art, world, scene, size), seeds)
    except ClerestoryError as error:
        sys.exit(str(error))
    figures = {
        "model": model.name,
        "revision": model.revision,
        "steps": model.defaults.steps,
        "scenes": [scene.seed for scene, _ in scenes],
        "seeds": list(seeds),
        "methods": methods,
    }
    out = arguments.out or FOLDER / f"{Path(model.name).name}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")
    sys.stdout.write(table(figures) + "\n")


if __name__ == "__main__":
    main()
