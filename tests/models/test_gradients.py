"""Gradients of objectives through whole pipelines, against finite differences."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from contract import Boom, hooks_on
from families import ALL_FAMILIES, built, family_model, small_model, stable_diffusion
from helpers.bare_pipelines import DIFFUSERS_WARNINGS
from tiny import tiny_model

from clerestory.edits import Add
from clerestory.errors import ModelError, OptionError, SiteError
from clerestory.evaluation import direction, label, unit
from clerestory.models.core import checkpoints
from clerestory.models.core.attachment import Attachment
from clerestory.models.core.graph_recording import GraphRecorder

pytestmark = DIFFUSERS_WARNINGS
EXACT = [
    "unclip",
    "stable_diffusion",
    "stable_diffusion_xl",
    "stable_diffusion_3",
    "flux",
    "pixart",
    "stable_cascade",
    "kandinsky_2_1",
    "karlo",
    "lumina_2",
]
"""Families whose tiny networks are smooth enough for finite differences of this size.

Elsewhere norms divide by activations that are nearly zero, or round to single precision.
"""
STEP = 1e-3
PREDICTION = "denoiser/prediction@1"
TEXT = "text.blocks.0/resid"


class Shift:
    """Adds a tensor of the site's own shape."""

    def __init__(self, site, change, branch="cond"):
        self.site, self.change, self.branch = site, change, branch

    def __call__(self, value):
        return value + self.change.to(value.dtype)


@functools.cache
def double_model(name):
    """A model in double precision that draws two steps."""
    pipeline = built(ALL_FAMILIES[name])
    pipeline.to(torch.float64)
    return small_model(pipeline, steps=2)


def energy(values):
    return values[PREDICTION].double().square().mean((1, 2, 3))


def gradient_of(model, sites, objective=energy, read=PREDICTION, prompts="a cat", **options):
    return model.gradients(objective, sites, prompts, read=read, progress=False, **options)


def along(gradient, seed=1):
    """A direction in which the objective rises, with a weight of its own for each number."""
    weights = torch.rand(gradient.shape, generator=torch.Generator().manual_seed(seed))
    change = torch.from_numpy(gradient).double() * (0.5 + weights)
    return change / change.norm()


def slopes(model, site, gradient, step=STEP, **options):
    """What a gradient promises along a direction, and the central difference of two edits."""
    change = along(gradient)
    promised = float((change.numpy() * gradient).sum())
    after, before = (
        gradient_of(model, site, edits=[Shift(site, sign * step * change)], **options)
        for sign in (1, -1)
    )
    found = (after.objective_values - before.objective_values).sum() / (2 * step)
    return promised, found


@pytest.mark.parametrize("name", EXACT)
def test_gradients_equal_finite_differences(name):
    """Through text encoder, prior and the steps of the denoiser."""
    model = double_model(name)
    inner = next(
        site
        for site in model.sites
        if site.startswith("denoiser.") and site.endswith(("out", "resid"))
    )
    sites = [TEXT, model.conditioning_site, inner]
    gradients = gradient_of(model, sites)
    for site in sites:
        gradient = gradients.read(site)["gradient"].to_numpy()[0]
        # An edit changes all steps alike: its slope is the sum over steps.
        promised, found = slopes(model, site, gradient.sum(0))
        total = (along(gradient.sum(0)).numpy() * gradient.sum(0)).sum()
        assert found == pytest.approx(promised, rel=1e-3), site
        assert promised == pytest.approx(total)
        assert promised > 0


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_3"])
def test_gradients_of_the_picture_equal_finite_differences(name):
    """Of a classifier of the final picture, through the autoencoder."""
    model, objective = double_model(name), label("colour:light", "dark")
    sites = [TEXT, "denoiser/latent@0"]
    how = {"objective": objective, "read": ()}
    gradients = gradient_of(model, sites, **how)
    for site in sites:
        gradient = gradients.read(site)["gradient"].to_numpy()[0, 0]
        # Pipelines give pictures in single precision, so that the steps must be large.
        promised, found = slopes(model, site, gradient, step=0.1, **how)
        assert found == pytest.approx(promised, rel=2e-3), site


def test_the_branch_without_the_prompt_has_gradients_of_its_own():
    model, site = double_model("stable_diffusion"), "denoiser.mid.res.0/out"
    gradients = gradient_of(model, site, branch="uncond")
    gradient = gradients.read(site)["gradient"].to_numpy()[0].sum(0)
    change = along(gradient)
    after, before = (
        gradient_of(model, site, edits=[Shift(site, sign * STEP * change, "uncond")])
        for sign in (1, -1)
    )
    found = (after.objective_values - before.objective_values)[0] / (2 * STEP)
    assert found == pytest.approx(float((change.numpy() * gradient).sum()), rel=1e-3)
    assert not np.allclose(gradient, gradient_of(model, site).read(site)["gradient"][0].sum("step"))


def test_the_input_of_a_network_is_apart_from_what_the_scheduler_takes():
    """An edit of the latent at a step changes what the denoiser is given, and no more."""
    model, site = double_model("flux"), "denoiser/latent@1"
    gradient = gradient_of(model, site).read(site)["gradient"].to_numpy()[0, 0]
    promised, found = slopes(model, site, gradient)
    assert found == pytest.approx(promised, rel=1e-3)


@pytest.mark.parametrize("name", ALL_FAMILIES)
def test_every_family_passes_gradients_from_the_picture_to_each_text_encoder(name):
    model = family_model(name)
    sites = [site for site in model.sites if site.startswith("text") and site.endswith("/tokens")]
    gradients = gradient_of(
        model, sites, lambda values: values["pictures"].square().mean((1, 2, 3)), "pictures"
    )
    for site in sites:
        read = gradients.read(site)
        assert np.abs(read["gradient"]).max() > 0, site
        expected = model.run("a cat", 0, read=site, pool="none", pictures=False).read(site)
        assert np.array_equal(read["value"], expected, equal_nan=True), site


@pytest.mark.parametrize("name", ["unclip", "stable_diffusion_xl", "stable_diffusion_3", "flux"])
@pytest.mark.parametrize("kept_bytes", [0, checkpoints.KEPT_BYTES], ids=["all", "some"])
def test_steps_that_are_computed_again_give_the_same_gradients(name, kept_bytes, monkeypatch):
    monkeypatch.setattr(checkpoints, "KEPT_BYTES", kept_bytes)
    model = family_model(name)
    sites = [TEXT, "denoiser/prediction", "denoiser.*"]
    objective = unit("denoiser/prediction[2]", "mean")
    again, kept = (
        gradient_of(
            model,
            sites,
            objective,
            (),
            checkpoint=each,
            independent="zero",
            edits=[Add(TEXT, np.ones(32), 0.3)],
        )
        for each in (True, False)
    )
    assert np.array_equal(again.objective_values, kept.objective_values)
    for site in again.gradients.site_values:
        one, other = (found.gradients.read(site).to_numpy() for found in (again, kept))
        np.testing.assert_allclose(one, other, atol=1e-6 * max(np.abs(other).max(), 1e-3))


def test_what_is_written_in_place_keeps_its_gradients(monkeypatch):
    """HiDream's experts write into a tensor that autograd has saved."""
    model, site = family_model("hidream"), "text.blocks.0/resid"
    found = []
    for kept_bytes in (0, checkpoints.KEPT_BYTES):
        monkeypatch.setattr(checkpoints, "KEPT_BYTES", kept_bytes)
        found.append(gradient_of(model, site, unit("denoiser/prediction[2]", "mean"), ()))
    again, kept = (each.read(site)["gradient"].to_numpy() for each in found)
    np.testing.assert_allclose(kept, again, atol=1e-6 * np.abs(again).max())


def test_steps_are_computed_again_in_a_thread_of_autograds(monkeypatch):
    """On an accelerator the backward pass calls the network in another thread than the run's."""
    monkeypatch.setattr(checkpoints, "KEPT_BYTES", 0)
    model = family_model("stable_diffusion")
    how = {"objective": unit("denoiser/prediction[2]", "mean"), "read": ()}
    sites = [TEXT, "denoiser.mid.res.0/out"]
    how["edits"] = [Add("denoiser.down.0.res.0/out", np.ones(16), 0.3)]
    expected = gradient_of(model, sites, **how)
    differentiate = torch.autograd.grad

    def in_a_thread(*args, **kwargs):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(differentiate, *args, **kwargs).result()

    monkeypatch.setattr(torch.autograd, "grad", in_a_thread)
    found = gradient_of(model, sites, **how)
    for site in sites:
        one, other = (each.read(site)["gradient"] for each in (found, expected))
        np.testing.assert_allclose(one, other, atol=1e-7)


def test_memory_does_not_grow_with_the_steps(monkeypatch):
    """What autograd keeps of a further step is the input of the denoiser, not its activations."""
    model = family_model("stable_diffusion")
    monkeypatch.setattr(checkpoints, "KEPT_BYTES", 0)

    def kept(steps, checkpoint):
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.nbytes
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            gradient_of(
                model,
                TEXT,
                unit("denoiser/prediction[2]", "mean"),
                (),
                steps=steps,
                checkpoint=checkpoint,
            )
        return sum(sizes.values())

    more = {each: kept(4, each) - kept(2, each) for each in (True, False)}
    assert more[True] < 0.05 * more[False]


def test_as_many_steps_are_kept_as_fit_in_memory(monkeypatch):
    model, counts, calls = family_model("stable_diffusion"), [], []
    measure, forward = GraphRecorder.measure, model.pipeline.unet.forward

    @contextmanager
    def counted(recorder):
        with measure(recorder) as measured:
            yield measured
        counts.append(measured.count)

    monkeypatch.setattr(GraphRecorder, "measure", counted)
    monkeypatch.setitem(
        vars(model.pipeline.unet), "forward", lambda *a, **k: calls.append(1) or forward(*a, **k)
    )

    def called(room):
        calls.clear()
        monkeypatch.setattr(checkpoints, "KEPT_BYTES", room)
        gradient_of(model, TEXT, unit("denoiser/prediction[2]", "mean"), (), steps=5)
        return len(calls)

    most, least = called(0), called(10**12)
    # All are computed twice; then the first alone, whose size is not known before.
    assert most == 2 * (least - 1)
    # The first step has nothing before it that needs gradients.
    first, later = counts[0], max(counts)
    assert 0.5 * later < first <= later
    assert called(int(2.5 * checkpoints.MARGIN * first)) == most - 2


def test_values_objective_and_picture_are_those_of_a_run():
    model, prompts, seeds = tiny_model(), ["a cat", "a dog"], (0, 5)
    objective = direction("prior/embedding", np.arange(1.0, 33), "mean")
    found = gradient_of(
        model, ["text.*/mlp", "prior.*/mlp"], objective, (), prompts, seeds=seeds, pool="mean"
    )
    run = model.run(prompts, seeds, read=["text.*/mlp", "prior.*/mlp", "prior/embedding"])
    vector = np.arange(1.0, 33) / np.linalg.norm(np.arange(1.0, 33))
    expected = run.read("prior/embedding").to_numpy()[:, 0] @ vector
    np.testing.assert_allclose(found.objective_values, expected, rtol=1e-5)
    for site in found.values.site_values:
        np.testing.assert_allclose(found.values.read(site), run.read(site), atol=1e-6)
        assert found.read(site)["gradient"].dims == run.read(site).dims
    assert found.tree["text.blocks.0/mlp"]["gradient"].shape == (4, 1, 48)
    assert found.read("text.blocks.0/mlp[3]").sizes["unit"] == 1


def test_a_pooled_gradient_is_the_mean_over_the_tokens_that_count():
    model, site = tiny_model(), "text.blocks.0/mlp"
    objective = unit("prior/embedding[3]", "mean")
    kept, pooled = (
        gradient_of(model, site, objective, (), pool=pool).read(site)["gradient"].to_numpy()
        for pool in ("none", "mean")
    )
    mask = model.family.text_windows["text"].token_mask(["a cat"]).numpy()[0]
    np.testing.assert_allclose(pooled[0, 0], kept[0, 0][mask].mean(0), atol=1e-7)
    with pytest.raises(OptionError, match="no maximum"):
        gradient_of(model, site, objective, (), pool="max")


def test_only_the_last_steps_keep_gradients_where_that_is_asked():
    model, site = family_model("stable_diffusion"), "denoiser.mid.res.0/out"
    objective = unit("denoiser/prediction[2]", "mean")
    whole, last = (
        gradient_of(model, [TEXT, site], objective, (), last_steps=steps) for steps in (None, 1)
    )
    one, other = (found.read(site)["gradient"].to_numpy()[0] for found in (whole, last))
    assert np.isnan(other[:-1]).all()
    np.testing.assert_allclose(other[-1], one[-1], atol=1e-7)
    assert last.last_steps == 1 and "last 1 steps only" in repr(last)
    assert not np.allclose(*(found.read(TEXT)["gradient"] for found in (whole, last)))
    with pytest.raises(OptionError, match="leaves all steps of denoiser"):
        gradient_of(model, f"{site}@0", objective, (), last_steps=1)


def test_a_site_that_the_objective_does_not_depend_on_is_named():
    model = tiny_model()
    with pytest.raises(SiteError, match=r"does not depend on text.blocks.1/resid. Leave it out"):
        gradient_of(model, [TEXT, "text.blocks.1/resid"], "text.blocks.1/mlp[3]", ())
    with pytest.raises(SiteError, match="does not depend on prior/embedding"):
        gradient_of(model, "prior/embedding", "text.blocks.1/mlp[3]", ())
    found = gradient_of(
        model, [TEXT, "prior/embedding"], "text.blocks.1/mlp[3]", (), independent="zero"
    )
    assert found.independent == ("prior/embedding",)
    assert not found.read("prior/embedding")["gradient"].any()
    assert found.read(TEXT)["gradient"].any()


def test_later_steps_than_the_objective_have_no_influence():
    found = gradient_of(tiny_model(), "denoiser.mid.res.0/out", "denoiser.mid.res.1/out[0]@1", ())
    sizes = np.abs(found.read("denoiser.mid.res.0/out")["gradient"]).sum(("position", "unit"))
    assert (sizes[0, :2] > 0).all() and sizes[0, 2] == 0


def test_what_is_no_objective_is_refused():
    model = tiny_model()
    for objective, message in (
        ("text.blocks.1/mlp", "not the address of a unit"),
        ("colour:light=dark", "use clerestory.evaluation.objectives"),
        (3.0, "is not an objective"),
        (lambda values: values, "needs read="),
    ):
        with pytest.raises(OptionError, match=message):
            gradient_of(model, TEXT, objective, ())
    with pytest.raises(OptionError, match=r"gave \[1, 3\] for 1 samples"):
        gradient_of(model, TEXT, lambda values: values[PREDICTION].sum((2, 3)).expand(1, 3))
    with pytest.raises(OptionError, match="last_steps"):
        gradient_of(model, TEXT, last_steps=0)


def test_a_pipeline_in_inference_mode_is_refused(monkeypatch):
    model = small_model(built(stable_diffusion))
    call = torch.inference_mode()(model.pipeline.unet.forward)
    monkeypatch.setattr(model.pipeline.unet, "forward", call)
    with pytest.raises(ModelError, match=r"denoiser.mid.res.0/out has no gradient.*inference_mode"):
        gradient_of(model, "denoiser.mid.res.0/out")


def test_weights_that_pass_no_gradient_are_named(monkeypatch):
    """A kernel of quantized weights without a backward pass, as some are."""
    model = small_model(built(stable_diffusion))

    class Kernel(torch.autograd.Function):
        @staticmethod
        def forward(context, value):
            return value.clone()

        @staticmethod
        def backward(context, gradient):
            raise NotImplementedError("no backward of packed weights")

    monkeypatch.setattr(model.pipeline.unet, "is_quantized", True, raising=False)
    forward = model.pipeline.unet.conv_out.forward
    monkeypatch.setattr(
        model.pipeline.unet.conv_out, "forward", lambda value: forward(Kernel.apply(value))
    )
    with pytest.raises(ModelError, match=r"does not pass.*packed weights.*unet is quantized"):
        gradient_of(model, TEXT)


def test_nothing_stays_behind(monkeypatch):
    model = tiny_model()
    before, forwards = hooks_on(model.pipeline), _own_forwards(model)
    needed = [each.requires_grad for part in _parts(model) for each in part.parameters()]
    for edits in ([], [Boom(TEXT)]):
        try:
            gradient_of(model, [TEXT, "denoiser.mid.res.0/out"], edits=edits)
        except RuntimeError as error:
            assert str(error) == "boom"
    assert hooks_on(model.pipeline) == before
    assert _own_forwards(model) == forwards
    assert [e.requires_grad for part in _parts(model) for e in part.parameters()] == needed
    assert all(e.grad is None for part in _parts(model) for e in part.parameters())
    assert torch.is_grad_enabled()


def test_an_attachment_is_as_before_after_a_replay():
    attachment = Attachment({}, lambda stage, call: None, [], [])
    before = dict(vars(attachment))
    with pytest.raises(RuntimeError), attachment.replay("denoiser", None):
        assert attachment.is_replaying
        raise RuntimeError
    assert vars(attachment) == before


def _parts(model):
    parts = model.pipeline.components.values()
    return [part for part in parts if isinstance(part, torch.nn.Module)]


def _own_forwards(model):
    return [vars(part).get("forward") for part in _parts(model)]
