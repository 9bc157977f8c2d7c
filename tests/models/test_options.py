"""Options that would change nothing are refused, and a pipeline's own errors are one line."""

from __future__ import annotations

import numpy as np
import pytest
from families import FAMILIES, built, family_model, flux, small_model, stable_diffusion
from odd import odd_pipeline

from clerestory.edits import Ablate, Add
from clerestory.errors import EditError, ModelError, OptionError, SiteError
from clerestory.models import wrap

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Passing `image` as torch:FutureWarning"),
]
CHANGED = {
    "height": 32,
    "width": 32,
    "steps": 2,
    "guidance": 5.0,
    "prior_steps": 2,
    "prior_guidance": 5.0,
    "true_guidance": 5.0,
    "perturbed_guidance": 5.0,
    "negative": "a dog",
}


@pytest.mark.parametrize("name", [*FAMILIES, "schnell", "odd"])
def test_an_option_changes_the_picture_or_is_refused(name):
    if name == "odd":
        model = wrap(odd_pipeline())
    else:
        model = small_model(built(flux, guided=False)) if name == "schnell" else family_model(name)
    # Flux reads the scale of true guidance with a negative prompt only.
    negative = {"negative": "a dog"} if "true_guidance" in model.family.option_names else {}
    plain = model.run("a cat", 0, **negative).pictures
    for option, value in CHANGED.items():
        if option not in model.family.option_names:
            with pytest.raises(OptionError, match=f"{option} is .*would change nothing|takes none"):
                model.run("a cat", 0, **{option: value})
        elif not (name == "odd" and option in ("height", "width")):
            drawn = model.run("a cat", 0, **{**negative, option: value}).pictures
            if option == "negative" and negative:
                drawn, plain = model.run("a cat", 0).pictures, plain
            assert not np.array_equal(drawn, plain), option


# Karlo takes none.
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"karlo"}))
def test_a_negative_prompt_that_no_guidance_reads_is_refused(name):
    model = family_model(name)
    off = dict.fromkeys(("guidance", "prior_guidance", "true_guidance"), 1.0)
    off = {each: value for each, value in off.items() if each in model.family.option_names}
    model.run("a cat", 0, steps=2, **off)
    with pytest.raises(OptionError, match="negative prompt 'a dog' would change nothing: give"):
        model.run("a cat", 0, steps=2, negative="a dog", **off)


def test_what_a_pipeline_raises_is_one_line_with_its_options():
    model = small_model(built(stable_diffusion, "ddim"))
    with pytest.raises(ModelError, match=r"failed with ValueError \(.*1000.*steps=2000"):
        model.run("a cat", 0, steps=2000)
    model.pipeline.unet.double()
    with pytest.raises(ModelError, match=r"StableDiffusionPipeline failed with RuntimeError"):
        model.run("a cat", 0)


def test_what_a_tap_or_an_edit_raises_is_the_callers():
    model, error = family_model("stable_diffusion"), ValueError("mine")

    def fail(*_):
        raise error

    fail.site = "denoiser/latent"
    for wrong in ({"taps": {"denoiser/latent": fail}}, {"edits": [fail]}):
        with pytest.raises(ValueError, match="mine") as caught:
            model.run("a cat", 0, **wrong)
        assert caught.value is error


def test_strengths_are_as_many_as_samples():
    model, site = family_model("stable_diffusion"), "text/tokens"
    direction = np.ones(model.sites[site].shape[1])
    for strengths in ([1.0, 2.0], [1.0] * 4):
        with pytest.raises(EditError, match=f"for {len(strengths)} samples and the run has 3"):
            model.run("a cat", range(3), edits=[Add(site, direction, strengths)], batch=2)
    assert model.run("a cat", range(3), edits=[Add(site, direction, [1.0, 0.0, 2.0])], batch=2)


@pytest.mark.parametrize("part", ["[3]", "[h1]", "[0:4]@0"])
def test_a_tap_or_an_edit_of_a_part_of_a_site_is_refused(part):
    model, site = family_model("stable_diffusion"), "text.blocks.0/q"
    with pytest.raises(SiteError, match=f"whole site: write '{site}' in place of"):
        model.run("a cat", 0, taps={site + part: lambda *_: None})

    def edit(value):
        return value

    edit.site = site + part
    with pytest.raises(EditError, match="An edit changes a whole site"):
        model.run("a cat", 0, edits=[edit])
    with pytest.raises(EditError, match="An edit changes a whole site"):
        Ablate(site + part, np.ones(model.sites[site].shape[1]))
