"""A model that was changed after it was opened is not taken for the one that was opened."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import diffusers
import numpy as np
import pytest
import torch
from families import built, small_model, stable_diffusion
from language_families import lumina_2
from torch import nn

from clerestory import attribute, maximize, record
from clerestory.errors import ClerestoryError
from clerestory.microscope.redraw import open_model
from clerestory.models.core.weight_digests import values_digest
from clerestory.models.provenance import settings_digest, weights_digest
from clerestory.recordings import Recording

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
SENTENCES = [f"{one} [a] {two} [c]" for one in "bdek" for two in "fghij"]
SITE, UNIT = "denoiser.mid.res.0/out", "text.blocks.0/mlp[3]"


def fresh(seed=0):
    return small_model(built(stable_diffusion, seed=seed), steps=2)


def other_scheduler(pipeline):
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)


def other_spacing(pipeline):
    config = pipeline.scheduler.config
    pipeline.scheduler = type(pipeline.scheduler).from_config(config, timestep_spacing="trailing")


def free_u(pipeline):
    pipeline.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)


def scaled_vae(pipeline):
    pipeline.vae.register_to_config(scaling_factor=0.7)


def weight_in_place(pipeline):
    # The signs stay, which are all that the digest of weights sees.
    pipeline.unet.conv_out.weight.data.mul_(3)


def forward(pipeline):
    block = pipeline.unet.mid_block.resnets[0]
    whole = block.forward
    block.forward = lambda *args, **kwargs: 0.5 * whole(*args, **kwargs)


def fused_lora(pipeline):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=64, init_lora_weights=False, target_modules=["to_q"])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pipeline.unet.add_adapter(config, adapter_name="style")
    pipeline.fuse_lora(components=["unet"])
    # The layers are those from before, with the LoRA in their weights.
    pipeline.unload_lora_weights()


def one_row(pipeline):
    # One neuron of many, which is in no sample of the weights, and not counted by torch.
    weights = dict(pipeline.text_encoder.named_parameters())
    (name,) = [each for each in weights if each.endswith("layers.0.mlp.fc1.weight")]
    weights[name].data[13] = 0.0


def one_bias(pipeline):
    with torch.no_grad():
        pipeline.unet.conv_out.bias[0] += 0.5


CHANGES = [other_scheduler, other_spacing, free_u, scaled_vae, forward, fused_lora]
IN_PLACE = [weight_in_place, one_row, one_bias]


@pytest.mark.parametrize("change", [*CHANGES, weight_in_place])
def test_a_changed_model_is_not_opened_again_by_name_where_it_is_unpickled(change):
    model = fresh()
    model.revision, model.reopen = "1.0", fresh
    plain = model.run("a cat", 0).pictures
    assert model.reopen is fresh
    change(model.pipeline)
    expected = model.run("a cat", 0).pictures
    assert not np.array_equal(expected, plain)
    assert model.reopen is None
    if change is not forward:  # a function within a function cannot be pickled
        again = pickle.loads(pickle.dumps(model))
        assert np.array_equal(again.run("a cat", 0).pictures, expected)


def test_a_lora_that_was_fused_and_unloaded_leaves_no_revision():
    model = fresh()
    model.revision, model.reopen = "1.0", fresh
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=["to_q"])
    model.pipeline.unet.add_adapter(config, adapter_name="style")
    model.run("a cat", 0)
    model.pipeline.fuse_lora(components=["unet"])
    model.run("a cat", 0)
    model.pipeline.unload_lora_weights()
    model.run("a cat", 0)
    assert model.revision == ""


def test_weights_that_were_changed_in_place_leave_no_revision_until_they_are_as_before():
    model = fresh()
    model.reopen, model.revision = fresh, "1.0"
    assert model.run("a cat", 0, read=SITE).activations.attrs["revision"] == "1.0"
    weight = model.pipeline.unet.conv_out.weight
    with torch.no_grad():
        weight.mul_(2)
    assert model.run("a cat", 0, read=SITE).activations.attrs["revision"] == ""
    with torch.no_grad():
        weight.div_(2)
    assert model.revision == "1.0"
    model.pipeline.to(torch.bfloat16)
    assert model.revision == "1.0"


def test_the_digest_of_all_bits_is_that_of_the_numbers():
    first, other = nn.Linear(300, 4), nn.Linear(300, 4)
    other.load_state_dict(first.state_dict())
    digest = values_digest([first])
    assert values_digest([other]) == digest
    other.weight.data[2, 123] = torch.nextafter(other.weight.data[2, 123], torch.tensor(9.0))
    assert values_digest([other]) != digest
    other.load_state_dict(first.state_dict())
    assert values_digest([other]) == digest
    # Weights alone, and not what a module computes when it is called.
    other.register_buffer("cached", torch.ones(3), persistent=False)
    assert values_digest([other]) == digest
    assert values_digest([first.to("meta")]) == ""
    kinds = (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.bool, torch.complex64)
    for dtype in (*kinds, torch.float8_e4m3fn):
        odd = nn.Module()
        odd.register_buffer("values", torch.ones(5).to(dtype))
        assert values_digest([odd]) not in ("", digest), dtype


def test_what_changes_no_picture_is_the_same_model():
    model = fresh()
    model.reopen = fresh
    digests = settings_digest(model.pipeline), weights_digest(model.pipeline)
    model.run("a cat", 0)
    model.pipeline.unet.train()
    model.pipeline.unet.compile(backend="eager")
    model.pipeline.unet = torch.compile(model.pipeline.unet, backend="eager")
    model.pipeline.vae.forward = torch.compile(model.pipeline.vae.forward, backend="eager")
    model.run("a cat", 0)
    assert (settings_digest(model.pipeline), weights_digest(model.pipeline)) == digests
    assert model.reopen is fresh
    half = fresh()
    half.pipeline.to(torch.bfloat16)
    assert (settings_digest(half.pipeline), weights_digest(half.pipeline)) == digests


def test_a_compiled_model_has_the_revision_of_what_was_compiled():
    model, other = fresh(), fresh(1)
    model.revision, model.reopen = "abc", fresh
    model.pipeline.unet = torch.compile(model.pipeline.unet, backend="eager")
    block = model.pipeline.unet.down_blocks[0]
    block.resnets[0] = torch.compile(block.resnets[0], backend="eager")
    model.run("a cat", 0, read=SITE)
    assert (model.revision, model.replaced_parts) == ("abc", [])
    model.pipeline.unet = torch.compile(other.pipeline.unet, backend="eager")
    assert (model.revision, model.replaced_parts) == ("", ["unet"])


def test_a_template_that_was_changed_is_the_one_that_is_read_and_another_model():
    def opened(instruction=None):
        pipeline = built(lumina_2)
        pipeline.system_prompt = instruction or pipeline.system_prompt
        return small_model(pipeline, steps=2)

    def read(model):
        sites = ["text.blocks.0/resid", "denoiser/condition"]
        run = model.run("a cat", 0, read=sites, pool="tokens:cat", pictures=False)
        return np.concatenate([run.read(site).values.ravel() for site in sites])

    model, other = opened(), opened("Draw with care:")
    model.reopen = opened
    before, digest = read(model), settings_digest(model.pipeline)
    model.pipeline.system_prompt = "Draw with care:"
    assert np.array_equal(read(model), read(other)) and not np.allclose(before, read(other))
    assert settings_digest(model.pipeline) == settings_digest(other.pipeline) != digest
    assert model.reopen is None
    assert np.array_equal(read(pickle.loads(pickle.dumps(model))), read(other))
    model.pipeline.system_prompt = opened().pipeline.system_prompt
    assert np.array_equal(read(model), before) and model.reopen is opened


def search(model, out):
    return maximize(
        model,
        UNIT,
        search="random",
        words=2,
        budget=4,
        random_prompts=20,
        vocabulary=["cat", "dog", "sun", "sea"],
        pictures=False,
        progress=False,
        out=out,
    )


def shares(model, out):
    return attribute(
        model,
        "[a] with [c]",
        [UNIT],
        sentences=SENTENCES,
        removal="delete",
        path=False,
        pictures=False,
        out=out,
        progress=False,
    )


def recording(model, out):
    return record(model, ["a cat", "a dog"], 0, sites=SITE, out=out, progress=False)


@pytest.mark.parametrize("change", [*CHANGES, *IN_PLACE, "weights", None])
def test_a_microscope_redraws_with_the_model_that_was_recorded(change, tmp_path, monkeypatch):
    # Of one name and revision, as a folder whose files were replaced without a new version has.
    recorded, now = fresh(), fresh(1 if change == "weights" else 0)
    recording(recorded, tmp_path / "rec")
    plan = Recording.open(tmp_path / "rec").store.plan
    if callable(change):
        change(now.pipeline)
    monkeypatch.setattr("clerestory.models.load", lambda *_, **__: now)
    if change is None:
        assert open_model(SimpleNamespace(plan=plan)) is now
        now.pipeline.to(torch.bfloat16)
        assert open_model(SimpleNamespace(plan=plan)) is now
        return
    with pytest.raises(ClerestoryError, match="was planned with another model"):
        open_model(SimpleNamespace(plan=plan))


@pytest.mark.parametrize("stored", [search, shares, recording])
@pytest.mark.parametrize("change", [*CHANGES, *IN_PLACE, "weights"])
def test_what_another_model_stored_is_not_continued(stored, change, tmp_path):
    # Wrapped pipelines have the name of their class and no revision.
    first, other = fresh(), fresh(1 if change == "weights" else 0)
    stored(first, tmp_path / "out")
    stored(fresh(), tmp_path / "out")
    if change != "weights":
        change(other.pipeline)
    with pytest.raises(ClerestoryError, match="another"):
        stored(other, tmp_path / "out")
