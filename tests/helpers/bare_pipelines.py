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
    arguments = {"height": defaults.height, "width": defaults.width}
    arguments |= {"num_inference_steps": defaults.steps, "guidance_scale": defaults.guidance}
    kind = type(pipeline).__name__
    if kind.startswith("Kandinsky"):
        arguments |= {"prior_num_inference_steps": defaults.prior_steps}
        # 2.2 warns of its own default.
        arguments |= {"callback_steps": None} if kind.startswith("KandinskyV22") else {}
        arguments |= {"prior_guidance_scale": defaults.prior_guidance}
    if kind.startswith("StableCascade"):
        arguments |= {"prior_num_inference_steps": defaults.prior_steps}
        arguments |= {"prior_guidance_scale": defaults.prior_guidance}
        arguments["decoder_guidance_scale"] = arguments.pop("guidance_scale")
    if kind.startswith("HunyuanDiT"):
        arguments |= {"use_resolution_binning": False}
    if kind == "IFPipeline":
        arguments |= {"clean_caption": False}
    if kind == "UnCLIPPipeline":
        arguments = {
            "prior_num_inference_steps": defaults.prior_steps,
            "decoder_num_inference_steps": defaults.steps,
            "prior_guidance_scale": defaults.prior_guidance,
            "decoder_guidance_scale": defaults.guidance,
        }
    if kind.startswith("PixArt"):
        arguments |= {"use_resolution_binning": False, "clean_caption": False}
    if "PAG" in kind:
        arguments |= {"pag_scale": defaults.perturbed_guidance}
    if kind.startswith("Flux"):
        arguments |= {"true_cfg_scale": defaults.true_guidance} if defaults.negative else {}
        arguments |= {"max_sequence_length": 512}
    if defaults.negative:
        arguments |= {"negative_prompt": [defaults.negative] * len(prompts)}
    arguments |= defaults.extra.values_by_name
    generators = generators or [torch.Generator().manual_seed(seed) for _ in prompts]
    with torch.no_grad():
        pictures = pipeline(
            list(prompts), generator=list(generators), output_type="np", **arguments
        ).images
    return to_bytes(pictures)


@contextmanager
def collect_outputs(module: torch.nn.Module) -> Iterator[list[Any]]:
    """What a plain torch hook sees a module return, call by call, while this is open."""
    outputs: list[Any] = []
    handle = module.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
