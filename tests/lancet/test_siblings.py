"""The siblings as the workbench opens them: put together once, checked, judged by 1.0's means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clerestory.errors import ModelError
from clerestory.models import load
from lancet import checkpoint, siblings
from lancet.training.siblings import assemble, autoencoder, mmdit, unet
from lancet.training.siblings.settings import presets

pytestmark = pytest.mark.weights
SMOKE = presets["smoke"]


@pytest.fixture
def compact(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    torch.manual_seed(0)
    folder = tmp_path / "compact"
    assemble.write_autoencoder(autoencoder.network(SMOKE), folder)
    networks = {"lancet-unet": unet.network(SMOKE, 192), "lancet-mmdit": mmdit.network(SMOKE, 192)}
    for name, network in networks.items():
        assemble.write_sibling(name, network, folder, SMOKE, {"version": "0"})
    return folder


@pytest.mark.parametrize("name", ["lancet-unet", "lancet-mmdit"])
def test_a_sibling_draws_as_plain_diffusers_does(name, compact):
    from diffusers import DiffusionPipeline

    model = load(compact / name, device="cpu")
    assert model.revision.startswith("0-")
    assert (model.defaults.height, model.defaults.guidance) == (128, 3.0)
    assert model.profile.classifiers["style"] == "lancet:style"
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "lancet-mmdit" else {}
    folder = siblings.SiblingPlugin(name).checkpoint(compact / name).pipeline
    plain = DiffusionPipeline.from_pretrained(folder, **absent)
    plain.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    drawn = plain("a cat", num_inference_steps=2, guidance_scale=3.0, generator=generator)
    run = model.run("a cat", 0, read="text.blocks.3/resid", steps=2)
    assert run.pictures.shape == (1, 128, 128, 3)
    assert np.array_equal(run.pictures[0], np.asarray(drawn.images[0]))


def test_a_damaged_file_is_refused_and_a_damaged_cache_is_made_anew(compact, tmp_path):
    plugin = siblings.unet
    place = Path(plugin.checkpoint(compact / "lancet-unet").pipeline)
    made = place.stat().st_mtime_ns
    assert Path(plugin.checkpoint(compact / "lancet-unet").pipeline).stat().st_mtime_ns == made
    (place / "vae" / "config.json").write_text("{}")
    plugin.checkpoint(compact / "lancet-unet")
    assert json.loads((place / "vae" / "config.json").read_text())
    (compact / "autoencoder" / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="is damaged"):
        plugin.checkpoint(compact / "lancet-unet")
    assert not plugin.recognizes(compact)
    assert not siblings.mmdit.recognizes(compact / "lancet-unet")


def test_siblings_are_judged_by_the_shipped_lancet(compact):
    assert siblings.lancet_folder("lancet") is None
    assert siblings.lancet_folder("lancet-mmdit") is None
    assert siblings.lancet_folder(str(compact / "lancet-unet")) is None
    assert siblings.lancet_folder(str(checkpoint.SHIPPED)) == checkpoint.SHIPPED
