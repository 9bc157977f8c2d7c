"""What a pipeline draws and computes without Clerestory, for comparison."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

DIFFUSERS_WARNINGS = [
    # diffusers 0.42 with NumPy 2, in DPMSolver.set_timesteps
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing `image` as torch:FutureWarning"),
]
"""Marks of a module whose tests draw with schedulers and pipelines of every kind."""
ALONE = ("CogView4", "Kandinsky5")
"""Pipelines whose pictures depend on the other prompts of a batch."""


def to_bytes(pictures: Any) -> NDArray[np.uint8]:
    """Pictures of a pipeline, floats from 0 to 1, as `Run.pictures` has them."""
    return (pictures * 255).round().astype(np.uint8)


def bare(
    model: Any,
    prompts: Sequence[str],
    seed: int = 0,
    *,
    generators: Sequence[torch.Generator] | None = None,
    **options: Any,
) -> NDArray[np.uint8]:
    """What the untouched pipeline draws, called as its own documentation has it.

    Each prompt has a generator of the seed, unless `generators` are given.
    """
    pipeline, defaults = model.pipeline, model.defaults.replace(**options)
    kind, count = type(pipeline).__name__, len(prompts)
    arguments = _own_arguments(kind, pipeline, defaults, count)
    if defaults.negative and kind == "Flux2KleinPipeline":
        negative = pipeline.encode_prompt(
            [defaults.negative] * count, max_sequence_length=pipeline.tokenizer_max_length
        )
        arguments |= {"negative_prompt_embeds": negative[0].detach()}
    elif defaults.negative:
        arguments |= {"negative_prompt": [defaults.negative] * count}
    arguments |= defaults.extra.values_by_name
    generators = generators or [torch.Generator().manual_seed(seed) for _ in prompts]
    if kind.startswith(ALONE) and len(prompts) > 1:
        alone = zip(prompts, generators, strict=True)
        drawn = [bare(model, [each], generators=[own], **options) for each, own in alone]
        return np.concatenate(drawn)
    with torch.no_grad():
        pictures = pipeline(
            prompt=list(prompts), generator=list(generators), output_type="np", **arguments
        )[0]
    return to_bytes(pictures)


def _own_arguments(kind: str, pipeline: Any, options: Any, count: int) -> dict[str, Any]:
    """Options by the names that a pipeline's class has for them, and what only it takes."""
    arguments = {"height": options.height, "width": options.width}
    arguments |= {"num_inference_steps": options.steps, "guidance_scale": options.guidance}
    prior = {"prior_num_inference_steps": options.prior_steps}
    prior |= {"prior_guidance_scale": options.prior_guidance}
    decoder = {"decoder_guidance_scale": options.guidance}
    if kind == "UnCLIPPipeline":
        return {**prior, **decoder, "decoder_num_inference_steps": options.steps}
    if kind.startswith("StableCascade"):
        del arguments["guidance_scale"]
        return {**arguments, **prior, **decoder}
    if kind.startswith("QwenImage"):
        del arguments["guidance_scale"]
        arguments |= {"true_cfg_scale": options.true_guidance}
        arguments |= {"negative_prompt": [" "] * count}
    if kind == "HunyuanImagePipeline":
        # The scale is its guider's.
        del arguments["guidance_scale"]
    by_class: dict[str, dict[str, Any]] = {
        "KandinskyCombined": prior,
        # 2.2 warns of its own default.
        "KandinskyV22": {**prior, "callback_steps": None},
        "HunyuanDiT": {"use_resolution_binning": False},
        "IFPipeline": {"clean_caption": False},
        "PixArt": {"use_resolution_binning": False, "clean_caption": False},
        "Sana": {"use_resolution_binning": False, "clean_caption": False},
        "FluxPipeline": {"max_sequence_length": 512},
        "FluxControlNet": {"max_sequence_length": 512},
        "Flux2": {"max_sequence_length": getattr(pipeline, "tokenizer_max_length", None)},
    }
    for name, own in by_class.items():
        arguments |= own if kind.startswith(name) else {}
    if kind == "FluxPipeline" and options.negative:
        arguments |= {"true_cfg_scale": options.true_guidance}
    if kind == "SanaSprintPipeline" and options.steps != 2:
        arguments |= {"intermediate_timesteps": None}
    return {**arguments, "pag_scale": options.perturbed_guidance} if "PAG" in kind else arguments


@contextmanager
def collect_outputs(module: torch.nn.Module) -> Iterator[list[Any]]:
    """What a plain torch hook sees a module return, call by call, while this is open."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
