"""Families whose text encoder is a language model, against plain hooks on the bare pipeline."""

import itertools

import numpy as np
import pytest
import torch
import xarray
from families import built, family_model, small_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare
from language_families import LANGUAGE_FAMILIES, flux_2

from clerestory.edits import Add, Patch
from clerestory.errors import EditError
from clerestory.models import load
from clerestory.recordings import record

pytestmark = DIFFUSERS_WARNINGS
PROMPTS = ["a cat", "my zebra by a dog"]
ROWS_OR_CALLS = {
    "qwen_image": "calls",
    "flux_2": "single",
    "flux_2_klein": "calls",
    "z_image": "cond first",
    "sana": "uncond first",
    "sana_sprint": "single",
    "lumina_2": "calls",
    "cogview_4": "calls",
    "kandinsky_5": "calls",
    "hidream": "uncond first",
    "hunyuan_image": "calls",
    "kolors": "uncond first",
}
"""How the branches of guidance reach the denoiser: rows of one call, or calls of their own."""
MODULES = {
    "qwen_image": ("transformer_blocks.1.attn.to_k", "denoiser.blocks.1.image/k"),
    "flux_2": ("single_transformer_blocks.1", "denoiser.single.1/resid"),
    "flux_2_klein": ("transformer_blocks.0.ff.act_fn", ""),
    "z_image": ("layers.0.attention.to_v", "denoiser.blocks.0.image/v"),
    "sana": ("transformer_blocks.1.attn2", "denoiser.blocks.1/cross_attn"),
    "sana_sprint": ("transformer_blocks.0.attn1.to_q", "denoiser.blocks.0/q"),
    "lumina_2": ("layers.1", "denoiser.blocks.1.image/resid"),
    "cogview_4": ("transformer_blocks.0.ff.net.0", "denoiser.blocks.0.text/mlp"),
    "kandinsky_5": ("text_transformer_blocks.1.self_attention.to_key", "denoiser.text_blocks.1/k"),
    "hidream": ("single_stream_blocks.0.block.attn1.to_v", "denoiser.single.0.image/v"),
    "hunyuan_image": ("transformer_blocks.1", "denoiser.blocks.1.image/resid"),
    "kolors": (
        "mid_block.attentions.0.transformer_blocks.0.attn2",
        "denoiser.mid.attn.0.blocks.0/cross_attn",
    ),
}
"""A module of each denoiser with its site."""
STAGES = {"hidream": "text_4"}
"""Stages of language models, of pipelines in which other text encoders come first."""
PADDED = ("denoiser.blocks.0.text/mlp", "denoiser.text_blocks.1/k")
"""Sites whose positions are as many as the longest prompt of a run has."""


def outputs_of(pipeline, path, draw):
    """What a module gives in a run of the pipeline alone, call by call."""
    outputs = []
    root, _, inside = path.partition(".")
    module = getattr(pipeline, root).get_submodule(inside)
    hook = module.register_forward_hook(lambda module, args, output: outputs.append(output))
    try:
        draw()
    finally:
        hook.remove()
    return [output[0] if isinstance(output, tuple) else output for output in outputs]


def branch_rows(name, outputs, count):
    """The rows of the prompts and of the negative prompts, step by step."""
    kind = ROWS_OR_CALLS[name]
    if kind == "calls":
        return outputs[::2], outputs[1::2]
    if kind == "single":
        return outputs, None
    first = [output[:count] for output in outputs]
    second = [output[count:] for output in outputs]
    return (first, second) if kind == "cond first" else (second, first)


def tokens_of(model, prompt, stage):
    """Positions of the prompt's tokens, by what they spell in the order of the encoder's ids."""
    window = model.family.text_windows[stage]
    ids = window._padded([prompt]).input_ids[0]
    return ids, window.token_mask([prompt])[0]


@pytest.mark.parametrize("name", LANGUAGE_FAMILIES)
def test_the_encoder_reads_what_the_pipeline_tokenizes_and_masks_spell_the_prompt(name):
    model, stage = family_model(name), STAGES.get(name, "text")
    window = model.family.text_windows[stage]
    embedding = model.sites[f"{stage}/tokens"]
    first, *_ = outputs_of(model.pipeline, embedding.path, lambda: bare(model, PROMPTS[1:], 0))
    ids, own = tokens_of(model, PROMPTS[1], stage)
    weight = embedding.module.weight[ids]
    # Gemma scales its embeddings.
    scale = (first[0] / weight.detach()).nanmedian()
    assert torch.allclose(first[0], weight * scale, atol=1e-5)
    assert window.tokenizer.decode(ids[own]).strip() == PROMPTS[1]
    word = window.word_mask(PROMPTS[1:], "zebra")[0]
    assert window.tokenizer.decode(ids[word]).strip() == "zebra"
    assert not (word & ~own).any() and own.sum() > word.sum() > 1


@pytest.mark.parametrize("name", LANGUAGE_FAMILIES)
def test_values_are_those_of_a_plain_hook_by_step_branch_and_sample(name):
    model = family_model(name)
    path, site = MODULES[name]
    site = site or "denoiser.blocks.0.image/mlp"
    options = {} if ROWS_OR_CALLS[name] == "single" else {"negative": "a big dog"}
    # One prompt at a time, as padding and packing differ between families.
    for prompt, branch in itertools.product(PROMPTS, ("cond", "uncond")):
        if branch == "uncond" and ROWS_OR_CALLS[name] == "single":
            continue
        outputs = outputs_of(
            model.pipeline,
            f"{'unet' if name == 'kolors' else 'transformer'}.{path}",
            lambda prompt=prompt: bare(model, [prompt], 3, **options),
        )
        if name == "cogview_4":
            # The picture's MLP, then the text's, by the same module.
            outputs = outputs[1::2]
        cond, uncond = branch_rows(name, outputs, 1)
        expected = torch.stack(list(cond if branch == "cond" else uncond), 1)
        if name in ("z_image", "hidream"):
            # 16 patches of the picture come first.
            expected = expected[:, :, :16]
        if name == "lumina_2":
            # One patch of the picture comes last.
            expected = expected[:, :, -1:]
        found = model.run(
            PROMPTS, 3, read=site, branch=branch, pool="none", pictures=False, **options
        ).read(site)
        row = found.values[PROMPTS.index(prompt)]
        row = row[:, : expected.shape[2]] if site in PADDED else row
        assert np.allclose(row, expected[0], atol=2e-4), (prompt, branch)


@pytest.mark.parametrize("name", LANGUAGE_FAMILIES)
def test_a_sample_is_the_same_in_any_batch_where_prompts_differ_in_length(name):
    model = family_model(name)
    sites = ["text.blocks.0/mlp", "denoiser/condition", "denoiser/prediction"]
    for pool in ("mean", "last", "none"):
        whole, apart = (
            model.run(PROMPTS, 1, read=sites, pool=pool, batch=batch) for batch in (2, 1)
        )
        assert np.abs(whole.pictures.astype(int) - apart.pictures).max() <= 1
        for site in sites:
            values = [run.read(site).values for run in (whole, apart)]
            assert np.allclose(*values, atol=1e-3, equal_nan=True), (site, pool)


def test_positions_that_a_sample_does_not_have_are_nan_and_are_not_patched(tmp_path):
    model, site = family_model("qwen_image"), "text.blocks.0/resid"
    run = model.run(PROMPTS, 0, read=site, pool="none", batch=1)
    values = run.read(site).values
    counts = model.family.text_windows["text"].lengths(PROMPTS).tolist()
    assert counts[0] < counts[1] == values.shape[2]
    for row, count in zip(values, counts, strict=True):
        assert np.isfinite(row[:, :count]).all() and np.isnan(row[:, count:]).all()
    patched = model.run(PROMPTS, 0, edits=[Patch(site, values[:, 0])], batch=2)
    assert np.abs(patched.pictures.astype(int) - run.pictures).max() <= 1
    with pytest.raises(EditError, match="positions must fit"):
        model.run(PROMPTS[:1], 0, edits=[Patch(site, values[1:, 0])])
    recording = record(model, PROMPTS, 0, sites=site, pool="none", out=tmp_path / "r", batch=2)
    assert len(recording) == 2
    group = xarray.open_datatree(tmp_path / "r" / "activations.zarr", engine="zarr")[site]
    assert group["length"].values.tolist() == counts
    assert np.allclose(group["value"].values, values, atol=0.05, equal_nan=True)


@pytest.mark.parametrize("name", [name for name in LANGUAGE_FAMILIES if name != "flux_2_klein"])
def test_a_family_opens_from_its_folder_and_draws_the_same(name, tmp_path):
    # FLUX.2's own class takes the states of blocks that shallow encoders do not have.
    pipeline = built(flux_2, layers=31) if name == "flux_2" else built(LANGUAGE_FAMILIES[name])
    pipeline.save_pretrained(tmp_path / "model")
    model = load(tmp_path / "model", device="cpu")
    expected = small_model(pipeline, steps=1)
    # What is not saved: the tiny pipelines' own templates.
    for attribute in (
        "prompt_template",
        "prompt_template_encode",
        "prompt_template_encode_start_idx",
    ):
        if hasattr(pipeline, attribute):
            setattr(model.pipeline, attribute, getattr(pipeline, attribute))
    assert type(model.family) is type(expected.family)
    assert list(model.sites) == list(expected.sites)


def test_the_heads_of_keys_and_values_are_those_that_queries_share():
    model = family_model("z_image")
    q, k = (model.sites[f"text.blocks.0/{tap}"] for tap in ("q", "k"))
    assert (q.heads, k.heads) == (4, 2)
    run = model.run("a cat", 0, read=["text.blocks.0/k[h1]"], pictures=False)
    assert run.read("text.blocks.0/k").unit.values.tolist() == list(range(8, 16))


def test_hidreams_pictures_that_are_no_squares_have_as_many_positions_as_patches():
    model = family_model("hidream")
    bare(model, PROMPTS[:1], 0)
    # The pipeline scales a size to the area of so many latents, here to the same size.
    model.pipeline.default_sample_size = 12
    paths = ("double_stream_blocks.0.block.attn1.to_q", "single_stream_blocks.1.block.attn1.to_k")
    try:
        expected = [
            outputs_of(
                model.pipeline,
                f"transformer.{path}",
                lambda: bare(model, PROMPTS[:1], 0, height=32),
            )
            for path in paths
        ]
        picture = bare(model, PROMPTS[:1], 0, height=32)
    finally:
        model.pipeline.default_sample_size = 8
    sites = ["denoiser.blocks.0.image/q", "denoiser.single.1.image/k", "denoiser.single.1.text/k"]
    run = model.run(PROMPTS[0], 0, read=sites, pool="none", height=32)
    assert picture.shape[1:3] == (32, 16) and np.array_equal(run.pictures, picture)
    image, single = (torch.stack(outputs)[:, 1] for outputs in expected)
    # 64 positions for the picture, of which its 32 patches are the first.
    for site, values in zip(sites, (image[:, :32], single[:, :32], single[:, 64:]), strict=True):
        assert np.allclose(run.read(site).values[0], values, atol=1e-5), site


def test_hidreams_condition_has_the_states_of_each_block_of_llama_side_by_side():
    model, site = family_model("hidream"), "denoiser/condition"
    run = model.run(PROMPTS, 0, read=[site, "text_4.blocks.0/resid"], pool="none", pictures=False)
    states = run.read("text_4.blocks.0/resid").values
    assert np.allclose(run.read(site).values[..., :32], states, atol=1e-6)


def test_chat_glm_is_read_and_edited_by_sample_although_positions_come_first():
    model = family_model("kolors")
    path, site = "text_encoder.encoder.layers.1.self_attention.query_key_value", "text.blocks.1/k"
    outputs = outputs_of(model.pipeline, path, lambda: bare(model, PROMPTS, 0))
    run = model.run(PROMPTS, 0, read=site, pool="none", pictures=False)
    # 32 units of queries come first.
    expected = outputs[0][..., 32:48].transpose(0, 1)
    assert np.allclose(run.read(site).values[:, 0], expected.detach(), atol=1e-5)
    vector = np.linspace(-20, 20, 16, dtype=np.float32)
    edited = model.run(
        PROMPTS, 0, read="denoiser/condition", pool="none", edits=[Add(site, vector)]
    )

    def add(module, args, output):
        return output + torch.nn.functional.pad(torch.from_numpy(vector), (32, 16))

    handle = model.sites[site].module.register_forward_hook(add)
    try:
        with torch.no_grad():
            states = model.pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=False)[0]
    finally:
        handle.remove()
    assert np.allclose(edited.read("denoiser/condition").values[:, 0], states, atol=1e-4)


def test_words_have_places_in_chat_glms_pieces():
    window = family_model("kolors").family.text_windows["text"]
    text = "a cat,  a caté and a cat"
    ids = window._padded([text]).input_ids[0]
    (mask,) = window.word_mask([text], "cat")
    assert [window.tokenizer.decode([number]).strip() for number in ids[mask]] == ["cat", "cat"]
    assert window.offsets(text)[-1] == (21, 24)
