"""What is DeepFloyd IF's own: its denoiser draws pixels, and nothing comes after it."""

import numpy as np
from contract import PROMPTS
from families import family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS, bare, collect_outputs

pytestmark = DIFFUSERS_WARNINGS


def test_the_prediction_is_of_pixels_and_nothing_decodes_them():
    model = family_model("deepfloyd_if")
    assert model.family.stages == ("text", "denoiser")
    with collect_outputs(model.pipeline.unet) as outputs:
        bare(model, PROMPTS[:2], 0)
    for branch, rows in (("cond", slice(2, 4)), ("uncond", slice(0, 2))):
        site = "denoiser/prediction"
        run = model.run(PROMPTS[:2], 0, read=site, branch=branch, pool="none", pictures=False)
        # The other three channels are its variance.
        expected = np.stack([each[0][rows, :3].flatten(2) for each in outputs], 1)
        assert np.array_equal(run.read(site).values, expected.swapaxes(2, 3))
        assert run.read(site).sizes["position"] == 16 * 16


def test_captions_are_read_in_small_letters_and_the_denoisers_keys_are_its_tokens():
    model, site = family_model("deepfloyd_if"), "denoiser.mid.attn.0/condition_k"
    assert model.sites[site].shape[0] == 77
    first, second = model.run(["  A Cat", "a cat"], 0, read=f"{site}@0", pool="none").read(site)
    assert np.array_equal(first, second)
    real = model.family.text_windows["text"].token_mask(["a cat"])[0].numpy()
    mean = model.run("a cat", 0, read=f"{site}@0", pool="mean").read(site)
    assert np.allclose(mean.values[0, 0], second.values[0][real].mean(0), atol=1e-5)
