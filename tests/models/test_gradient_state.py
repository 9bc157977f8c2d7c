"""What a run with gradients leaves behind, and what it must not touch."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch
from families import built, family_model, pixart, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS

from clerestory.errors import ModelError
from clerestory.evaluation import unit

pytestmark = DIFFUSERS_WARNINGS
PREDICTION = "denoiser/prediction@1"
TEXT = "text.blocks.0/resid"
INNER = "denoiser.mid.res.0/out"


def gradient_of(model, sites=TEXT, objective=None, read=(), **options):
    objective = unit("denoiser/prediction[2]", "mean") if objective is None else objective
    return model.gradients(objective, sites, "a cat", read=read, progress=False, **options)


class Noise:
    """Draws numbers each time that it is made."""

    site, branch = INNER, "cond"

    def __call__(self, value):
        return value * (0.5 + torch.rand_like(value))


class Trained:
    """Has a weight that is being trained."""

    site, branch = INNER, "cond"

    def __init__(self):
        self.weight = torch.ones((), requires_grad=True)

    def __call__(self, value):
        return value * self.weight


def test_what_is_trainable_besides_gets_no_gradients():
    """The parameters of a classifier, or of an edit: `.grad` would grow from call to call."""
    model, head, edit = family_model("stable_diffusion"), torch.nn.Linear(1, 1), Trained()

    def score(values):
        return head(values[PREDICTION].square().mean((1, 2, 3))[:, None])[:, 0]

    found = gradient_of(model, [TEXT, INNER], score, PREDICTION, edits=[edit])
    assert np.abs(found.read(TEXT)["gradient"]).max() > 0
    assert head.weight.grad is None and edit.weight.grad is None


@pytest.mark.parametrize("make", [stable_diffusion, pixart])
def test_schedulers_of_several_steps_keep_no_graph(make):
    """They keep predictions, and a tensor in a graph cannot be copied."""
    model = small_model(built(make))
    before = model.run("a cat", 0).pictures
    gradient_of(model)
    copy.deepcopy(model.pipeline.scheduler)
    assert np.array_equal(model.run("a cat", 0).pictures, before)


def test_no_tensor_outlives_a_call():
    model = family_model("stable_diffusion")

    def tensors():
        return sum(type(each) is torch.Tensor for each in gc.get_objects())

    gradient_of(model)
    gc.collect()
    gc.disable()
    try:
        before = tensors()
        for _ in range(2):
            gradient_of(model)
        assert tensors() - before < 10
    finally:
        gc.enable()


def test_an_edit_that_draws_numbers_draws_the_same_ones_again():
    model = family_model("stable_diffusion")
    torch.manual_seed(0)
    again = gradient_of(model, edits=[Noise()]).read(TEXT)["gradient"]
    torch.manual_seed(0)
    kept = gradient_of(model, edits=[Noise()], checkpoint=False).read(TEXT)["gradient"]
    np.testing.assert_allclose(again, kept, atol=1e-6 * float(np.abs(kept).max()))


def test_what_a_network_takes_and_gives_has_no_gradient_at_steps_without_a_graph():
    sites = ["denoiser/latent", "denoiser/prediction", INNER]
    found = gradient_of(family_model("stable_diffusion"), sites, last_steps=1)
    for site in sites:
        gradient = found.read(site)["gradient"].to_numpy()[0]
        assert np.isnan(gradient[:-1]).all(), site
        assert np.isfinite(gradient[-1]).all(), site


def test_an_objective_that_is_not_finite_is_named():
    def broken(values):
        return values[PREDICTION].sum((1, 2, 3)) * float("nan")

    with pytest.raises(ModelError, match="The objective broken is not finite"):
        gradient_of(family_model("stable_diffusion"), TEXT, broken, PREDICTION)


def test_an_address_that_is_given_twice_is_read_once():
    shapes = {}

    def score(values):
        shapes.update({name: tuple(value.shape) for name, value in values.items()})
        return values[PREDICTION].square().mean((1, 2, 3))

    gradient_of(family_model("stable_diffusion"), TEXT, score, [PREDICTION, PREDICTION])
    assert [shape[1] for shape in shapes.values()] == [1]
