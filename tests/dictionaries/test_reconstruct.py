"""The edit that replaces values by a dictionary's reconstruction, against plain hooks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from contract import hooks_on
from helpers.dictionaries import identity_dictionary, latents_of, small_dictionary

from clerestory.dictionaries import Dictionary, Normalization, Reconstruct
from clerestory.dictionaries import reconstruct as module
from clerestory.edits import Scale
from clerestory.errors import ClerestoryError, EditError
from clerestory.evaluation import Condition, Design, Evaluator, SampleCache
from clerestory.steering import SteeredModel, bake

TEXT, EMBEDDING, MAP = "text.blocks.1/resid", "prior/embedding", "denoiser.mid.attn.0/out"
SITES = (TEXT, EMBEDDING, MAP)
PROMPTS = ["a cat", "a dog by me"]


def width(model, site):
    return model.sites[site].shape[1]


@pytest.mark.parametrize("site", SITES)
def test_an_identity_dictionary_changes_nothing_bit_by_bit(model, site):
    edit = Reconstruct(site, identity_dictionary(width(model, site)), branch="cond")
    before = model.run(PROMPTS, 3, read=[site], pool="none")
    after = model.run(PROMPTS, 3, edits=[edit], read=[site], pool="none")
    assert np.array_equal(after.read(site), before.read(site), equal_nan=True)
    assert (after.pictures == before.pictures).all()
    assert not hooks_on(model.pipeline)


@pytest.mark.parametrize("branch", ["cond", "uncond", "both"])
def test_the_value_is_the_reconstruction_as_a_plain_hook_has_it(model, branch):
    dictionary = small_dictionary(width(model, MAP))
    before = model.run(PROMPTS, 3)
    edited = model.run(PROMPTS, 3, edits=[Reconstruct(f"{MAP}@1", dictionary, branch=branch)])
    calls = []

    def hook(module, args, output):
        calls.append(None)
        if len(calls) != 2:  # the second step alone
            return output
        flat = output.flatten(2).transpose(1, 2).clone()
        decoded = latents_of(dictionary, flat) @ dictionary.decoder + dictionary.decoder_bias
        # Rows without the prompt come first.
        rows = {"cond": slice(2, 4), "uncond": slice(0, 2), "both": slice(0, 4)}[branch]
        flat[rows] = decoded[rows]
        return flat.transpose(1, 2).reshape(output.shape)

    handle = model.pipeline.unet.mid_block.attentions[0].register_forward_hook(hook)
    try:
        expected = model.run(PROMPTS, 3)
    finally:
        handle.remove()
    assert len(calls) == 3 and (expected.pictures != before.pictures).any()
    assert np.abs(expected.pictures.astype(int) - edited.pictures).max() <= 1


@pytest.mark.parametrize("site", SITES)
def test_a_read_has_the_reconstruction_of_every_position(model, site, monkeypatch):
    dictionary = small_dictionary(width(model, site))
    run = model.run(PROMPTS, 3, read=[site], pool="none", pictures=False)
    values = run.read(site).isel(step=0).to_numpy()
    # A position at a time, as where the latents of a batch do not fit.
    monkeypatch.setattr(module, "MAX_VALUES", 1)
    edit = Reconstruct(f"{site}@0", dictionary)
    after = model.run(PROMPTS, 3, edits=[edit], read=[site], pool="none", pictures=False)
    expected = latents_of(dictionary, values) @ dictionary.decoder + dictionary.decoder_bias
    np.testing.assert_allclose(after.read(site).isel(step=0), expected, atol=1e-5)


def test_normalization_is_undone_and_the_precision_stays():
    values = torch.randn(2, 3, 6, generator=torch.Generator().manual_seed(1)).half()
    scaling = Normalization(mean=torch.arange(6.0), scale=torch.tensor([3.0]))
    dictionary = dataclasses.replace(identity_dictionary(6), normalization=scaling)
    result = Reconstruct("a/b", dictionary)(values)
    assert result.dtype == torch.float16 and result.shape == values.shape
    torch.testing.assert_close(result, values, atol=5e-3, rtol=0)


def test_transcoders_other_widths_and_things_that_are_no_dictionary_are_refused(model):
    transcoder = dataclasses.replace(small_dictionary(32), output_site="denoiser.mid.res.0/out")
    with pytest.raises(EditError, match="is a transcoder"):
        Reconstruct(EMBEDDING, transcoder)
    with pytest.raises(EditError, match="is for 31 units and the site has 32"):
        model.run("a cat", edits=[Reconstruct(EMBEDDING, small_dictionary(31))])
    with pytest.raises(EditError, match="is for 31 units"):
        SteeredModel(model, [Reconstruct(EMBEDDING, small_dictionary(31))])
    with pytest.raises(ClerestoryError, match="dictionary is 'glass'"):
        Reconstruct(EMBEDDING, "glass")


def test_a_saved_one_has_the_dictionary_and_a_damaged_one_is_refused(model, tmp_path):
    dictionary = dataclasses.replace(
        Dictionary.random(32, 20, seed=3), metadata={"training": "long"}, site=EMBEDDING
    )
    steered = SteeredModel(model, [Reconstruct(EMBEDDING, dictionary, branch="both")])
    (edit,) = SteeredModel.load(steered.save(tmp_path / "s"), model).edits
    assert edit.dictionary.digest == dictionary.digest and edit.branch == "both"
    assert not edit.dictionary.metadata
    settings, tensors = edit.to_dict(), edit.tensors()
    short = {**tensors, "encoder_bias": tensors["encoder_bias"][:3]}
    absent = {name: each for name, each in tensors.items() if name != "decoder"}
    wrong_kind = {**settings, "dictionary": {**settings["dictionary"], "kind": "purple"}}
    for given, found, words in (
        (settings, short, "encoder_bias of the dictionary has the shape"),
        (settings, absent, "no tensor 'decoder'"),
        (settings, {**tensors, "more": torch.ones(1)}, "has the parameters"),
        (wrong_kind, tensors, "No kind of dictionary is called 'purple'"),
        ({**settings, "branch": "nowhere"}, tensors, "branch"),
        ({**settings, "positions": "middle"}, tensors, "positions"),
        ({"site": EMBEDDING}, tensors, "does not fit"),
    ):
        with pytest.raises(EditError, match=words):
            Reconstruct.from_dict(given, found)


def test_it_is_not_folded_into_weights(model, tmp_path):
    edit = Reconstruct(TEXT, identity_dictionary(32))
    assert edit.as_affine(32) is None and edit.nearest_affine(32) is None
    baked = bake(SteeredModel(model, [edit]), tmp_path / "baked")
    assert baked.refusals and not baked.exact


def test_samples_of_large_dictionaries_are_cached(model, monkeypatch):
    # Hashing all tensors at each look would take as long as drawing.
    monkeypatch.setattr("clerestory.evaluation.cache.MAX_EDIT_BYTES", 1)
    design, cache = Design.crossed(["a cat"], (1, 2)), SampleCache()
    draw = Evaluator(model, cache).draw
    for seed in (0, 0, 1):
        edit = Reconstruct(EMBEDDING, small_dictionary(32, seed=seed))
        draw([Condition("reconstruction", edits=(edit,))], design)
    assert (cache.hits, cache.misses) == (2, 4)
    large = Scale(f"{EMBEDDING}[0]", 2.0)
    assert large.tensor_digest is None


@pytest.mark.parametrize("positions", ["all", "tokens"])
def test_padding_is_reconstructed_too_unless_tokens_alone_are_asked_for(model, positions):
    dictionary = small_dictionary(width(model, TEXT))
    edit = Reconstruct(TEXT, dictionary, positions=positions)
    before, after = (
        model.run(PROMPTS, read=[TEXT], pool="none", pictures=False, edits=edits).read(TEXT)[:, 0]
        for edits in ([], [edit])
    )
    own = model.family.text_windows["text"].token_mask(PROMPTS).numpy()
    # A start token, a few words, and padding up to the window's end.
    assert not own[:, 0].any() and not own[:, -1].any() and own.sum() > len(PROMPTS)
    decoded = latents_of(dictionary, before.to_numpy()) @ dictionary.decoder
    expected = (decoded + dictionary.decoder_bias).numpy()
    if positions == "tokens":
        expected = np.where(own[..., None], expected, before)
    np.testing.assert_allclose(after, expected, atol=1e-5)
