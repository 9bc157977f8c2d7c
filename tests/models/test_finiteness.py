"""Values that are no values: a run says so, and a recording marks the sample."""

import numpy as np
import pytest
import torch
from families import built, stable_diffusion
from tiny import WIDTH, tiny_model
from torch import nn

from clerestory.classifiers.base import classify
from clerestory.edits import Add, Clamp, Erase, Patch, Reflect, Scale
from clerestory.errors import EditError, ModelError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models import wrap
from clerestory.models.core.finiteness import StageCheck, is_finite, to_pictures
from clerestory.recordings import record

SITE = "denoiser.mid.res.0/out"
UNITS = 24


def nan_in(module, monkeypatch, value=torch.nan):
    """Put a value into the last parameter of a module that other tests share."""
    weights = list(module.parameters())[-1]
    monkeypatch.setattr(weights, "data", torch.full_like(weights, value))


@pytest.mark.parametrize(
    ("component", "place"),
    [("prior_text_encoder", "text"), ("unet", "denoiser"), ("movq", "vae")],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named_by_their_stage(component, place, value, monkeypatch):
    model = tiny_model()
    part = getattr(model.pipeline, component)
    nan_in(getattr(part, "decoder", part), monkeypatch, value)
    words = rf"2 of 2 samples are not finite, first at {place} of 'a cat' with seed 0.*dtype"
    with pytest.raises(ModelError, match=words):
        model.run("a cat", (0, 1))


def test_an_edit_that_makes_values_infinite_is_named():
    edit = Add(SITE, np.ones(UNITS), 1e38)
    with pytest.raises(EditError, match=f"not finite, first at denoiser.*edit at {SITE}"):
        tiny_model().run("a cat", edits=[edit])
    # The other runs of a sweep are not to blame, and have no values to give either.
    with pytest.raises(EditError, match="lower the strength"):
        tiny_model().sweep("a cat", 0, [[], [edit]])
    with pytest.raises(EditError, match="lower the strength"):
        Evaluator(tiny_model()).draw(
            [Condition("edited", edits=(edit,))], Design.for_items(["a cat"])
        )


def test_values_that_are_read_are_finite_where_the_picture_is():
    """A value that the rest of the model does not use."""

    def spoil(value):
        return torch.full_like(value, torch.inf)

    spoil.site = "text.blocks.1/mlp"
    with pytest.raises(EditError, match="not finite"):
        tiny_model().run("a cat", read="text.blocks.1/mlp", edits=[spoil], pictures=False)


def test_the_sample_with_the_bad_value_is_named_in_every_layout_of_branches():
    for rows, calls in ((range(10, 14), [8]), (range(10, 14), [4, 4]), (range(10, 14), [1] * 4)):
        check, module = StageCheck(rows), nn.Identity()
        with check.watch({"denoiser": module}):
            for call, count in enumerate(calls):
                value = torch.ones(count, 2, 3)
                if call == len(calls) - 1:
                    value[-1, 1, 1] = torch.nan
                module(value)
        assert check.reasons() == {13: "denoiser: not finite"}


def test_lists_mappings_and_whole_numbers_are_read_as_modules_give_them():
    check, module = StageCheck(range(2)), nn.Identity()
    with check.watch({"denoiser": module}):
        module([torch.ones(3), torch.tensor([1.0, torch.inf])])
        module({"sample": torch.ones(2, 2), "hidden": torch.full((2, 2), torch.nan)})
        module((torch.ones(2, 2), None))
        module(torch.ones(2, 2, dtype=torch.int64))
        module(None)
    assert check.reasons() == {1: "denoiser: not finite"}
    assert not module._forward_hooks


def test_floats_become_pictures_as_diffusers_makes_them():
    values = np.array([0.0, 0.5, 1.0, 1.002, np.nan]).reshape(5, 1, 1, 1).repeat(3, -1)
    pictures, finite = to_pictures(values)
    assert pictures[:, 0, 0, 0].tolist() == [0, 128, 255, 255, 0]
    assert finite.tolist() == [True] * 4 + [False]
    whole, finite = to_pictures(pictures)
    assert whole is pictures and finite.all()
    assert is_finite(np.ones(3, np.float16)) and not is_finite(np.array([1, np.inf]))


def test_a_pipeline_of_another_family_is_checked_too(monkeypatch):
    model = wrap(built(stable_diffusion))
    nan_in(model.pipeline.vae.decoder, monkeypatch)
    with pytest.raises(ModelError, match="not finite, first at vae"):
        model.run("a cat", steps=1)


def test_a_sample_with_a_picture_of_nan_is_marked_and_left_out(tmp_path, monkeypatch):
    model = tiny_model()

    def spoil(module, args, output):
        output[1:] = torch.nan

    hook = model.pipeline.movq.decoder.register_forward_hook(spoil)
    try:
        recording = record(
            model, ["a cat"], (0, 1), sites="text.blocks.0/mlp", out=tmp_path / "rec", batch=2
        )
    finally:
        hook.remove()
    assert recording.samples["bad"].tolist() == ["", "vae: not finite"]
    assert recording.rows.tolist() == [0]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Add("a/b", np.array([1e300, 0])),
        lambda: Add("a/b", np.ones(2), 1e300),
        lambda: Add("a/b", np.ones(2), 1e30, 1e30),
        lambda: Clamp("a/b[1]", 1e39),
        lambda: Scale("a/b[1]", -1e39),
        lambda: Reflect("a/b", np.ones(2), strength=1e39),
        lambda: Patch("a/b", np.array([[[1.0, np.nan]]], np.float32)),
        lambda: Erase("a/b", torch.ones(2, 1), torch.full((1, 2), torch.inf), torch.ones(2)),
        lambda: Erase.fit("a/b", np.full((9, 2), np.nan), np.arange(9) % 2),
        lambda: Erase.fit("a/b", np.ones((9, 2)), np.array([np.nan, 1.0, 2.0] * 3)),
        lambda: Erase.fit("a/b", np.ones((9, 2)), np.ones((9, 2))),
    ],
)
def test_an_edit_of_values_that_are_not_finite_is_refused_when_it_is_made(make):
    with pytest.raises(EditError):
        make()


def test_scores_are_erased_as_one_direction_and_not_as_a_class_each():
    rng = np.random.default_rng(0)
    activations, scores = rng.normal(size=(200, 16)), rng.normal(size=200)
    activations[:, 3] += 2 * scores
    edit = Erase.fit("a/b", activations, scores)
    erased = edit(torch.tensor(activations[:, None], dtype=torch.float32))[:, 0].numpy()
    assert edit.left.shape == (16, 1)
    kept = erased.var(0).sum() / activations.var(0).sum()
    assert 0.7 < kept < 1
    # Whitened, one of sixteen directions is gone.
    assert np.linalg.matrix_rank(np.cov(erased.T), tol=1e-4) == 15
    assert np.abs((erased - erased.mean(0)).T @ (scores - scores.mean())).max() < 1e-2
    with pytest.raises(EditError, match="200 classes of 200 samples"):
        Erase.fit("a/b", activations, np.arange(200))


def test_a_classifier_that_gives_nan_is_refused():
    class Broken:
        classes, source = ("dark", "light"), "broken"

        def __call__(self, pictures):
            return np.full((len(pictures), 2), np.nan)

    with pytest.raises(ModelError, match="broken gave"):
        classify(Broken(), np.zeros((1, 4, 4, 3), np.uint8))


def test_the_embedding_of_the_prior_is_checked():
    edit = Add("prior/embedding", np.ones(WIDTH), 3e38)
    with pytest.raises(EditError, match="not finite"):
        tiny_model().run("a cat", edits=[edit])


def test_gradients_that_are_not_finite_are_refused(monkeypatch):
    model, site = tiny_model(), "text.blocks.0/mlp"
    # The token embeddings are the first parameter.
    weights = next(model.pipeline.prior_text_encoder.parameters())
    monkeypatch.setattr(weights, "data", torch.full_like(weights, torch.nan))

    def total(values):
        return values[site].sum((1, 2, 3))

    def root(values):
        return (total(values) * 0).sqrt()  # of zero: its slope is not finite

    with pytest.raises(ModelError, match=r"The objective total is not finite"):
        model.gradients(total, site, "a cat", read=site, progress=False)
    monkeypatch.undo()
    with pytest.raises(ModelError, match=r"The gradient at .*mlp is not finite"):
        model.gradients(root, site, "a cat", read=site, progress=False)
