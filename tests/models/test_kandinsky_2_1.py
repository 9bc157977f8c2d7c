"""What is Kandinsky 2.1's own: a second text encoder whose states go to the denoiser."""

import numpy as np
import pytest
import torch
from contract import PROMPTS, calls, far
from families import built, family_model, kandinsky_2_1, small_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs

from clerestory.models import load

pytestmark = DIFFUSERS_WARNINGS
HANDED = ["prior/embedding", "denoiser/condition", "denoiser/pooled"]


def given(model, *args, **options):
    """What a run reads where it hands over, and what the denoiser is given at its first step."""
    seen = []
    handle = model.pipeline.unet.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    try:
        run = model.run(*args, read=HANDED, pool="none", **options)
    finally:
        handle.remove()
    added = seen[0]["added_cond_kwargs"]
    taken = [added["image_embeds"], seen[0]["encoder_hidden_states"], added["text_embeds"]]
    return [run.read(site).values[:, 0] for site in HANDED], taken


@pytest.mark.parametrize("negative", ["", "a dog"])
def test_the_denoiser_is_given_what_is_read_in_each_branch(negative):
    model = family_model("kandinsky_2_1")
    for branch, rows in (("cond", slice(2, 4)), ("uncond", slice(0, 2))):
        read, taken = given(model, PROMPTS[:2], 3, branch=branch, negative=negative)
        for values, tensor in zip(read, taken, strict=True):
            expected = tensor[rows].numpy().reshape(values.shape)
            assert np.array_equal(values, expected), branch


def test_a_negative_prompt_is_the_priors_alone():
    model = family_model("kandinsky_2_1")
    (one, text, pooled), _ = given(model, "a cat", 3, branch="uncond")
    (other, same, same_pooled), _ = given(model, "a cat", 3, branch="uncond", negative="a dog")
    assert not np.allclose(one, other, atol=1e-3)
    assert np.array_equal(text, same) and np.array_equal(pooled, same_pooled)


def test_the_second_encoder_is_read_as_a_plain_hook_sees_it():
    model = family_model("kandinsky_2_1")
    texts = ["text_2.blocks.1/v", "text_2.blocks.0/resid", "text_2/pooled"]
    for site in [*texts, "denoiser.mid.attn.0/q"]:
        with collect_outputs(model.sites[site].module) as outputs:
            bare(model, PROMPTS[:2], 3)
        value = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
        run = model.run(PROMPTS[:2], 3, read=f"{site}@0", pool="none")
        expected = value[-2:].numpy()
        assert np.array_equal(run.read(site).values[:, 0].reshape(expected.shape), expected)


def test_keys_of_the_condition_are_image_tokens_and_the_text():
    model, site = family_model("kandinsky_2_1"), "denoiser.mid.attn.0/condition_k"
    assert model.sites[site].shape[0] == 10 + 77
    edit = far(model, "denoiser/condition", 3.0)
    plain, edited = model.sweep("a cat", 0, [[], [edit]], read=f"{site}@0", pool="none")
    gap = np.abs(edited.read(site).values - plain.read(site).values)[0, 0].max(-1)
    assert (gap[:10] == 0).all() and (gap[10:] > 0).all()
    mean = model.run("a cat", 0, read=f"{site}@0", pool="mean").read(site).values[0, 0]
    real = model.family.text_windows["condition"].token_mask(["a cat"])[0].numpy()
    assert not real[:10].any() and real.sum() == 3
    assert np.allclose(mean, plain.read(site).values[0, 0][real].mean(0), atol=1e-5)


def test_stages_are_run_as_far_as_they_are_read(monkeypatch):
    model = small_model(built(kandinsky_2_1))
    counted = calls(model, monkeypatch)
    for read, expected in (
        ("text.*", [1, 0, 0, 0, 0]),
        ("text_2.*", [1, 1, 0, 0, 0]),
        ("prior/embedding", [2, 2, 3, 0, 0]),
        ("denoiser/prediction", [2, 2, 3, 3, 0]),
    ):
        counted.update(dict.fromkeys(counted, 0))
        model.run(PROMPTS, 0, read=read, pictures=False)
        assert [counted[stage] for stage in model.family.stages] == expected, read


def test_it_opens_from_a_decoder_and_its_prior(tmp_path):
    pipeline = built(kandinsky_2_1)
    pipeline.decoder_pipe.save_pretrained(tmp_path / "decoder")
    pipeline.prior_pipe.save_pretrained(tmp_path / "prior")
    model = load(tmp_path / "decoder", prior=tmp_path / "prior", device="cpu")
    options = {"height": 16, "width": 16, "steps": 2, "prior_steps": 2}
    options |= {"guidance": 4.0, "prior_guidance": 4.0}
    drawn = model.run("a cat", 3, **options).pictures.astype(int)
    assert np.abs(drawn - small_model(pipeline).run("a cat", 3, **options).pictures).max() <= 1
    assert torch.equal(
        model.pipeline.text_encoder.LinearTransformation.weight,
        pipeline.text_encoder.LinearTransformation.weight,
    )
