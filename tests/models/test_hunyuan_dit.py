"""What is HunyuanDiT's own: two conditions side by side, the one BERT's and the other T5's."""

import numpy as np
from contract import PROMPTS
from families import family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs

pytestmark = DIFFUSERS_WARNINGS


def test_the_denoiser_is_given_both_conditions_as_they_are_read():
    model, seen = family_model("hunyuan_dit"), []
    handle = model.pipeline.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    sites = {
        "denoiser/condition": "encoder_hidden_states",
        "denoiser/condition_2": "encoder_hidden_states_t5",
    }
    try:
        for branch, rows in (("cond", slice(2, 4)), ("uncond", slice(0, 2))):
            run = model.run(
                PROMPTS[:2], 0, read=[*sites], branch=branch, negative="a dog", pool="none"
            )
            for site, argument in sites.items():
                expected = seen[-1][argument][rows].numpy()
                assert np.array_equal(run.read(site).values[:, 0], expected), (site, branch)
    finally:
        handle.remove()


def test_cross_attention_reads_the_tokens_of_both():
    model, site = family_model("hunyuan_dit"), "denoiser.blocks.1/cross_k"
    with collect_outputs(model.sites[site].module) as outputs:
        bare(model, PROMPTS[:2], 0)
    for branch, rows in (("cond", slice(2, 4)), ("uncond", slice(0, 2))):
        run = model.run(PROMPTS[:2], 0, read=f"{site}@1", branch=branch, pool="none")
        assert np.array_equal(run.read(site).values[:, 0], outputs[1][rows].numpy())
    mask = model.family.text_windows["condition"].token_mask(["a cat"])[0]
    # BERT's `a`, `cat` and end, without its start; T5's words and end.
    assert mask[:77].nonzero().flatten().tolist() == [1, 2, 3]
    assert mask[77:].nonzero().flatten().tolist() == [0, 1, 2]


def test_berts_parts_are_what_their_modules_give():
    model = family_model("hunyuan_dit")
    sites = [f"text.blocks.0/{tap}" for tap in ("q", "self_attn", "mlp", "resid")]
    run = model.run(PROMPTS[:2], 0, read=sites, pool="none", pictures=False)
    layer = model.pipeline.text_encoder.encoder.layer[0]
    modules = (layer.attention.self.query, layer.attention.output.dense, layer.intermediate, layer)
    for site, module in zip(sites, modules, strict=True):
        with collect_outputs(module) as outputs:
            bare(model, PROMPTS[:2], 0)
        value = outputs[0][0] if isinstance(outputs[0], tuple) else outputs[0]
        assert np.array_equal(run.read(site).values[:, 0], value.numpy()), site
