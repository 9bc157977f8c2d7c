import pytest
import torch
from contract import Same, hooks_on
from tiny import tiny_model, tiny_pipeline

from clerestory.errors import EditError, SiteError
from clerestory.models import wrap
from clerestory.models.core.attachment import Attachment, Tap
from clerestory.models.core.family import StageCall
from clerestory.models.core.hooks import attach
from clerestory.models.core.rows import (
    flatten_positions,
    merge_branches,
    restore_shape,
    split_branches,
)


def bare(pipeline, seeds=(0, 1)):
    """The untouched pipeline's pictures, as floats."""
    return pipeline(
        prompt=["a cat", "a dog"][: len(seeds)],
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
        num_inference_steps=3,
        prior_num_inference_steps=3,
        guidance_scale=2.5,
        prior_guidance_scale=1.5,
        height=16,
        width=16,
        output_type="np",
        callback_steps=None,  # its default is deprecated
    ).images


def drawn(model, edits=(), taps=()):
    """The same with our hooks on, and the image embedding handed past its site."""
    from clerestory.models.core.types import Sample

    batch = [Sample("a cat", 0, model.defaults), Sample("a dog", 1, model.defaults)]
    hooks = {hook.site.address: hook for hook in model.family.site_hooks}
    attachment = Attachment(
        hooks, lambda stage, call: model.family.stage_call(stage, call, batch), edits, taps
    )
    with attach(attachment, model.family.stage_modules):
        return bare(model.pipeline)


@pytest.fixture
def model():
    return tiny_model()


def test_an_activation_is_turned_to_sample_position_unit_and_back():
    for shape in ((2, 5), (2, 3, 5), (2, 5, 3, 4)):
        value = torch.randn(shape)
        assert flatten_positions(value).shape[0] == 2 and flatten_positions(value).shape[-1] == 5
        assert torch.equal(restore_shape(flatten_positions(value), shape), value)


def test_merged_branches_are_one_row_a_sample_and_split_back():
    # Rows of two branches of two samples, one position each: 0 and 1, then 2 and 3.
    value = torch.arange(4.0).reshape(4, 1, 1)
    merged = merge_branches(value, samples=2)
    assert merged.squeeze(-1).tolist() == [[0, 2], [1, 3]]
    assert torch.equal(split_branches(merged, rows=4), value)
    assert merge_branches(value, samples=3) is value


def test_reading_every_site_leaves_the_picture_bit_identical(model):
    before, seen = bare(model.pipeline), []
    taps = [Tap(site, lambda value, step: seen.append(value.shape)) for site in model.sites]
    assert (drawn(model, taps=taps) == before).all()
    assert len(seen) > len(model.sites)
    assert all(len(shape) == 3 and shape[0] == 2 for shape in seen)


@pytest.mark.parametrize("branch", ["cond", "uncond", "both"])
def test_an_edit_that_returns_its_input_leaves_the_picture_bit_identical(model, branch):
    before = bare(model.pipeline)
    edits = [Same(site, branch) for site in model.sites]
    if branch == "uncond":
        edits = [edit for edit in edits if model.sites[edit.site].stage != "vae"]
    assert (drawn(model, edits=edits) == before).all()


def test_channels_last_stays_channels_last_and_bit_identical():
    model = wrap(tiny_pipeline(), defaults=tiny_model().defaults)
    model.pipeline.unet.to(memory_format=torch.channels_last)
    before = bare(model.pipeline)
    assert (drawn(model, edits=[Same(site) for site in model.sites]) == before).all()


def test_branches_arrive_split_and_steps_are_counted(model):
    steps = {"cond": [], "uncond": []}
    taps = [
        Tap("denoiser.mid.res.0/out", lambda value, step: steps[step.branch].append(step), branch)
        for branch in steps
    ]
    drawn(model, taps=taps)
    assert [step.index for step in steps["cond"]] == [0, 1, 2]
    assert [step.index for step in steps["uncond"]] == [0, 1, 2]
    assert [step.timestep for step in steps["cond"]] == model.pipeline.scheduler.timesteps.tolist()
    assert steps["cond"][0].sigma > steps["cond"][2].sigma > 0


class Shift(Same):
    """Adds a ramp."""

    def __call__(self, value):
        return value + torch.linspace(-3, 3, value.shape[-1])


def test_an_edit_works_again_in_the_second_run(model):
    before = bare(model.pipeline)
    first, second = (drawn(model, edits=[Shift("text.blocks.0/resid")]) for _ in range(2))
    assert (first == second).all() and not (first == before).all()
    assert (bare(model.pipeline) == before).all()


def test_an_edit_is_in_the_hidden_states_that_transformers_catches_every_time():
    """It catches them with hooks of its own, put on in the first run: ours must come before."""
    model = wrap(tiny_pipeline(), defaults=tiny_model().defaults)
    encoder, ids = model.pipeline.prior_text_encoder, torch.tensor([[516, 5, 517]])
    hooks = {hook.site.address: hook for hook in model.family.site_hooks}

    def states(*edits):
        attachment = Attachment(
            hooks, lambda stage, call: StageCall({"cond": slice(0, 1)}), edits, []
        )
        with torch.no_grad(), attach(attachment, {}):
            return encoder(ids, output_hidden_states=True).hidden_states[1]

    edit, plain = Shift("text.blocks.0/resid"), states()
    ramp = torch.linspace(-3, 3, plain.shape[-1]).expand_as(plain)
    for _ in range(2):
        assert torch.allclose(states(edit) - plain, ramp, atol=1e-5)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("site", ["text.blocks.1/mlp", "denoiser/latent", "vae.up.1.res.0/out"])
def test_no_hook_survives_a_tap_or_an_edit_that_raises(model, error, site):
    bare(model.pipeline)
    before = hooks_on(model.pipeline)

    def crash(*_):
        raise error("on purpose")

    with pytest.raises(error):
        model.run("a cat", 0, taps={site: crash})
    assert hooks_on(model.pipeline) == before
    edit = Same(site)
    edit.__class__ = type("Crash", (Same,), {"__call__": crash})
    with pytest.raises(error):
        model.run("a cat", 0, edits=[edit])
    assert hooks_on(model.pipeline) == before


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"read": "text.blocks.9/mlp"}, SiteError),
        ({"edits": [Same("prior/embeding")]}, SiteError),
        ({"edits": [Same("text.blocks.0/mlp[3]")]}, EditError),
        ({"edits": [Same("text.blocks.0/mlp", branch="left")]}, EditError),
        ({"edits": [lambda value: value]}, EditError),
        ({"edits": [Same("denoiser.mid.res.0/out@3")]}, SiteError),
        ({"read": "denoiser.mid.res.0/out@3"}, SiteError),
        ({"read": "vae.up.0.res.0/out", "branch": "uncond"}, SiteError),
        ({"pool": "median"}, ValueError),
        ({"branch": "left"}, ValueError),
        ({"stop": "soon"}, ValueError),
        ({"batch": 0}, ValueError),
    ],
)
def test_no_hook_survives_a_wrong_argument(model, wrong, error):
    bare(model.pipeline)
    before = hooks_on(model.pipeline)
    with pytest.raises(error) as raised:
        model.run("a cat", 0, **wrong)
    assert "\n" not in str(raised.value)
    assert hooks_on(model.pipeline) == before


def test_no_hook_survives_success_or_an_early_stop(model):
    bare(model.pipeline)
    before = hooks_on(model.pipeline)
    plain = model.run("a cat", 0)
    same = model.run("a cat", 0, read="*", edits=[Same(site) for site in model.sites])
    model.run("a cat", 0, read="text.*", pictures=False)
    assert (same.pictures == plain.pictures).all()
    assert hooks_on(model.pipeline) == before


def test_an_edit_that_changes_the_shape_is_refused(model):
    edit = Same("text.blocks.0/mlp")
    edit.__class__ = type("Cut", (Same,), {"__call__": lambda self, value: value[:, :3]})
    with pytest.raises(
        EditError, match=r"returned shape \[1, 3, 48\] for an activation of shape \[1, 16, 48\]"
    ):
        model.run("a cat", 0, edits=[edit])
