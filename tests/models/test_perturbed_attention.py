"""Perturbed rows come after those of the branches, and are neither read nor edited."""

import functools

import numpy as np
import pytest
import torch
from contract import PROMPTS, Boom, Ramp, Same
from families import built, perturbed, small_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs

pytestmark = DIFFUSERS_WARNINGS
# The block in which attention is perturbed by default, and one after it.
PERTURBED = {
    "stable_diffusion": ("denoiser.mid.attn.0.blocks.0", "denoiser.up.0.res.0/out"),
    "stable_diffusion_xl": ("denoiser.mid.attn.0.blocks.0", "denoiser.up.0.res.0/out"),
    "stable_diffusion_3": ("denoiser.blocks.1.image", "denoiser.blocks.1.image/resid"),
    "pixart": ("denoiser.blocks.1", "denoiser.blocks.1/mlp"),
    "hunyuan_dit": ("denoiser.blocks.1", "denoiser.blocks.1/mlp"),
    "kolors": ("denoiser.mid.attn.0.blocks.0", "denoiser.up.0.res.0/out"),
    "sana": ("denoiser.blocks.0", "denoiser.blocks.1/resid"),
}


@functools.cache
def pag_model(name):
    return small_model(built(perturbed, name), steps=2)


@pytest.fixture(params=PERTURBED)
def name(request):
    return request.param


def test_pictures_are_the_pipelines_own_read_and_edited_by_nothing(name):
    model = pag_model(name)
    expected = bare(model, PROMPTS[:2], 5)
    edits = [Same(site, "both") for site in model.sites]
    assert np.array_equal(model.run(PROMPTS[:2], 5, read="*", edits=edits).pictures, expected)
    off = model.run(PROMPTS[:2], 5, read="*", perturbed_guidance=0.0).pictures
    assert np.array_equal(off, bare(model, PROMPTS[:2], 5, perturbed_guidance=0.0))
    assert not np.array_equal(off, expected)


@pytest.mark.parametrize("guidance", [3.0, 1.0])
def test_branches_are_the_rows_before_the_perturbed_ones(name, guidance):
    model = pag_model(name)
    block, later = PERTURBED[name]
    branches = ("uncond", "cond") if guidance > 1 else ("cond",)
    if name == "hunyuan_dit" and guidance <= 1:
        pytest.skip("diffusers' own pipeline fails without the other guidance")
    # In the perturbed attention, values are computed for the rows of the branches first.
    for address, calls in ((f"{block}/v", 2), (later, 1)):
        hook = model.family.hooks_by_address[address]
        with collect_outputs(hook.module) as outputs:
            bare(model, PROMPTS[:2], 0, guidance=guidance)
        value = outputs[0][hook.output_index] if isinstance(outputs[0], tuple) else outputs[0]
        assert len(outputs) == calls * len(model.pipeline.scheduler.timesteps)
        assert len(value) == 2 * (len(branches) + (calls == 1))
        value = value.flatten(2).transpose(1, 2) if value.ndim == 4 else value
        for row, branch in enumerate(branches):
            run = model.run(
                PROMPTS[:2], 0, read=f"{address}@0", branch=branch, pool="none", guidance=guidance
            )
            expected = value[2 * row : 2 * row + 2].numpy()
            assert np.array_equal(run.read(address).values[:, 0], expected), (address, branch)


def test_an_edit_moves_the_picture_and_not_the_perturbed_rows(name):
    model = pag_model(name)
    block, later = PERTURBED[name]
    module = model.family.hooks_by_address["denoiser/prediction"].module
    rows = []
    for edits in ([], [Ramp(later, "both")], [Ramp(f"{block}/v", "cond")]):
        with collect_outputs(module) as outputs:
            pictures = model.run(PROMPTS[:2], 0, edits=edits).pictures
        rows.append((outputs[0][0], pictures))
    (plain, unedited), (both, first), (cond, second) = rows
    for changed, pictures in ((both, first), (cond, second)):
        assert torch.equal(changed[4:], plain[4:])
        assert not torch.equal(changed[2:4], plain[2:4])
        assert (pictures != unedited).any(axis=(1, 2, 3)).all()
    assert not torch.equal(both[:2], plain[:2]) and torch.equal(cond[:2], plain[:2])


def test_attentions_are_as_before_after_an_error(name):
    model = pag_model(name)
    expected = bare(model, ["a cat"], 1, perturbed_guidance=0.0)
    with pytest.raises(RuntimeError, match="boom"):
        model.run("a cat", 1, edits=[Boom("denoiser/prediction")])
    assert np.array_equal(bare(model, ["a cat"], 1, perturbed_guidance=0.0), expected)
