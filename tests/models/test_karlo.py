"""What is Karlo's own: one call of its pipeline in two halves, and super-resolution."""

import numpy as np
import pytest
from contract import PROMPTS, Ramp, calls
from families import built, family_model, karlo, small_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs

from clerestory.errors import OptionError

pytestmark = DIFFUSERS_WARNINGS


@pytest.mark.parametrize("site", ["prior.blocks.1/q", "prior/prediction", "denoiser.mid.attn.0/z"])
def test_branches_are_the_rows_that_a_plain_hook_sees(site):
    model = family_model("karlo")
    hook = model.family.hooks_by_address[site]
    with collect_outputs(hook.module) as outputs:
        bare(model, PROMPTS[:2], 0)
    values = [getattr(each, "predicted_image_embedding", each) for each in outputs]
    if hook.is_input:
        inputs = []
        handle = hook.module.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
        bare(model, PROMPTS[:2], 0)
        handle.remove()
        values = inputs
    for branch, rows in (("uncond", slice(0, 2)), ("cond", slice(2, 4))):
        run = model.run(PROMPTS[:2], 0, read=site, branch=branch, pool="none")
        expected = np.stack([value[rows].numpy() for value in values], 1)
        assert np.array_equal(run.read(site).values.reshape(expected.shape), expected)


def test_the_embedding_is_read_as_the_decoder_takes_it_and_replaces_it():
    model, seen = family_model("karlo"), []
    handle = model.pipeline.text_proj.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    sites = ["prior/embedding", "denoiser/condition", "denoiser/pooled"]
    try:
        run = model.run(PROMPTS[:2], 0, read=sites, edits=[Ramp("prior/embedding")], pool="none")
        bare(model, PROMPTS[:2], 0)
    finally:
        handle.remove()
    whole, plain = seen
    embedding, condition, pooled = (run.read(site).values[:, 0] for site in sites)
    assert np.array_equal(embedding[:, 0], whole["image_embeddings"].numpy())
    assert not np.allclose(embedding[:, 0], plain["image_embeddings"], atol=1.0)
    assert np.array_equal(condition, plain["text_encoder_hidden_states"][2:].numpy())
    assert np.array_equal(pooled[:, 0], plain["prompt_embeds"][2:].numpy())


def test_the_last_step_of_super_resolution_is_a_network_of_its_own():
    model, options = family_model("karlo"), {"extra": {"super_res_num_inference_steps": 3}}
    sites = ["super_res.mid.res.0/out", "super_res_last.mid.res.0/out"]
    run = model.run("a cat", 0, read=sites, **options)
    steps = [run.read(site).step.values.tolist() for site in sites]
    assert steps == [[0, 1], [2]]
    timesteps = np.concatenate([run.read(site).timestep.values for site in sites])
    assert timesteps.tolist() == model.pipeline.super_res_scheduler.timesteps.tolist()
    edited = model.run("a cat", 0, edits=[Ramp(sites[1])], **options)
    assert not np.array_equal(edited.pictures, run.pictures)


def test_a_run_is_left_after_the_last_stage_that_is_read(monkeypatch):
    model = small_model(built(karlo))
    counted = calls(model, monkeypatch)
    for read, expected in (
        ("text.*", [1, 0, 0, 0, 0]),
        ("prior.*", [2, 3, 0, 0, 0]),
        ("denoiser.*", [2, 3, 3, 0, 0]),
        ("super_res.*", [2, 3, 3, 6, 0]),
    ):
        counted.update(dict.fromkeys(counted, 0))
        model.run(PROMPTS, 0, read=read, pictures=False)
        assert [counted[stage] for stage in model.family.stages] == expected, read


def test_what_its_networks_decide_cannot_be_asked_for():
    model = family_model("karlo")
    for option in ({"height": 32}, {"negative": "a dog"}):
        with pytest.raises(OptionError):
            model.run("a cat", 0, **option)
    whole = {"guidance": 1.0, "prior_guidance": 1.0}
    run = model.run(PROMPTS[:2], 0, read="*", **whole)
    assert np.array_equal(run.pictures, bare(model, PROMPTS[:2], 0, **whole))
