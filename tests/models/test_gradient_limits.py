"""What gradients are refused, and what half precision or memory does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from families import built, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from tiny import tiny_model

from clerestory.causal import AttributionPatching, attribution_patching, patch_parts
from clerestory.errors import ModelError, OptionError, SiteError
from clerestory.evaluation import direction, unit
from clerestory.models.core.pipeline_errors import is_out_of_memory

pytestmark = DIFFUSERS_WARNINGS
TEXT, MLP = "text.blocks.0/resid", "text.blocks.0/mlp"
CLEAN, CORRUPTED = ["a cat", "my cat"], ["a dog", "my dog"]
SILENT = {"progress": False}


def test_a_unit_that_a_site_does_not_have_is_refused():
    model = tiny_model()
    for objective in (
        unit("text.blocks.1/mlp[48]"),
        unit("prior/embedding[3]") - unit("text.blocks.1/mlp[48]"),
        direction("text.blocks.1/mlp", np.ones(49)),
    ):
        with pytest.raises(SiteError, match=r"reads unit 48 of text.blocks.1/mlp, which has 48"):
            model.gradients(objective, TEXT, "a cat", **SILENT)
    with pytest.raises(SiteError, match="has no unit 48; its 48 units are 0 to 47"):
        model.gradients("text.blocks.1/mlp[48]", TEXT, "a cat", **SILENT)


def test_a_unit_of_a_site_whose_width_shows_in_the_run_is_refused(monkeypatch):
    model = small_model(built(stable_diffusion), steps=2)
    monkeypatch.setattr(model, "rebind", lambda: None)
    monkeypatch.setitem(model.sites._units, TEXT, None)
    monkeypatch.setitem(vars(model.sites[TEXT]), "shape", (None, None))
    unknown, later = f"{TEXT}[999]", unit("denoiser/prediction[2]", "mean")
    message = r"text.blocks.0/resid(@\d+)? has no unit 999"
    with pytest.raises(SiteError, match=message):
        model.gradients(later, unknown, "a cat", **SILENT)
    with pytest.raises(SiteError, match=message):
        attribution_patching(model, CLEAN, CORRUPTED, later, unknown, **SILENT)
    with pytest.raises(SiteError, match=message):
        patch_parts(model, CLEAN, CORRUPTED, later, unknown, **SILENT)
    with pytest.raises(SiteError, match="reads unit 999"):
        model.gradients(unit(unknown), "text/tokens", "a cat", **SILENT)


@pytest.mark.parametrize("sites", [[], ()])
def test_no_site_is_refused(sites):
    model = tiny_model()
    with pytest.raises(OptionError, match="no site to differentiate by"):
        model.gradients(unit("prior/embedding[3]"), sites, "a cat", **SILENT)
    for ig_steps in (0, 2):
        with pytest.raises(OptionError, match="no site to differentiate by"):
            attribution_patching(
                model,
                CLEAN,
                CORRUPTED,
                unit("prior/embedding[3]"),
                sites,
                ig_steps=ig_steps,
                **SILENT,
            )


class Hoard:
    """A module's forward that asks for more memory than any machine has."""

    def __init__(self, module, *, in_backward):
        self.forward, self.in_backward = module.forward, in_backward

    def __call__(self, *args, **kwargs):
        if not self.in_backward:
            torch.empty(10**17)
        output = self.forward(*args, **kwargs)
        if output.requires_grad:
            output.register_hook(lambda gradient: torch.empty(10**17))
        return output


@pytest.mark.parametrize("in_backward", [False, True], ids=["forward", "backward"])
def test_running_out_of_memory_says_what_to_lower(in_backward, monkeypatch):
    model = small_model(built(stable_diffusion), steps=2)
    layer = model.pipeline.unet.conv_out
    monkeypatch.setattr(layer, "forward", Hoard(layer, in_backward=in_backward))
    objective = unit("denoiser/prediction[2]", "mean")
    with pytest.raises(ModelError, match=r"Memory ran out.*lower batch \(2\).*last_steps") as error:
        model.gradients(objective, TEXT, ["a cat", "a dog"], **SILENT)
    assert "checkpoint" not in str(error.value)
    with pytest.raises(ModelError, match=r"1 sample was .*: keep checkpoint=True, keep grad"):
        model.gradients(objective, TEXT, "a cat", checkpoint=False, **SILENT)
    with pytest.raises(ModelError, match=r"Memory ran out.*lower batch \(2\)"):
        attribution_patching(model, CLEAN, CORRUPTED, objective, TEXT, **SILENT)


def test_a_run_that_runs_out_of_memory_says_what_to_lower(monkeypatch):
    model = small_model(built(stable_diffusion), steps=2)
    layer = model.pipeline.unet.conv_out
    monkeypatch.setattr(layer, "forward", Hoard(layer, in_backward=False))
    with pytest.raises(ModelError, match=r"memory ran out: lower batch \(2\) or the size"):
        model.run(["a cat", "a dog"], **SILENT)
    for error, known in (
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory"), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("out of memory"), False),
    ):
        assert is_out_of_memory(error) is known


def half_model():
    pipeline = built(stable_diffusion)
    pipeline.to(torch.float16)
    return small_model(pipeline, steps=2)


def scaled(factor):
    def objective(values):
        return factor * values["denoiser/prediction@1"].square().mean((1, 2, 3))

    return objective


def gradient_of(model, factor, sites=TEXT, **options):
    return model.gradients(
        scaled(factor), sites, "a cat", read="denoiser/prediction@1", **SILENT, **options
    )


def test_gradients_that_float16_loses_are_named():
    model = half_model()
    sites = [TEXT, "denoiser.mid.res.0/out"]
    found = gradient_of(model, 1e3, sites)
    assert np.abs(found.read(TEXT)["gradient"]).max() > 1e-3
    assert found.imprecise == () and "float16" not in repr(found)
    for options in ({}, {"independent": "zero"}):
        with pytest.raises(ModelError, match=r"objective at text.*zero in float16.*bfloat16"):
            gradient_of(model, 1e-12, sites, **options)
    # In between there are fewer digits.
    largest = float(np.abs(found.read(TEXT)["gradient"]).max())
    found = gradient_of(model, 1e3 * 3e-6 / largest, TEXT)
    assert found.imprecise == (TEXT,) and "where float16 rounds" in repr(found)
    assert np.abs(found.read(TEXT)["gradient"]).max() < 6e-5
    with pytest.raises(ModelError, match="not finite"):
        gradient_of(model, 1e30, sites)
    # Single precision has numbers of that size.
    single = small_model(built(stable_diffusion), steps=2)
    assert gradient_of(single, 1e-12, sites).imprecise == ()


def test_attribution_patching_names_what_float16_loses(tmp_path):
    model, read = half_model(), "denoiser/prediction@1"
    found = attribution_patching(model, CLEAN, CORRUPTED, scaled(1e3), TEXT, read=read, **SILENT)
    assert found.imprecise == ()
    with pytest.raises(ModelError, match="zero in float16"):
        attribution_patching(model, CLEAN, CORRUPTED, scaled(1e-12), TEXT, read=read, **SILENT)
    found = attribution_patching(
        model, CLEAN, CORRUPTED, scaled(1e-3), TEXT, read=read, ig_steps=1, **SILENT
    )
    assert found.imprecise == (TEXT,) and "few digits" in found.summary()
    found.save(tmp_path / "found")
    assert AttributionPatching.load(tmp_path / "found").imprecise == (TEXT,)
