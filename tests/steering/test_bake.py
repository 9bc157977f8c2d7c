"""Folded weights draw what hooks draw, in every family, and without this library."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from families import FAMILIES, family_model
from tiny import WIDTH, tiny_model

from clerestory.edits import Ablate, Add, Clamp, Erase, Reflect, Scale
from clerestory.errors import EditError
from clerestory.steering import SteeredModel
from clerestory.steering.bake import LORA, _folded, bake
from clerestory.steering.folding import fold, nearest

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
RNG = np.random.default_rng(1)
READ = "denoiser/prediction"


def shift(model, site, **how):
    return Add(site, RNG.normal(size=model.sites[site].shape[1]), 1.0, **how)


def foldable(model):
    """Sites where an ablation at level 0 goes into weights, and a reason for every other."""
    able, refused = [], {}
    for site in model.sites.values():
        if site.shape[1] is None or site.stage == "vae":
            continue
        edit = Ablate(site.address, RNG.normal(size=site.shape[1]), branch="both")
        try:
            fold(model, edit)
            able.append(edit)
        except EditError as error:
            refused[site.address] = str(error)
    return able, refused


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_all_that_can_be_folded_is_exact_in_every_family(family):
    model = family_model(family)
    able, refused = foldable(model)
    assert len(able) > 3 and all(refused.values())
    kinds = {edit.site.rpartition("/")[2] for edit in able}
    assert "mlp" in kinds or family == "flux"
    mlp = next(edit.site for edit in able if edit.site.endswith(("/mlp", "/q")))
    units = model.sites[mlp].shape[1]
    edits = [
        *able[:: max(len(able) // 6, 1)],
        Scale(f"{mlp}[1]", 3.0, branch="both"),
        Ablate(mlp, RNG.normal(size=units), branch="both"),
    ]
    steered = SteeredModel(model, edits)
    seen = lambda made: model.run("a cat", [1], read=READ, pool="none", edits=made)  # noqa: E731
    hooked, base = seen(edits), seen(())
    with _folded(steered):
        baked = seen(())
    after = seen(())
    apart = [float(np.abs(one.read(READ) - baked.read(READ)).max()) for one in (hooked, base)]
    assert apart[0] <= 1e-3 < apart[1], apart
    assert (after.pictures == base.pictures).all()


def _neurons(model):
    """The denoiser's first site of neurons."""
    return next(s for s in model.sites if s.startswith("denoiser.") and s.endswith("/mlp"))


ALONE = """
import json, sys
sys.modules["clerestory"] = None
import numpy as np, torch
from diffusers import DiffusionPipeline
folder, out, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
pipe = DiffusionPipeline.from_pretrained(folder)
pipe.set_progress_bar_config(disable=True)
generator = [torch.Generator().manual_seed(4)]
np.save(out, pipe(["a cat"], generator=generator, output_type="np", **options).images)
"""


@pytest.mark.parametrize("family", ["unclip", "stable_diffusion"])
def test_a_baked_model_draws_the_same_where_this_library_cannot_be_imported(family, tmp_path):
    model = tiny_model() if family == "unclip" else family_model(family)
    edits = {
        "unclip": lambda: [Add("prior/embedding", 9 * RNG.normal(size=WIDTH))],
        "stable_diffusion": lambda: [Scale(f"{_neurons(model)}[2]", 90.0, branch="both")],
    }[family]()
    steered = SteeredModel(model, edits)
    made = bake(steered, tmp_path / "baked")
    assert made.exact and made.refusals == () and made.base_picture_difference > 3
    usual = model.defaults
    options = {
        "height": usual.height,
        "width": usual.width,
        "num_inference_steps": usual.steps,
        "guidance_scale": usual.guidance,
    }
    if family == "unclip":
        options["prior_num_inference_steps"] = usual.prior_steps
        options["prior_guidance_scale"] = usual.prior_guidance
    out = tmp_path / "drawn.npy"
    call = [sys.executable, "-c", ALONE, str(tmp_path / "baked"), str(out), json.dumps(options)]
    subprocess.run(call, check=True, capture_output=True)
    alone = (np.load(out)[0] * 255).round().astype(int)
    hooked, base = (run.pictures[0].astype(int) for run in model.sweep("a cat", 4, [edits, []]))
    assert np.abs(alone - hooked).max() <= 1
    assert np.abs(alone - base).max() > 3


@pytest.mark.parametrize(
    ("edit", "why", "offers"),
    [
        (lambda m: shift(m, "text.blocks.0/mlp"), "one branch of guidance", True),
        (lambda m: shift(m, "text.blocks.0/mlp@0", branch="both"), "some steps only", True),
        (lambda m: shift(m, "text.blocks.0/mlp", positions="last"), "some positions only", True),
        (lambda m: shift(m, "denoiser/latent", region="centre"), "a region of the picture", False),
        (
            lambda m: shift(m, "text.blocks.0/mlp", branch="both", renorm=True),
            "renorm=True",
            True,
        ),
        (lambda m: shift(m, "text.blocks.0/resid", branch="both"), "no single linear layer", False),
        (lambda m: shift(m, "text/pooled", branch="both"), "no bias", False),
        (
            lambda m: Reflect("text.blocks.0/mlp", np.ones(48), branch="both"),
            "not an affine map.*Reflect",
            True,
        ),
        (lambda m: Ablate("prior/embedding", np.ones(WIDTH)), "mixes none", False),
        (lambda m: Add("prior/embedding", np.ones(WIDTH), branch="both"), "empty picture", False),
    ],
)
def test_what_cannot_be_folded_is_refused_with_the_reason_and_the_nearest(
    edit, why, offers, tmp_path
):
    model = tiny_model()
    steered = SteeredModel(model, [edit(model)])
    made = bake(steered, tmp_path / "baked")
    (refusal,) = made.refusals
    assert made.folder is None and not (tmp_path / "baked").exists()
    assert re.search(why, refusal.reason)
    if offers and nearest(model, steered.edits[0]):
        assert refusal.alternative is not None and refusal.picture_difference >= 0
    else:
        assert refusal.alternative is None or refusal.picture_difference >= 0


def test_each_kind_is_the_matrix_that_it_says():
    model = tiny_model()
    site = "text.blocks.0/mlp"
    activations = RNG.normal(size=(90, 48))
    for edit in (
        Add(site, RNG.normal(size=48), 2.0, branch="both"),
        Ablate(site, RNG.normal(size=48), 1.5, branch="both"),
        Clamp(f"{site}[5]", 3.0, branch="both"),
        Scale(f"{site}[5]", -2.0, branch="both"),
        Erase.fit(site, activations, np.arange(90) % 3, branch="both"),
    ):
        layer = fold(model, edit)
        value = torch.randn(1, 3, 48)
        expected = layer.layer(edit(value))
        weight, bias = (layer.values[name].float() for name in ("weight", "bias"))
        got = torch.nn.functional.linear(value, weight, bias)
        assert torch.allclose(got, expected, atol=1e-4), edit


def test_several_edits_of_one_site_keep_their_order():
    model = tiny_model()
    site = "text.blocks.0/mlp"
    edits = [
        Add(site, RNG.normal(size=48), 2.0, branch="both"),
        Scale(f"{site}[5]", -2.0, branch="both"),
        Ablate(site, RNG.normal(size=48), 1.5, branch="both"),
        Add("prior/embedding", RNG.normal(size=WIDTH)),
        Scale("prior/embedding[3]", 4.0),
    ]
    read = "prior/embedding"
    hooked = model.run("a cat", 0, read=read, edits=edits, pictures=False).read(read)
    with _folded(SteeredModel(model, edits)):
        baked = model.run("a cat", 0, read=read, pictures=False).read(read)
    np.testing.assert_allclose(baked, hooked, atol=1e-3)


def test_a_lora_is_written_where_the_rank_is_low_and_diffusers_draws_with_it(tmp_path):
    from diffusers import DiffusionPipeline

    pytest.importorskip("peft")
    model = family_model("stable_diffusion")
    site = _neurons(model)
    edits = [Scale(f"{site}[2]", 90.0, branch="both")]
    steered = SteeredModel(model, edits)
    made = bake(steered, tmp_path / "lora", lora=True)
    assert made.exact and (tmp_path / "lora" / LORA).stat().st_size < 20_000
    model.pipeline.save_pretrained(tmp_path / "base")
    pipe = DiffusionPipeline.from_pretrained(tmp_path / "base")
    pipe.load_lora_weights(str(tmp_path / "lora"))
    pipe.set_progress_bar_config(disable=True)
    usual = model.defaults
    drawn = pipe(
        "a cat",
        generator=torch.Generator().manual_seed(4),
        height=usual.height,
        width=usual.width,
        num_inference_steps=usual.steps,
        guidance_scale=usual.guidance,
        output_type="np",
    ).images[0]
    hooked, base = (run.pictures[0].astype(int) for run in model.sweep("a cat", 4, [edits, []]))
    alone = (drawn * 255).round().astype(int)
    assert np.abs(alone - hooked).max() <= 1 < np.abs(alone - base).max()
    for others, why in (
        ([shift(model, site, branch="both")], "shifts a bias|changes no matrix"),
        ([Scale("text.blocks.0/mlp[1]", 3.0, branch="both")], "text encoders differ"),
        ([edits[0], Scale(f"{site}[3]", 2.0, branch="both")], "room for one"),
    ):
        refused = bake(SteeredModel(model, others), tmp_path / "x", lora=True)
        assert refused.folder is None and re.search(why, refused.refusals[-1].reason)
    kandinsky = tiny_model()
    own = next(s for s in kandinsky.sites if s.startswith("denoiser.") and s.endswith("/q"))
    lone = SteeredModel(kandinsky, [Scale(f"{own}[1]", 2.0, branch="both")])
    assert "loads no LoRA" in bake(lone, tmp_path / "x", lora=True).refusals[0].reason


def test_what_cannot_be_measured_is_refused_all_the_same_and_adapters_are_in_the_way(tmp_path):
    model = tiny_model()
    word = shift(model, "text.blocks.0/mlp", positions="tokens:raven")
    (refusal,) = bake(SteeredModel(model, [word]), tmp_path / "x").refusals
    assert "some positions only" in refusal.reason and refusal.picture_difference is None
    peft = pytest.importorskip("peft")
    unet = model.pipeline.unet
    unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q"]), adapter_name="one")
    try:
        with pytest.raises(EditError, match="carries a LoRA"):
            bake(SteeredModel(model, []), tmp_path / "x")
    finally:
        unet.delete_adapters("one")


def test_a_slider_learns_what_the_words_do_and_leaves_the_model_as_it_was():
    from clerestory.steering.slider import Slider

    pytest.importorskip("peft")
    model = tiny_model()
    before = model.run("a cat", 0).pictures
    slider = Slider.train(model, ("{item}", "{item} dog dog"), ["a", "cat", "b", "c"], steps=60)
    first, last = np.mean(slider.losses[:10]), np.mean(slider.losses[-10:])
    assert last < first
    assert (model.run("a cat", 0).pictures == before).all()
    assert (slider.draw(["a cat"], [0]) != before).any()
    slider.close()
    assert (model.run("a cat", 0).pictures == before).all()
