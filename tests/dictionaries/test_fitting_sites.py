"""Where a dictionary of any format is attached: its file's site, or a message that lists fits."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from commands import call
from families import family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from helpers.dictionaries import small_dictionary
from helpers.recordings import recording_of
from planted_factors import recording
from safetensors.torch import save_file

from clerestory.cli.main import app
from clerestory.dictionaries import Dictionary, evaluate
from clerestory.edits import Add
from clerestory.errors import DictionaryError, SiteError

pytestmark = DIFFUSERS_WARNINGS
EMBEDDING, MAP = "prior/embedding", "denoiser.mid.attn.0/out"


def sdxl_unbox(folder, width):
    state = {
        "encoder.weight": torch.randn(12, width),
        "latent_bias": torch.zeros(12),
        "decoder.weight": torch.randn(width, 12),
        "pre_bias": torch.zeros(width),
    }
    folder.mkdir()
    torch.save({"state_dict": state}, folder / "state_dict.pth")
    (folder / "config.json").write_text(json.dumps({"k": 3}))
    return Dictionary.load(folder, allow_pickles=True)


def sparsify(folder, width):
    folder.mkdir()
    tensors = {
        "encoder.weight": torch.randn(12, width),
        "encoder.bias": torch.zeros(12),
        "W_dec": torch.randn(12, width),
        "b_dec": torch.zeros(width),
    }
    save_file(tensors, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"k": 3}))
    return Dictionary.load(folder)


def sae_lens(folder, width):
    Dictionary.random(width, 12).export(folder)
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["hook_name"] = "unet.mid_block.hook_out"
    (folder / "cfg.json").write_text(json.dumps(config))
    return Dictionary.load(folder)


def overcomplete(folder, width):
    file = folder.with_suffix(".safetensors")
    save_file({"dictionary._weights": torch.randn(12, width)}, file)
    return Dictionary.load(file)


def plain(folder, width):
    tensors = {"encoder": torch.randn(width, 12), "decoder": torch.randn(12, width)}
    tensors |= {"b_enc": torch.zeros(12), "b_dec": torch.zeros(width)}
    save_file(tensors, folder.with_suffix(".safetensors"))
    return Dictionary.load(folder.with_suffix(".safetensors"))


def own(folder, width):
    return Dictionary.load(Dictionary.random(width, 12).save(folder))


FORMATS = {
    "sdxl-unbox": (sdxl_unbox, "hookpoint 'unet.mid', trained_on 'output minus input'"),
    "sparsify": (sparsify, "hookpoint 'unet.mid'"),
    "sae-lens": (sae_lens, "hook_name 'unet.mid_block.hook_out'"),
    "overcomplete": (overcomplete, ""),
    "plain": (plain, ""),
    "clerestory": (own, ""),
}


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_a_file_that_names_no_site_is_refused_with_what_it_says_and_sites_that_fit(
    form, tmp_path, model
):
    make, origin = FORMATS[form]
    dictionary = make(tmp_path / "unet.mid", 24)
    assert dictionary.site == ""
    with pytest.raises(DictionaryError, match="does not know its site") as raised:
        model.attach(dictionary, "glass")
    text = str(raised.value)
    assert "\n" not in text and (f"(its file has {origin})" in text if origin else "(" not in text)
    assert "site='SITE' or --dictionary SITE:glass=FOLDER" in text
    if form == "sdxl-unbox":
        # unCLIP's attentions have no such value.
        assert text.endswith("No site here has 24 units and the tap update.")
        with pytest.raises(DictionaryError, match=f"{MAP} has others"):
            model.attach(dictionary, "glass", site=MAP)
        assert not model.dictionaries
        return
    assert "Sites with 24 units: prior.blocks.0/q, " in text and " more." in text
    assert model.attach(dictionary, "glass", site=MAP) == f"{MAP}:glass"


def test_a_site_that_a_model_lacks_is_told_with_those_that_fit(model):
    dictionary = small_dictionary(24, site="denoiser.blocks.3/resid")
    with pytest.raises(SiteError, match=r"trained at 'denoiser.blocks.3/resid', and") as raised:
        model.attach(dictionary, "glass")
    assert "Sites with 24 units: prior.blocks.0/q, " in str(raised.value)
    with pytest.raises(SiteError, match="--site SITE"):
        evaluate(model, dictionary, ["a cat"], progress=False)
    assert model.attach(dictionary, "glass", site=MAP)
    with pytest.raises(DictionaryError, match="No site here has 23 units"):
        model.attach(small_dictionary(23), "other", site=MAP)


def test_a_recording_lists_its_own_sites(tmp_path):
    recorded = recording(tmp_path / "rec", np.zeros((4, 2, 3, 24)))
    with pytest.raises(DictionaryError, match=r"Sites with 24 units: denoiser.mid/out\.$"):
        recorded.attach(small_dictionary(24), "glass")
    with pytest.raises(SiteError, match=r"trained at .*No site here has 32 units\.$"):
        recorded.attach(small_dictionary(32, site=EMBEDDING), "glass")
    with pytest.raises(DictionaryError, match="has 24: name the site"):
        recorded.attach(small_dictionary(32), "glass", site="denoiser.mid/out")


def test_the_command_line_says_so_too_and_takes_a_site_before_the_name(
    tmp_path, model, monkeypatch
):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model, raising=False)
    sparsify(tmp_path / "unet.mid", 24)
    with pytest.raises(DictionaryError, match=r"hookpoint 'unet.mid'.*--dictionary SITE:glass="):
        call(app, "sites", "*:*", "--dictionary", f"glass={tmp_path / 'unet.mid'}")
    found = call(app, "sites", "*:*", "--dictionary", f"{MAP}:glass={tmp_path / 'unet.mid'}")
    assert f"{MAP}:glass" in found.stdout


@pytest.mark.parametrize("family", ["stable_diffusion", "stable_diffusion_xl"])
def test_an_update_is_what_an_attention_of_the_unet_adds_to_its_map(family, tmp_path):
    model, site = family_model(family), "denoiser.mid.attn.0/update"
    width, seen = model.sites[site].shape[1], []
    module = model.pipeline.unet.mid_block.attentions[0]

    def keep(_, args, output):
        seen.append(((output[0] - args[0])[-1:].flatten(2).mT, output[0][-1:].flatten(2).mT))

    handle = module.register_forward_hook(keep)
    try:
        run = model.run("a cat", 3, read=[site, "denoiser.mid.attn.0/out"], pool="none")
    finally:
        handle.remove()
    for address, part in ((site, 0), ("denoiser.mid.attn.0/out", 1)):
        read = run.read(address).to_numpy()[0]
        expected = torch.cat([each[part] for each in seen]).numpy()
        np.testing.assert_allclose(read, expected, atol=1e-5)
    dictionary = sdxl_unbox(tmp_path / "unet.mid_block.attentions.0", width)
    with pytest.raises(DictionaryError, match=r"Sites with .* and the tap update: denoiser.down"):
        model.attach(dictionary, "glass", site="denoiser.mid.attn.0/out")
    try:
        address = model.attach(dictionary, "glass", site=site)
        latents = model.run("a cat", 3, read=address, pool="none").read(address).to_numpy()
        values = torch.from_numpy(run.read(site).to_numpy())
        np.testing.assert_allclose(latents, dictionary.encode(values), atol=1e-4)
        edited = model.run("a cat", 3, edits=[Add(address, np.ones(12), 3.0)])
        assert (edited.pictures != run.pictures).any()
    finally:
        model.detach("glass")


def test_the_tap_of_a_converted_dictionary_is_kept(tmp_path, model):
    opened = sdxl_unbox(tmp_path / "d", 24)
    again = Dictionary.load(opened.save(tmp_path / "e"))
    with pytest.raises(DictionaryError, match="encodes values of the tap update"):
        model.attach(again, "glass", site=MAP)
    free = dataclasses.replace(again, metadata={})
    assert model.attach(free, "glass", site=MAP)


def test_a_recorded_update_takes_it(tmp_path):
    import pandas as pd

    table = pd.DataFrame({"prompt": ["a", "b"], "seed": [0, 1], "item": ["a", "b"]})
    site = "denoiser.mid.attn.0/update"
    recorded = recording_of(table, {site: np.ones((2, 2, 3, 24))}, tmp_path / "rec")
    assert recorded.attach(sdxl_unbox(tmp_path / "d", 24), "glass", site=site) == f"{site}:glass"
