"""What the tests of families share: edits, the bare pipeline, hooks and calls counted."""

from __future__ import annotations

import numpy as np
import torch

from clerestory.edits import Add

PROMPTS = ["a cat", "a dog by me", "cat"]
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Same:
    """Returns what it gets."""

    def __init__(self, site, branch="both"):
        self.site, self.branch = site, branch

    def __call__(self, value):
        return value


class Boom(Same):
    def __call__(self, value):
        raise self.branch_error

    branch_error = RuntimeError("boom")


class Ramp(Same):
    """Adds a large vector, more of it from position to position.

    The same vector on all keys would change nothing: softmax takes no notice of what all share.
    """

    def __call__(self, value):
        vector = 30 * torch.randn(value.shape[-1], generator=torch.Generator().manual_seed(3))
        return value + torch.linspace(1, 2, value.shape[1])[:, None] * vector


def far(model, site, length=30.0):
    """An edit with a large vector."""
    units = model.sites[site].shape[1]
    return Add(site, length * torch.randn(units, generator=torch.Generator().manual_seed(3)))


def bare(model, prompts, seed, **options):
    """What the untouched pipeline draws, called as its own documentation has it."""
    pipeline, told = model.pipeline, model.defaults.replace(**options)
    given = {"height": told.height, "width": told.width, "num_inference_steps": told.steps}
    given |= {"guidance_scale": told.guidance}
    kind = type(pipeline).__name__
    if kind.startswith("Kandinsky"):
        given |= {"prior_num_inference_steps": told.prior_steps, "callback_steps": None}
        given |= {"prior_guidance_scale": told.prior_guidance}
    if kind.startswith("PixArt"):
        given |= {"use_resolution_binning": False, "clean_caption": False}
    if kind.startswith("Flux"):
        given |= {"true_cfg_scale": told.true_guidance} if told.negative else {}
        given |= {"max_sequence_length": 512}
    if told.negative:
        given |= {"negative_prompt": [told.negative] * len(prompts)}
    generators = [torch.Generator().manual_seed(seed) for _ in prompts]
    with torch.no_grad():
        drawn = pipeline(prompts, generator=generators, output_type="np", **given).images
    return (drawn * 255).round().astype(np.uint8)


def hooks_on(pipeline):
    """Every hook on every module; transformers' own stay for good, once they are there."""
    return [
        (part, name, kind, key)
        for part, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module)
        for name, inner in module.named_modules()
        for kind in HOOKS
        for key in getattr(inner, kind)
    ]


def calls(model, monkeypatch):
    """How often each stage's network was called."""
    counted = {}
    for stage, root in model.family.stage_modules.items():
        counted[stage] = 0

        def forward(*args, _stage=stage, _forward=root.forward, **kwargs):
            counted[_stage] += 1
            return _forward(*args, **kwargs)

        monkeypatch.setattr(root, "forward", forward)
    return counted
