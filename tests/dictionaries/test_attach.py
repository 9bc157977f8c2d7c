"""Latents of an attached dictionary are read and edited as plain hooks and matrices say."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from contract import Same, calls, hooks_on
from helpers.dictionaries import LATENTS, latents_of, small_dictionary

from clerestory.dictionaries import Dictionary
from clerestory.edits import Add, Clamp, Patch, Scale
from clerestory.errors import DictionaryError, EditError, SiteError
from clerestory.models.core import latents as latents_module

TEXT, EMBEDDING, MAP = "text.blocks.1/resid", "prior/embedding", "denoiser.mid.attn.0/out"
SITES = (TEXT, EMBEDDING, MAP)
PROMPTS = ["a cat", "a dog by me"]


def attach(model, site, name="glass", **fields):
    dictionary = small_dictionary(model.sites[site].shape[1], **fields)
    assert model.attach(dictionary, name, site=site) == f"{site}:{name}"
    return dictionary


@pytest.mark.parametrize("site", SITES)
def test_reading_latents_encodes_what_the_site_has_and_changes_no_picture(model, site):
    plain = model.run(PROMPTS, 3, read=[site], pool="none")
    dictionary = attach(model, site)
    run = model.run(PROMPTS, 3, read=[site, f"{site}:glass"], pool="none")
    assert (run.pictures == plain.pictures).all()
    assert np.array_equal(run.read(site), plain.read(site), equal_nan=True)
    read = run.read(f"{site}:glass")
    expected = latents_of(dictionary, plain.read(site).to_numpy())
    assert read.sizes["unit"] == LATENTS and 0.1 < (expected > 0).float().mean() < 0.9
    np.testing.assert_allclose(read, expected, atol=1e-5)
    assert not hooks_on(model.pipeline)


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_latents_are_pooled_after_they_are_encoded(model, pool, monkeypatch):
    dictionary = attach(model, MAP)
    values = model.run(PROMPTS, 3, read=[MAP], pool="none").read(MAP).to_numpy()
    expected = getattr(np, pool)(latents_of(dictionary, values).numpy(), axis=2)
    runs = [model.run(PROMPTS, 3, read=[f"{MAP}:glass"], pool=pool)]
    # A sample at a time, as where a batch of latents does not fit.
    monkeypatch.setattr(latents_module, "MAX_VALUES", 1)
    runs.append(model.run(PROMPTS, 3, read=[f"{MAP}:glass"], pool=pool))
    for run in runs:
        np.testing.assert_allclose(run.read(f"{MAP}:glass"), expected, atol=1e-5)


def test_the_tokens_that_are_pooled_are_those_of_the_base_site(model, monkeypatch):
    dictionary = attach(model, TEXT)
    values = model.run(PROMPTS, read=[TEXT], pool="none", pictures=False).read(TEXT).to_numpy()
    monkeypatch.setattr(latents_module, "MAX_VALUES", 1)
    for pool in ("last", "tokens:a"):
        read = model.run(PROMPTS, read=[f"{TEXT}:glass"], pool=pool, pictures=False)
        # The token `a` is the first after the start token; end-of-text follows the last one.
        rows = [1, 1] if pool == "tokens:a" else [model_end(model, prompt) for prompt in PROMPTS]
        expected = latents_of(dictionary, values[[0, 1], 0, rows])
        np.testing.assert_allclose(read.read(f"{TEXT}:glass")[:, 0], expected, atol=1e-5)


def model_end(model, prompt):
    tokenizer = model.pipeline.prior_tokenizer
    return tokenizer(prompt).input_ids.index(tokenizer.eos_token_id)


def test_single_latents_of_single_steps_have_an_address(model):
    dictionary = attach(model, MAP)
    run = model.run(PROMPTS, 3, read=[MAP, f"{MAP}:glass[3,7]@1"], pool="none")
    read = run.read(f"{MAP}:glass")
    assert read["unit"].values.tolist() == [3, 7] and read["step"].values.tolist() == [1]
    expected = latents_of(dictionary, run.read(f"{MAP}@1").to_numpy())[..., [3, 7]]
    np.testing.assert_allclose(read, expected, atol=1e-5)
    with pytest.raises(SiteError, match="no unit 40"):
        model.run("a cat", read=f"{MAP}:glass[40]")


def test_taps_of_latents_get_latents(model):
    dictionary, seen = attach(model, MAP), []
    taps = {
        f"{MAP}:glass@2": lambda value, step: seen.append((step.index, value)),
        MAP: lambda value, step: seen.append((step.index, value)),
    }
    model.run("a cat", 3, taps=taps)
    by_width = {(index, value.shape[-1]): value for index, value in seen}
    assert sorted(by_width) == [(0, 24), (1, 24), (2, 24), (2, LATENTS)]
    torch.testing.assert_close(by_width[2, LATENTS], latents_of(dictionary, by_width[2, 24]))


@pytest.mark.parametrize("site", SITES)
def test_an_edit_that_changes_no_latent_is_bit_identical_to_none(model, site):
    attach(model, site)
    before = model.run(PROMPTS, 3, read=[site], pool="none")
    address = f"{site}:glass"
    nothing = [Same(address), Scale(f"{address}[3]", 1.0), Add(address, np.ones(LATENTS), 0.0)]
    after = model.run(PROMPTS, 3, edits=nothing, read=[site], pool="none")
    assert np.array_equal(after.read(site), before.read(site), equal_nan=True)
    assert (after.pictures == before.pictures).all()


@pytest.mark.parametrize("branch", ["cond", "uncond", "both"])
def test_an_edit_adds_the_decoded_difference_as_a_plain_hook_would(model, branch):
    dictionary = attach(model, MAP)
    before = model.run(PROMPTS, 3)
    edited = model.run(PROMPTS, 3, edits=[Scale(f"{MAP}:glass[3]@1", -9.0, branch=branch)])
    calls = []

    def hook(module, args, output):
        calls.append(None)
        if len(calls) != 2:  # the second step alone
            return output
        flat = output.flatten(2).transpose(1, 2)
        latents = latents_of(dictionary, flat)
        # Rows without the prompt come first.
        rows = {"cond": slice(2, 4), "uncond": slice(0, 2), "both": slice(0, 4)}[branch]
        added = torch.zeros_like(flat)
        added[rows] = -10 * latents[rows][..., 3:4] * dictionary.decoder[3]
        return output + added.transpose(1, 2).reshape(output.shape)

    handle = model.pipeline.unet.mid_block.attentions[0].register_forward_hook(hook)
    try:
        expected = model.run(PROMPTS, 3)
    finally:
        handle.remove()
    assert len(calls) == 3 and (expected.pictures != before.pictures).any()
    difference = expected.pictures.astype(int) - edited.pictures
    assert np.abs(difference).max() <= 1


def test_the_reconstruction_error_stays_and_a_read_encodes_what_was_edited(model):
    dictionary = attach(model, EMBEDDING)
    address = f"{EMBEDDING}:glass"
    before = model.run(PROMPTS, 3, read=[EMBEDDING, address], pictures=False)
    edits = [Add(address, np.eye(LATENTS)[5], 2.0), Clamp(f"{address}[6]", 1.5)]
    after = model.run(PROMPTS, 3, edits=edits, read=[EMBEDDING, address], pictures=False)
    latents = before.read(address).to_numpy()
    added = 2.0 * dictionary.decoder[5].numpy()
    added = added + (1.5 - latents[..., 6:7]) * dictionary.decoder[6].numpy()
    expected = before.read(EMBEDDING).to_numpy() + added
    np.testing.assert_allclose(after.read(EMBEDDING), expected, atol=1e-5)
    np.testing.assert_allclose(after.read(address), latents_of(dictionary, expected), atol=1e-5)


def test_edits_of_the_same_latents_follow_one_another_before_they_are_decoded(model):
    dictionary = attach(model, EMBEDDING)
    address = f"{EMBEDDING}:glass"
    before = model.run("a cat", 3, read=[EMBEDDING, address], pictures=False)
    edits = [Clamp(f"{address}[6]", 5.0), Scale(f"{address}[6]", 2.0)]
    after = model.run("a cat", 3, edits=edits, read=[EMBEDDING], pictures=False)
    added = (10 - before.read(f"{address}[6]").to_numpy()) * dictionary.decoder[6].numpy()
    np.testing.assert_allclose(
        after.read(EMBEDDING), before.read(EMBEDDING).to_numpy() + added, atol=1e-5
    )
    # An edit of the base site between them is made between them.
    shift = Add(EMBEDDING, np.ones(32), 1.0)
    between = model.run("a cat", 3, edits=[shift, edits[0]], read=[EMBEDDING], pictures=False)
    shifted = before.read(EMBEDDING).to_numpy() + 1
    added = (5 - latents_of(dictionary, shifted)[..., 6:7].numpy()) * dictionary.decoder[6].numpy()
    np.testing.assert_allclose(between.read(EMBEDDING), shifted + added, atol=1e-5)


def test_an_edit_of_latents_keeps_to_its_positions(model):
    attach(model, TEXT)
    plain = model.run("a cat", read=[TEXT], pool="none", pictures=False).read(TEXT)[0, 0]
    edit = Clamp(f"{TEXT}:glass[2]", 9.0, positions="tokens:cat")
    read = model.run("a cat", edits=[edit], read=[TEXT], pool="none", pictures=False).read(TEXT)
    changed = (read[0, 0] != plain).any("unit").to_numpy()
    # Start, `a`, `cat`, end-of-text, padding.
    assert np.flatnonzero(changed).tolist() == [2]


def test_latents_of_another_run_are_patched_in(model):
    dictionary = attach(model, EMBEDDING)
    address = f"{EMBEDDING}:glass"
    runs = model.run(PROMPTS, 3, read=[EMBEDDING, address], pictures=False)
    other = runs.read(address).to_numpy()[[1, 0]]
    edit = Patch(address, other)
    patched = model.run(PROMPTS, 3, edits=[edit], read=[EMBEDDING], pictures=False)
    added = (other - runs.read(address).to_numpy()) @ dictionary.decoder.numpy()
    expected = runs.read(EMBEDDING).to_numpy() + added
    np.testing.assert_allclose(patched.read(EMBEDDING), expected, atol=1e-4)


def test_gradients_flow_through_the_encoder(model):
    dictionary = attach(model, TEXT)
    weights = torch.linspace(-1, 1, LATENTS)
    latents = f"{TEXT}:glass"

    def at_tokens(objective, read):
        found = model.gradients(objective, "text/tokens", PROMPTS, read=read, progress=False)
        return found.read("text/tokens")["gradient"].to_numpy()

    gradients = at_tokens(lambda values: values[latents][:, 0, 2] @ weights, latents)
    expected = at_tokens(lambda v: latents_of(dictionary, v[TEXT])[:, 0, 2] @ weights, TEXT)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(gradients, expected, atol=1e-6)


def test_the_gradient_of_a_latent_is_that_of_what_it_decodes_to(model):
    dictionary = attach(model, EMBEDDING)
    address = f"{EMBEDDING}:glass"
    found = model.gradients(
        "denoiser.mid.res.0/out[3]@1", [EMBEDDING, address], PROMPTS, 3, progress=False
    )
    gradients = found.read(EMBEDDING)["gradient"].to_numpy()
    expected = gradients @ dictionary.decoder.numpy().T
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found.read(address)["gradient"], expected, atol=1e-6)


def test_a_run_ends_where_the_values_of_latents_are_known(model, monkeypatch):
    attach(model, EMBEDDING)
    counted = calls(model, monkeypatch)
    model.run("a cat", read=f"{EMBEDDING}:glass", pictures=False)
    assert counted["denoiser"] == 0 < counted["prior"]


def test_patterns_leave_latents_out_unless_they_have_a_colon(model):
    attach(model, EMBEDDING)
    attach(model, MAP, "other")
    sites = list(model.sites)
    assert sites[sites.index(EMBEDDING) + 1] == f"{EMBEDDING}:glass"
    assert not any(":" in address for address in model.sites.select("*"))
    assert list(model.sites.select("*:*")) == [f"{EMBEDDING}:glass", f"{MAP}:other"]
    assert list(model.sites.select("denoiser.*:other[3]")) == [f"{MAP}:other"]
    assert model.sites["conditioning:glass"].address == f"{EMBEDDING}:glass"
    site = model.sites[f"{MAP}:other"]
    assert (site.base, site.shape[1], site.stage, site.heads) == (MAP, LATENTS, "denoiser", None)
    model.detach("other")
    with pytest.raises(SiteError, match="attach it"):
        model.run("a cat", read=f"{MAP}:other")
    with pytest.raises(DictionaryError, match="Known: glass"):
        model.detach("other")


def test_a_dictionary_that_does_not_fit_is_refused(model):
    dictionary = small_dictionary(24)
    with pytest.raises(DictionaryError, match="24 units and prior/embedding has 32"):
        model.attach(dictionary, "glass", site=EMBEDDING)
    with pytest.raises(DictionaryError, match="does not know its site"):
        model.attach(dictionary, "glass")
    with pytest.raises(SiteError, match="No site"):
        model.attach(dictionary, "glass", site="denoiser.mid.attn.9/out")
    for name in ("a:b", "a[3]", "a b", "", "a/b", "a@3", "*"):
        with pytest.raises(DictionaryError, match="cannot be a dictionary's name"):
            model.attach(dictionary, name, site=MAP)
    model.attach(dictionary, "glass", site=MAP)
    with pytest.raises(DictionaryError, match="already"):
        model.attach(dictionary, "glass", site=MAP)
    with pytest.raises(DictionaryError, match="latents already"):
        model.attach(dictionary, "more", site=f"{MAP}:glass")
    with pytest.raises(DictionaryError, match="Dictionary"):
        model.attach(object(), "more", site=MAP)
    with pytest.raises(EditError, match="must keep the shape"):
        model.run("a cat", edits=[Narrow(f"{MAP}:glass")])


class Narrow(Same):
    def __call__(self, value):
        return value[..., :3]


def test_latents_of_a_transcoder_are_read_and_not_edited(model):
    plain = small_dictionary(24)
    transcoder = Dictionary(
        plain.encoder,
        plain.encoder_bias,
        plain.decoder,
        plain.decoder_bias,
        plain.activation,
        site="denoiser.mid.res.0/out",
        output_site=MAP,
    )
    address = model.attach(transcoder, "glass")
    assert model.run("a cat", read=address).read(address).sizes["unit"] == LATENTS
    with pytest.raises(EditError, match="transcoder"):
        model.run("a cat", edits=[Scale(f"{address}[3]", 0.0)])


def test_a_pickled_model_keeps_its_dictionaries(model):
    dictionary = attach(model, EMBEDDING)
    again = pickle.loads(pickle.dumps(model))
    assert again.dictionaries["glass"].dictionary.digest == dictionary.digest
    read = [each.run("a cat", read=f"{EMBEDDING}:glass", pictures=False) for each in (model, again)]
    first, second = (run.read(f"{EMBEDDING}:glass") for run in read)
    assert np.array_equal(first, second)
