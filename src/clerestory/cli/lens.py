"""`clerestory lens`: the picture of a prompt as drawn from each layer of its text encoder."""

from __future__ import annotations

from typing import Annotated, Any

from clerestory.cli import options
from clerestory.cli.arguments import parse_indices
from clerestory.cli.model_options import ModelOptions, takes_model
from clerestory.cli.options import option

__all__ = ["lens"]

_Layers = Annotated[
    str | None, option("Layers of the text encoder, from 0, such as `0:4` or `3,7`; default: all.")
]
_Encoders = Annotated[
    list[str] | None,
    option(
        "Text encoder that is cut, such as text_2; repeatable. Default: all, at the same relative "
        "depth.",
        "--encoder",
    ),
]
_Classifiers = Annotated[
    list[str] | None,
    option("Classifier whose predictions are reported by layer; repeatable.", "--classifier"),
]


@takes_model
def lens(
    prompts: options.Prompts,
    model: ModelOptions,
    seeds: Annotated[str, option("Seeds of each prompt: `0:4` for 0 to 3, or `3,7`.")] = "0",
    layers: _Layers = None,
    encoders: _Encoders = None,
    classifiers: _Classifiers = None,
    negative: options.NegativePrompt = None,
    guidance: options.Guidance = None,
    steps: options.Steps = None,
    size: options.Size = None,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Draw prompts from each layer of the text encoder, as if it were the last one.

    The blocks after a layer pass its output on unchanged to the final norm, the prior and the
    denoiser. --out gets grid.png, a row for each layer and a column for each sample, and lens.json.
    """
    from functools import partial

    from clerestory.classifiers import load_classifier
    from clerestory.classifiers.base import classify
    from clerestory.cli import console
    from clerestory.models import parse_seeds, parse_size

    settings: dict[str, Any] = {"negative": negative, "guidance": guidance, "steps": steps}
    settings |= {} if size is None else parse_size(size)
    seed_numbers = parse_seeds(seeds)
    chosen = None if layers is None else parse_indices("--layers", layers)
    opened = model.open()
    # Loaded before anything is drawn: an unknown name costs no time.
    loaded = {name: load_classifier(name) for name in classifiers or ()}
    with console.progress_bars() as progress:
        result = opened.lens(
            prompts, seed_numbers, layers=chosen, encoders=encoders, progress=progress, **settings
        )
    for name, classifier in loaded.items():
        result = result.classify(name, classifier.classes, partial(classify, classifier))
    if out is not None:
        result.save(out)
        console.status(f"grid.png and lens.json are in {out}.")
    console.write_result(result, json=json)
