"""HunyuanImage: what a prompt quotes, its guiders, and the order of its text's stream."""

import numpy as np
import pytest
import torch
from families import built, family_model, small_model
from helpers.bare_pipelines import bare, collect_outputs
from language_families import hunyuan_image

from clerestory.edits import Add
from clerestory.models import wrap

QUOTING = "a 'cat' by \"me\""
GLYPHS = 'Text "cat". Text "me". '
"""What the model's authors make of the quotations, a token for each byte, and one for the end."""


def test_what_is_quoted_is_read_apart_and_words_are_found_in_it():
    model = family_model("hunyuan_image")
    with collect_outputs(model.pipeline.text_encoder_2) as outputs:
        bare(model, [QUOTING], 0)
    run = model.run(QUOTING, 0, read="denoiser/condition_2", pool="none", pictures=False)
    values = run.read("denoiser/condition_2").values[0, 0]
    assert np.allclose(values, outputs[0][0].detach()[0], atol=1e-6)
    window = model.family.text_windows["quoted"]
    (own,) = window.token_mask([QUOTING])
    assert own.nonzero()[:, 0].tolist() == list(range(len(GLYPHS) + 1))
    (word,) = window.word_mask([QUOTING], "me")
    assert word.nonzero()[:, 0].tolist() == [18, 19] and GLYPHS[18:20] == "me"
    nothing = model.run("a cat", 0, read="denoiser/condition_2", pictures=False)
    assert not nothing.read("denoiser/condition_2").values.any()


def test_the_texts_stream_has_quotations_then_the_prompt_then_padding():
    model, site = family_model("hunyuan_image"), "denoiser.blocks.0.text/k"
    net = model.pipeline.transformer
    projection = net.transformer_blocks[0].attn.add_k_proj
    with collect_outputs(net.context_embedder) as texts, collect_outputs(projection) as keys:
        bare(model, [QUOTING, "a cat"], 0)
    run = model.run([QUOTING, "a cat"], 0, read=site, pool="none", pictures=False)
    assert np.allclose(run.read(site).values[:, 0], keys[0].detach(), atol=1e-5)
    # By what the pipeline's own tokenizer says, with a template of five tokens.
    joined = model.family.text_windows["joined"]
    for row, (prompt, quoted) in enumerate(((QUOTING, len(GLYPHS) + 1), ("a cat", 0))):
        real = model.family.text_windows["condition"].token_mask([prompt])[0]
        (mask,) = joined.token_mask([prompt])
        assert mask[:quoted].all() and mask.sum() == quoted + real.sum()
        assert mask[quoted : quoted + len(real)].tolist() == real.tolist()[: len(mask) - quoted]
        pooled = model.run(prompt, 0, read=site, pictures=False).read(site).values[0, 0]
        expected = keys[0].detach()[row][mask].mean(0)
        assert np.allclose(pooled, expected, atol=1e-4)
    assert texts[0].shape[1] == len(real)


def test_an_edit_of_what_is_not_quoted_changes_nothing():
    model, site = family_model("hunyuan_image"), "denoiser/condition_2"
    edit = Add(site, np.linspace(-30, 30, 32, dtype=np.float32))
    plain, quoting = (
        [model.run(prompt, 0, edits=edits).pictures for edits in ([], [edit])]
        for prompt in ("a cat", QUOTING)
    )
    assert np.array_equal(*plain) and not np.array_equal(*quoting)


def test_guidance_is_the_scale_of_the_guider_and_of_none_in_distilled_checkpoints():
    pipeline = built(hunyuan_image)
    model = small_model(pipeline)
    expected = bare(model, ["a cat"], 0)
    pipeline.guider.guidance_scale = 7.0
    assert np.array_equal(model.run("a cat", 0).pictures, expected)
    assert wrap(pipeline).defaults.guidance == 7.0
    stronger = bare(model, ["a cat"], 0)
    assert np.array_equal(model.run("a cat", 0, guidance=7.0).pictures, stronger)
    assert not np.array_equal(stronger, expected) and pipeline.guider.guidance_scale == 7.0
    pipeline.guider = None
    site = "denoiser/prediction"
    run = small_model(pipeline).run("a cat", 0, read=site)
    assert np.array_equal(run.pictures, bare(model, ["a cat"], 0))
    assert run.read(site).sizes["step"] == 3


def test_steps_without_guidance_have_one_branch():
    pipeline = built(hunyuan_image)
    pipeline.guider._start = 0.5
    model, site = small_model(pipeline, steps=4), "denoiser/prediction"
    with collect_outputs(pipeline.transformer) as outputs:
        picture = bare(model, ["a cat"], 0)
    # Two steps of the prompt alone, two of both branches, the prompt first.
    values = torch.stack([output[0][0].flatten(1).T for output in outputs])
    run = model.run("a cat", 0, read=site, pool="none")
    assert np.array_equal(run.pictures, picture)
    assert np.allclose(run.read(site).values[0], values[[0, 1, 2, 4]], atol=1e-5)
    other = model.run("a cat", 0, read=site, branch="uncond", pool="none").read(site)
    assert other.step.values.tolist() == [2, 3]
    assert np.allclose(other.values[0], values[[3, 5]], atol=1e-5)


@pytest.mark.parametrize("prompts", [["a cat", QUOTING], [QUOTING, "a cat"]])
def test_a_second_guider_is_used_for_prompts_that_quote_alone(prompts):
    model = small_model(built(hunyuan_image, second_guider=True))
    alone = [bare(model, [prompt], 0)[0] for prompt in prompts]
    assert np.array_equal(model.run(prompts, 0).pictures, alone)
    together = bare(model, prompts, 0)
    assert not np.array_equal(together, alone)
