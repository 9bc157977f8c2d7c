"""Attribution patching: known answers on tiny models."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import built, family_model, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from tiny import tiny_model

from clerestory.causal import AttributionPatching, attribution_patching, patch_parts
from clerestory.errors import EvidenceError, OptionError, SiteError
from clerestory.evaluation import direction, unit
from clerestory.models.core.seeds import item_seeds
from clerestory.stats.clustered_intervals import mean_interval

pytestmark = DIFFUSERS_WARNINGS
CLEAN, CORRUPTED = ["a cat", "my cat", "a b c"], ["a dog", "my dog", "a b d"]
"""Of as many tokens each."""
MLP, RESID = "text.blocks.0/mlp", "text.blocks.1/resid"
LAST = "text.blocks.1/mlp"


def attributed(model, sites, objective, **options):
    return attribution_patching(
        model, CLEAN, CORRUPTED, objective, sites, **{"progress": False, **options}
    )


def patched(model, parts, objective, **options):
    return patch_parts(model, CLEAN, CORRUPTED, objective, parts, **{"progress": False, **options})


def test_on_a_linear_path_estimates_are_the_effects_of_patching():
    """From the last block's neurons to its output there is only a matrix and a sum."""
    model = tiny_model()
    objective = direction(RESID, np.random.default_rng(0).normal(size=32), "last")
    found = attributed(model, LAST, objective)
    names, estimates = found.item_estimates()
    parts = [f"{LAST}[{number}]" for number in range(0, 48, 5)]
    effects = patched(model, parts, objective)
    chosen = estimates[:, [names.index(part) for part in parts]]
    assert np.abs(chosen).max() > 1e-3
    np.testing.assert_allclose(chosen, effects.item_effects(), atol=1e-6)
    whole = patched(model, [LAST], objective).item_effects()[:, 0]
    np.testing.assert_allclose(estimates.sum(1), whole, atol=1e-5)
    for kind in ("position", "step", "site"):
        np.testing.assert_allclose(found.item_estimates(kind)[1].sum(1), whole, atol=1e-5)


@pytest.mark.parametrize(
    ("site", "objective"),
    [
        (MLP, unit("prior/embedding[3]")),
        ("prior/embedding", unit("denoiser/prediction[1]@2", "mean")),
        # All of its steps are patched together.
        ("denoiser.mid.res.0/out", unit("denoiser/prediction[1]@2", "mean")),
    ],
    ids=["text", "prior", "denoiser"],
)
def test_integrated_gradients_sum_to_the_effect_of_the_whole_site(site, objective):
    model = tiny_model()
    effect = patched(model, [site], objective).item_effects()[:, 0]
    one = attributed(model, site, objective).item_estimates("site")[1][:, 0]
    many = attributed(model, site, objective, ig_steps=8).item_estimates("site")[1][:, 0]
    assert np.abs(effect).max() > 1e-4
    tolerance = 0.01 * np.abs(effect).max()
    np.testing.assert_allclose(many, effect, atol=tolerance)
    assert np.abs(one - effect).max() > np.abs(many - effect).max()


def test_the_planted_head_is_first():
    """Of the heads of a random transformer, one writes ten times more to what is read."""
    pipeline = built(stable_diffusion)
    layer, head, width = 0, 2, 8
    with torch.no_grad():
        encoder = getattr(pipeline.text_encoder, "text_model", pipeline.text_encoder).encoder
        for block in encoder.layers:
            block.self_attn.out_proj.weight[5] *= 0.1
            block.mlp.fc2.weight[5] *= 0.1
        planted = encoder.layers[layer].self_attn.out_proj.weight
        planted[5, head * width : (head + 1) * width] = 1.0
    model, objective = small_model(pipeline), unit("text.blocks.1/resid[5]")
    table = attributed(model, "text.*/z", objective).table("head")
    assert table["address"][0] == f"text.blocks.{layer}/z[h{head}]"
    assert abs(table["estimate"][0]) > 2 * abs(table["estimate"][1])
    measured = patched(model, table["address"].tolist(), objective).table()
    assert measured["address"][0] == table["address"][0]


def test_tables_have_intervals_over_pairs_and_results_are_saved(tmp_path):
    model, objective = tiny_model(), unit("prior/embedding[3]")
    found = attributed(model, [MLP, "text.blocks.0/z"], objective, seeds_per_item=2, batch=3)
    names, values = found.item_estimates()
    assert values.shape == (3, 48 + 32) and len(found.items) == 6
    frame = found.table()
    first = names.index(frame["address"][0])
    assert np.abs(values.mean(0)).argmax() == first
    low, high = map(float, mean_interval(values[:, first].astype(float)))
    assert (frame["low"][0], frame["high"][0]) == pytest.approx((low, high))
    assert set(found.table("head")["address"]) == {f"text.blocks.0/z[h{h}]" for h in range(4)}
    # The objective is read as a run reads it.
    model_values = [
        model.run(CLEAN[0], seed, read="prior/embedding", pictures=False)
        .read("prior/embedding[3]")
        .item()
        for seed in found.seeds[:2]
    ]
    assert found.clean_values[:2] == pytest.approx(model_values, rel=1e-4)
    assert found.total == pytest.approx((found.corrupted_values - found.clean_values).mean())
    found.save(tmp_path / "saved")
    loaded = AttributionPatching.load(tmp_path / "saved")
    assert loaded.table("position").equals(found.table("position"))
    assert repr(loaded) == repr(found) and "3 pairs" in repr(found)
    assert loaded.provenance == found.provenance
    assert found.plot("head").to_dict()["layer"]
    with pytest.raises(EvidenceError, match="no estimates"):
        AttributionPatching.load(tmp_path)


def test_positions_sum_to_what_the_chosen_units_sum_to():
    model, objective = tiny_model(), unit("prior/embedding[3]")
    found = attributed(model, f"{MLP}[3,7]", objective)
    whole = attributed(model, MLP, objective)
    names, values = whole.item_estimates()
    chosen = values[:, [names.index(f"{MLP}[{number}]") for number in (3, 7)]].sum(1)
    for kind in ("unit", "position", "step", "site"):
        np.testing.assert_allclose(found.item_estimates(kind)[1].sum(1), chosen, atol=1e-6)


def test_a_part_that_is_named_twice_is_measured_once():
    model, objective = tiny_model(), unit("prior/embedding[3]")
    part = f"{MLP}[3]"
    one, two = (patched(model, parts, objective).table() for parts in (part, [part, part]))
    assert one.equals(two) and list(one["address"]) == [part]
    with pytest.raises(OptionError, match="no part"):
        patched(model, [], objective)


def test_pairs_with_one_clean_prompt_have_seeds_of_their_own():
    model = tiny_model()
    found = attribution_patching(
        model,
        ["a cat", "a cat", "my cat"],
        ["a dog", "a dog", "my dog"],
        unit("prior/embedding[3]"),
        MLP,
        seeds_per_item=2,
        progress=False,
    )
    assert len(set(found.seeds)) == 6
    assert found.seeds[:2] == item_seeds("a cat", 2)


def test_a_batch_has_no_part_in_the_estimates():
    model, objective = family_model("stable_diffusion_3"), unit("denoiser/prediction[1]@2", "mean")
    sites = ["text.blocks.0/mlp", "denoiser.blocks.0.image/mlp"]
    one, three = (attributed(model, sites, objective, batch=size, seeds=5) for size in (1, 3))
    np.testing.assert_allclose(one.item_estimates()[1], three.item_estimates()[1], atol=1e-5)


def test_pairs_that_do_not_match_are_refused():
    model, objective = tiny_model(), unit("prior/embedding[3]")
    for clean, corrupted, message in (
        (["a cat"], ["a zebra"], "'a cat' has 3 tokens and 'a zebra' 7"),
        (["a cat"], ["a dog", "a cat"], "as many corrupted prompts"),
        ([], [], "no pair"),
    ):
        with pytest.raises(EvidenceError, match=message):
            attribution_patching(model, clean, corrupted, objective, MLP, progress=False)
    # A site without tokens has as many positions with any prompt.
    attribution_patching(
        model,
        ["a cat"],
        ["a zebra"],
        "denoiser/prediction[1]@2",
        "prior/embedding",
        progress=False,
    )
    with pytest.raises(SiteError, match="depends on none of prior/embedding"):
        attributed(model, "prior/embedding", unit(f"{MLP}[3]"))
    with pytest.raises(OptionError, match="ig_steps"):
        attributed(model, MLP, objective, ig_steps=-1)
