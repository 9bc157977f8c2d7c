"""Edits of a part of the picture: what plain torch hooks do, and nothing outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import ALL_FAMILIES, built, family_model, small_model
from tiny import tiny_model

from clerestory.edits import Ablate, Add, Clamp, Erase, Patch, Reflect, Scale
from clerestory.errors import ClerestoryError, EditError
from clerestory.models.core.regions import named_region, regions
from clerestory.models.word_masks import THRESHOLD
from clerestory.stats.maps import resample
from clerestory.steering import SteeredModel

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SILENT = {"progress": False}
MID = "denoiser.mid.res.0/out"
LEFT = np.array([[1.0, 0.0]])
# By family: a site of the picture, whose positions are a map, a row, a stream or after tokens.
SITES = {
    "unclip": MID,
    "stable_diffusion": "denoiser.up.0.attn.0.blocks.0/mlp",
    "stable_diffusion_3": "denoiser.blocks.0.image/mlp",
    "flux": "denoiser.single.0/mlp",
    "z_image": "denoiser.blocks.0.image/mlp",
}


def way(model, site):
    units = model.sites[site].shape[1]
    return np.random.default_rng(0).normal(size=units) * 5


def kinds(model, site, value, **how):
    """One edit of each kind that fits a site."""
    units = model.sites[site].shape[1]
    direction, rng = way(model, site), np.random.default_rng(1)
    labels = np.repeat([0, 1], 20)
    activations = rng.normal(size=(40, units)) + labels[:, None]
    return [
        Add(site, direction, **how),
        Add(site, direction, renorm=True, **how),
        Ablate(site, direction, level=3.0, **how),
        Reflect(site, direction, level=-1e3, **how),
        Clamp(f"{site}[1]", 7.0, **how),
        Scale(f"{site}[1]", -3.0, **how),
        Erase.fit(site, activations, labels, **how),
        Patch(site, value + 1, **how),
    ]


def test_every_kind_of_edit_leaves_what_is_outside_bit_identical_and_edits_the_rest():
    model = tiny_model()
    read = {"read": MID, "pool": "none", **SILENT}
    plain = model.run("a cat", 3, **read).read(MID).to_numpy()
    for everywhere, left in zip(
        kinds(model, MID, plain[:, 0]), kinds(model, MID, plain[:, 0], region=LEFT), strict=True
    ):
        # At the first step alone: later ones see a picture that the edit has changed already.
        sets = [[type(e)(**first_step(e))] for e in (everywhere, left)]
        whole, part = (
            run.read(MID).to_numpy()[0, 0] for run in model.sweep("a cat", 3, sets, **read)
        )
        side = round(len(part) ** 0.5)
        inside = np.tile(np.arange(side) < side / 2, side)
        assert side > 1 and np.array_equal(part[~inside], plain[0, 0][~inside]), left
        assert np.array_equal(part[inside], whole[inside]), left
        assert not np.array_equal(part[inside], plain[0, 0][inside]), left


def first_step(edit):
    """The fields of an edit, at step 0."""
    site = edit.address + "@0"
    settings = {k: v for k, v in edit.to_dict().items() if k not in ("site", "region")}
    return {**settings, **edit.tensors(), "site": site}


@pytest.mark.parametrize("family", SITES)
def test_an_empty_region_changes_nothing_and_a_full_one_is_the_edit_without_it(family):
    model, site = family_model(family), SITES[family]
    direction = way(model, site)
    empty, full, everywhere = (
        Add(site, direction, region=region) for region in (np.zeros((3, 5)), np.ones((3, 5)), None)
    )
    base, none, whole, usual = (
        run.pictures
        for run in model.sweep("a cat", 2, [[], [empty], [full], [everywhere]], **SILENT)
    )
    assert np.array_equal(none, base) and not np.array_equal(usual, base)
    # Of a row that begins with tokens, the region has the picture's positions alone.
    assert np.array_equal(whole, usual) == (family != "flux")


def test_a_plain_hook_with_the_mask_draws_the_same_picture():
    model = family_model("stable_diffusion")
    site, module = "denoiser.mid.res.0/out", model.pipeline.unet.mid_block.resnets[0]
    shift = torch.tensor(way(model, site), dtype=torch.float32)
    mask = np.random.default_rng(3).random((4, 4)).round(2)

    def hook(module, args, output):
        # Rows are those without the prompt, then those with it; the map is smaller than the mask.
        height, width = output.shape[2:]
        weights = torch.tensor(
            mask.reshape(height, 4 // height, width, 4 // width).mean((1, 3)), dtype=torch.float32
        )
        output = output.clone()
        rows = output[len(output) // 2 :]
        rows += weights * shift[:, None, None]
        return output

    ours = model.run("a cat", 1, edits=[Add(site, shift, region=mask)], **SILENT).pictures
    handle = module.register_forward_hook(hook)
    try:
        plain = model.run("a cat", 1, **SILENT).pictures
    finally:
        handle.remove()
    base = model.run("a cat", 1, **SILENT).pictures
    assert np.abs(ours.astype(int) - plain).max() <= 1
    assert np.abs(ours.astype(int) - base).max() > 3


def test_in_a_row_of_tokens_and_picture_the_tokens_are_left_alone():
    model = family_model("flux")
    site = SITES["flux"]
    read = {"read": site, "pool": "none", "steps": 1, "height": 32, "width": 32, **SILENT}
    edit = Add(site, way(model, site), region="top half")
    plain, edited = (
        run.read(site).to_numpy()[0, 0] for run in model.sweep("a cat", 0, [[], [edit]], **read)
    )
    changed = (plain != edited).any(1)
    tokens = 512
    picture = changed[tokens:]
    assert not changed[:tokens].any() and len(picture) > 1
    assert picture[: len(picture) // 2].all() and not picture[len(picture) // 2 :].any()


@pytest.fixture(scope="module")
def sharp():
    """A model whose words have maps that are not flat."""
    model = small_model(built(ALL_FAMILIES["stable_diffusion"]))
    for name, module in model.pipeline.unet.named_modules():
        if name.endswith("attn2.to_q"):
            module.weight.data.mul_(60)
    return model


def test_a_word_is_a_region_by_its_own_attention_map(sharp):
    model = sharp
    site = "denoiser.up.0.attn.0.blocks.0/mlp"
    prompts, seeds = ["a cat and a dog", "dog cat"], [0, 5]
    direction = way(model, site)
    maps = model.attention(prompts, seeds, words="cat", **SILENT).array.to_numpy()[:, 0]
    masks = maps >= THRESHOLD * maps.max((1, 2), keepdims=True)
    assert len({mask.tobytes() for mask in masks}) > 1 and not masks.all()
    run = model.run(prompts, seeds, edits=[Add(site, direction, region="cat")], batch=3, **SILENT)
    index = 0
    for prompt in prompts:
        for seed in seeds:
            edit = Add(site, direction, region=masks[index])
            alone = model.run(prompt, seed, edits=[edit], **SILENT).pictures[0]
            assert np.abs(run.pictures[index].astype(int) - alone).max() <= 1
            index += 1


def test_a_numbered_word_and_the_name_of_a_region_that_is_a_word(sharp):
    model = sharp
    site = "denoiser.up.0.attn.0.blocks.0/mlp"
    direction = way(model, site)
    sets = [[Add(site, direction, region=region)] for region in ("cat", "cat#1", "cat#2")]
    both, first, second = (run.pictures for run in model.sweep("cat dog cat", 0, sets, **SILENT))
    # The word is where either of its places is: neither alone draws the same.
    assert not np.array_equal(first, second)
    assert not np.array_equal(both, first) or not np.array_equal(both, second)
    with pytest.raises(EditError, match=r"neither left half.*centre nor a word"):
        model.run("a cat", edits=[Add(site, direction, region="word:centre")], **SILENT)


def test_a_dictionary_s_latents_have_regions_too():
    from helpers.dictionaries import small_dictionary

    model = family_model("stable_diffusion")
    units = model.sites[MID].shape[1]
    address = model.attach(small_dictionary(units), "d", site=MID)
    try:
        edits = [
            Clamp(f"{address}[1]", 50.0, region=region)
            for region in (np.zeros((2, 2)), LEFT, np.ones((1, 1)), None)
        ]
        base, none, left, whole, usual = (
            run.pictures for run in model.sweep("a cat", 0, [[], *([e] for e in edits)], **SILENT)
        )
    finally:
        model.detach("d")
    assert np.array_equal(none, base) and np.array_equal(whole, usual)
    assert not np.array_equal(left, base) and not np.array_equal(left, usual)


def test_names_are_shares_of_the_grid_and_masks_are_resampled_by_area():
    assert np.array_equal(named_region("left half", (2, 4)), [[1, 1, 0, 0]] * 2)
    left, right = (named_region(f"{side} half", (1, 3)) for side in ("left", "right"))
    assert np.allclose(left, [[1, 0.5, 0]]) and np.array_equal(left + right, np.ones((1, 3)))
    assert named_region("centre", (4, 4)).sum() == 4
    assert named_region("top half", (2, 1)).tolist() == [[1], [0]]
    assert named_region("bottom half", (2, 1)).tolist() == [[0], [1]]
    assert set(regions) == {"left half", "right half", "top half", "bottom half", "centre"}
    coarse = resample(np.arange(16.0).reshape(4, 4) / 16, (2, 2))
    assert np.allclose(coarse * 16, [[2.5, 4.5], [10.5, 12.5]], atol=1e-4)
    assert np.array_equal(resample(LEFT, (2, 4)), [[1, 1, 0, 0]] * 2)
    assert (resample(np.ones((7, 5)), (3, 11)) == 1).all()


@pytest.mark.parametrize(
    ("site", "how", "words"),
    [
        ("text.blocks.0/mlp", {}, "tokens of the prompt"),
        ("prior/embedding", {}, "one vector"),
        ("prior.blocks.0/mlp", {}, "tokens of the prompt"),
        ("denoiser.mid.attn.0/condition_k", {}, "of a condition"),
        (MID, {"positions": "last"}, "needs a site with tokens"),
        (MID, {"region": "cat"}, "no maps of words"),
    ],
)
def test_a_site_without_positions_of_the_picture_is_refused_by_name(site, how, words):
    model = tiny_model()
    edit = Add(site, np.ones(model.sites[site].shape[1]), **{"region": LEFT, **how})
    with pytest.raises(ClerestoryError, match=words) as error:
        model.run("a cat", edits=[edit], **SILENT)
    assert site in str(error.value) or "cat" in how.get("region", "")


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (np.ones(3), r"shape \[3\]"),
        (np.ones((0, 3)), r"shape \[0, 3\]"),
        (np.full((2, 2), 2.0), "from 0, outside, to 1"),
        (np.full((2, 2), np.nan), "from 0, outside, to 1"),
        (" ", "is empty: write left half"),
        ("word:", "is empty"),
    ],
)
def test_what_is_no_region_is_refused(region, words):
    with pytest.raises(EditError, match=words):
        Add(MID, np.ones(3), region=region)


def test_the_caller_s_mask_is_copied():
    mask = np.zeros((2, 2))
    edit = Add(MID, np.ones(3), region=mask)
    mask[:] = 1
    assert not edit.region.any()


@pytest.mark.parametrize("region", [np.array([[0.25, 1.0]]), "left half", "cat", None])
def test_a_saved_edit_keeps_its_region(region, tmp_path):
    model = family_model("stable_diffusion")
    value = model.run("a cat", 3, read=MID, pool="none", pictures=False, **SILENT)
    edits = kinds(model, MID, value.read(MID).to_numpy()[:, 0], region=region)
    place = SteeredModel(model, edits).save(tmp_path / "saved")
    again = SteeredModel.load(place, model)
    for before, after in zip(edits, again.edits, strict=True):
        assert (
            np.array_equal(before.region, after.region)
            if region is not None
            else after.region is None
        )
    drawn, loaded = (m.draw("a cat", 3, **SILENT) for m in (SteeredModel(model, edits), again))
    assert np.array_equal(drawn, loaded)
    card = (place / "card.md").read_text()
    assert ("region" in card) == (region is not None)
    assert ("a mask of 1×2" in card) == isinstance(region, np.ndarray)


def test_a_saved_mask_that_was_taken_away_is_refused():
    edit = Add("a/b", np.ones(3), region=LEFT)
    settings, tensors = edit.to_dict(), edit.tensors()
    del tensors["region"]
    with pytest.raises(EditError, match="region does not fit its tensors"):
        Add.from_dict(settings, tensors)
    del settings["region"]
    assert Add.from_dict(settings, tensors).region is None


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", sorted(ALL_FAMILIES))
def test_every_site_of_a_family_takes_a_region_or_says_why_not(family):
    model = family_model(family)
    base = model.run("a cat", 0, **SILENT).pictures
    edited = 0
    for address, site in model.sites.items():
        if site.idle or site.shape[1] is None or site.affects_output is False:
            continue
        value = np.full(site.shape[1], 3.0)
        try:
            run = model.run(
                "a cat", 0, edits=[Add(address, value, region=np.zeros((3, 5)))], **SILENT
            )
        except EditError as error:
            assert "has a region" in str(error)
            continue
        assert np.array_equal(run.pictures, base), address
        edited += 1
    assert edited > 10
