"""`clerestory attention`: where in the picture the attention of a word goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from clerestory.cli import options
from clerestory.cli.arguments import parse_indices, parse_pairs, split_names
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.models.attention_maps import AttentionMaps

__all__ = ["attention"]

_Words = Annotated[
    str | None, option("Words of the prompt, such as cat,ship or cat#2; default: all of them.")
]
_Layers = Annotated[
    str | None,
    option(
        "Layers, such as `denoiser.up.*`; `text.*` for which word reads which. Default: all in "
        "which the picture attends to words."
    ),
]
_OnlySteps = Annotated[str | None, option("Steps to read, such as `0:4` or `3,7`; default: all.")]
_Heads = Annotated[str | None, option("Heads to read, such as `0:4` or `3,7`; default: all.")]
_Direction = Annotated[
    Literal["to-words", "from-words", "between-words"] | None,
    option("Who attends to whom; default: the picture to words, if the layers have a picture."),
]
_Concepts = Annotated[
    str | None,
    option(
        "In place of words, two or more that the prompt need not have, such as cat,sky: which of "
        "them each position of the picture shows (joint attention only)."
    ),
]
_Space = Annotated[
    Literal["weights", "output"] | None,
    option("What maps are made of: attention's weights, or its output; default: weights."),
]
_Branch = Annotated[Literal["cond", "uncond"], option("The branch of guidance.")]
_Mask = Annotated[
    list[str] | None,
    option("WORD=FILE: where a word is in the picture, white on black; repeatable."),
]


@takes_model
def attention(
    prompt: Annotated[str, argument("Prompt to draw.")],
    model: ModelOptions,
    words: _Words = None,
    concepts: _Concepts = None,
    seed: Annotated[int, option("Seed of the picture.", min=0)] = 0,
    layers: _Layers = None,
    only_steps: _OnlySteps = None,
    heads: _Heads = None,
    direction: _Direction = None,
    space: _Space = None,
    branch: _Branch = "cond",
    mask: _Mask = None,
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Draw a prompt and show where in the picture the attention of its words goes.

    The mean over layers, steps and heads. --out gets each word drawn over the picture, and all maps
    in attention.zarr.
    """
    from clerestory.cli import console
    from clerestory.cli.regions import read_mask
    from clerestory.models import parse_size

    masks = {word: read_mask(Path(path)) for word, path in _mask_files(mask or []).items()}
    settings: dict[str, Any] = {"negative": negative, "guidance": guidance}
    settings |= {} if size is None else parse_size(size)
    with console.progress_bars() as progress:
        maps = model.open().attention(
            prompt,
            seed,
            words=None if words is None else split_names(words),
            layers=layers,
            steps=parse_indices("--only-steps", only_steps),
            heads=parse_indices("--heads", heads),
            direction=direction,
            space=space,
            concepts=None if concepts is None else split_names(concepts),
            branch=branch,
            denoising_steps=steps,
            progress=progress,
            **settings,
        )
    figures = maps.figures(0, masks)
    if out is not None:
        _save(maps, out)
    if maps.difference is not None:
        console.status(str(maps.difference))
    if json:
        attributes = maps.to_dict()
        del attributes["samples"]
        console.write_json({"prompt": prompt, "seed": seed, "words": figures, **attributes})
        return
    console.write(f"{maps.summary()}\n")
    table = maps.table().drop(columns=["prompt", "seed"])
    for word in masks:
        for name in ("mass_inside", "iou", "pointing"):
            table.loc[table["word"] == word, name] = float(figures[word][name])
    console.write_table(table)


def _save(maps: AttentionMaps, out: Path) -> None:
    from clerestory.cli import console
    from clerestory.io.writing import atomic_folder
    from clerestory.reporting.pictures import grid, save, slug
    from clerestory.reporting.plots import png

    with atomic_folder(out) as folder:
        maps.write(folder)
        if maps.has_maps and maps.pictures is not None:
            overlays = maps.overlays()
            save(maps.pictures[0], folder / "picture.png")
            names = {word: slug(word) for word in overlays}
            # If any two collide, all names get a number.
            if len(set(names.values())) < len(names):
                names = {
                    word: f"{index}-{name}" for index, (word, name) in enumerate(names.items())
                }
            for word, picture in overlays.items():
                save(picture, folder / f"word-{names[word]}.png")
            pictures = [maps.pictures[0], *overlays.values()]
            save(grid(pictures, columns=len(pictures)), folder / "grid.png")
        else:
            (folder / "attention.png").write_bytes(png(maps.plot()))
    console.status(f"The maps are in {out}.")


def _mask_files(values: list[str]) -> dict[str, str]:
    return parse_pairs("--mask", values, form="WORD=FILE")
