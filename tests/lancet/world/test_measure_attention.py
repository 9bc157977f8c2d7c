"""Maps against true masks: what the denoiser is given, the baselines, the figures."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from families import family_model
from helpers.bare_pipelines import DIFFUSERS_WARNINGS

from clerestory.errors import SiteError
from clerestory.models.attention import select_layers

sys.path.insert(0, str(Path(__file__).parents[3] / "tools"))

import measure_attention as measured

pytestmark = DIFFUSERS_WARNINGS
SIDE = 16
LEFT = np.repeat([[True] * 8 + [False] * 8], SIDE, 0)
MASKS = {"cat": LEFT, "dog": ~LEFT}


@pytest.fixture
def pair(cat):
    return replace(cat, kind="pair", second="dog", caption="a cat and a dog", place="meadow")


def picture_of(model, seed):
    size = model.defaults.height
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_3"])
@torch.no_grad()
def test_the_denoiser_is_given_the_picture_with_the_noise_of_each_step(name, pair):
    model = family_model(name)
    picture = picture_of(model, 0)
    edits = measured.noised_inputs(model, pair.caption, picture, [3, 4])
    run = model.run(
        pair.caption, [3, 4], read=measured.LATENT, pool="none", edits=edits, progress=False
    ).read(measured.LATENT)
    vae, scheduler = model.pipeline.vae, model.pipeline.scheduler
    values = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    clean = vae.encode(values).latent_dist.mode()
    clean = (clean - (vae.config.get("shift_factor") or 0)) * vae.config.scaling_factor
    assert run.sizes["step"] == len(edits) >= model.defaults.steps
    for row, seed in enumerate((3, 4)):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        for step in range(run.sizes["step"]):
            if name == "stable_diffusion":
                kept = float(scheduler.alphas_cumprod[int(run["timestep"][step])])
                expected = kept**0.5 * clean + (1 - kept) ** 0.5 * noise
            else:
                sigma = float(run["sigma"][step])
                expected = (1 - sigma) * clean + sigma * noise
            found = run[row, step].to_numpy()
            np.testing.assert_allclose(
                found, expected[0].flatten(1).T.numpy(), rtol=1e-4, atol=1e-5
            )


def test_a_map_of_the_mask_is_perfect_and_beats_both_baselines():
    maps = {name: mask.astype(np.float32) for name, mask in MASKS.items()}
    items = [measured.score(maps, MASKS) for _ in range(24)]
    found = measured.summarize(items)
    for name in ("iou", "pointing", "mass_inside"):
        assert found["map"][name]["mean"] == pytest.approx(1)
        assert found["other word"][name]["mean"] == pytest.approx(0)
        assert found["map - other word"][name]["mean"] == pytest.approx(1)
        assert found["map - blob"][name]["low"] > 0
    # Half of the blob is on each side.
    assert found["blob"]["mass_inside"]["mean"] == pytest.approx(0.5)
    equal = measured.summarize([measured.score(dict.fromkeys(MASKS, LEFT * 1.0), MASKS)] * 24)
    assert equal["map - other word"]["iou"]["low"] < 0 < equal["map - other word"]["iou"]["high"]


@pytest.mark.parametrize(
    ("name", "methods"),
    [("stable_diffusion", ["weights"]), ("stable_diffusion_3", list(measured.METHODS))],
)
def test_every_kind_of_map_of_a_model_is_measured(name, methods, pair):
    model = family_model(name)
    scenes = [(replace(pair, seed=seed), MASKS) for seed in range(2)]
    found = measured.measure(model, scenes, lambda scene: picture_of(model, scene.seed), [0, 1])
    assert list(found) == methods
    for each in found.values():
        assert each["map"]["iou"]["items"] == 2
        assert len(each["steps"]) >= model.defaults.steps
        # Maps of the two words are not the same ones.
        assert each["map"] != each["other word"]
    text = measured.table({"methods": found})
    assert text.count("\n") == 2 + 2 * len(methods)


def test_scenes_name_both_objects_once_and_have_room_for_them(world, monkeypatch):
    from lancet.world import drawing

    small = {}

    def masks(art, world, scene, size):
        share = 0.001 if len(small) % 2 else 0.5
        small[scene.seed] = share < 0.01
        mask = np.arange(size * size).reshape(size, size) < share * size * size
        return {scene.subject: mask, scene.second: mask}

    monkeypatch.setattr(drawing, "object_masks", masks)
    scenes = measured.choose_scenes(world, None, 6, 32)
    assert len({scene.seed for scene, _ in scenes}) == 6
    for scene, _ in scenes:
        words = scene.caption.replace(",", " ").split()
        for name in (scene.subject, scene.second):
            assert f" {name} " in f" {' '.join(words)} "
        assert not small[scene.seed]


def test_a_model_without_maps_of_words_is_refused():
    with pytest.raises(SiteError, match="no maps of words"):
        select_layers(family_model("unclip"), None, None)
