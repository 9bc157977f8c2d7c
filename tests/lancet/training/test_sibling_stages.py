"""The siblings' stages: what they learn from is what plain diffusers feeds, and nothing is lost."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clerestory.errors import TrainingError
from lancet.training.loop import fit
from lancet.training.siblings import assemble, autoencoder, mmdit, text_states, train, unet
from lancet.training.siblings.settings import SteadyPlan, presets

SMOKE = presets["smoke"]


def test_the_rate_is_constant_until_a_short_cooldown():
    plan = SteadyPlan(1000, 8, 1.0, warmup=100, cooldown=0.2)
    assert [plan.rate_at(step) for step in (99, 500, 800)] == [1.0, 1.0, 1.0]
    assert plan.rate_at(49) == 0.5
    assert 0.5 > plan.rate_at(900) > plan.rate_at(1000) == pytest.approx(0.02)
    # A longer plan changes no step before the shorter one's cooldown.
    assert replace(plan, steps=2000).rate_at(799) == plan.rate_at(799)


def test_both_plans_fit_their_sizes():
    full = presets["full"]
    count = {
        "autoencoder": sum(p.numel() for p in autoencoder.network(full).parameters()),
        "unet": sum(p.numel() for p in unet.network(full, 192).parameters()),
        "mmdit": sum(p.numel() for p in mmdit.network(full, 192).parameters()),
    }
    assert count["autoencoder"] <= 2.5e6
    assert count["unet"] <= 10e6
    assert count["mmdit"] <= 10e6


def test_a_folded_autoencoder_has_unit_latents_and_draws_the_same():
    torch.manual_seed(0)
    model = autoencoder.network(SMOKE).eval()
    pictures = torch.rand(24, 3, 128, 128) * 2 - 1
    with torch.no_grad():
        before = model.decode(model.encode(pictures).latent_dist.mean).sample
        autoencoder.fold(model, pictures)
        posterior = model.encode(pictures).latent_dist
        after = model.decode(posterior.mean).sample
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)
    assert posterior.mean.mean((0, 2, 3)).abs().max() < 1e-3
    assert float(posterior.mean.square().mean()) == pytest.approx(1.0, abs=1e-3)
    assert posterior.std.std() < 1e-6
    assert float(posterior.std.mean()) == pytest.approx(autoencoder.MAX_NOISE / 2, rel=1e-4)


def test_one_counted_blank_position_stands_for_all_of_them():
    torch.manual_seed(0)
    model = mmdit.network(SMOKE, 32).eval()
    noisy, hidden = torch.randn(2, 16, 16, 16), torch.randn(2, 32, 32)
    pooled, timestep = torch.randn(2, 64), torch.tensor([1000.0, 300.0])
    with torch.no_grad():
        for parameter in model.parameters():
            # Gates of untrained blocks may be near zero, which would hide a wrong attention.
            parameter.normal_(0, 0.08)
        whole = model(noisy, mmdit.joint_states(hidden), pooled, timestep).sample
        blind = model(noisy, mmdit.joint_states(hidden, blank=1), pooled, timestep).sample
        model.set_attn_processor(mmdit.CountedAttention())
        counted = model(noisy, mmdit.joint_states(hidden, blank=1), pooled, timestep).sample
    torch.testing.assert_close(counted, whole, atol=1e-4, rtol=1e-3)
    assert (blind - whole).abs().max() > 10 * (counted - whole).abs().max()


@pytest.mark.weights
def test_states_are_those_of_plain_pipelines_and_go_on_after_a_stop(tmp_path, monkeypatch):
    from transformers import CLIPTextModelWithProjection, CLIPTokenizer

    from lancet import checkpoint

    folder = checkpoint.SHIPPED / "model"
    tokenizer = CLIPTokenizer.from_pretrained(folder / "prior_tokenizer")
    encoder = CLIPTextModelWithProjection.from_pretrained(folder / "prior_text_encoder").eval()
    monkeypatch.setattr(text_states, "BLOCK", 2)
    captions = ["a cat", "a raven in a library", "a cat", "a stained glass of a moose", "an owl"]
    past = time.monotonic() - 1
    stops = 0
    while not text_states.build(encoder, tokenizer, captions, tmp_path, deadline=past):
        stops += 1
        with pytest.raises(TrainingError, match="other captions"):
            text_states.build(encoder, tokenizer, captions[1:], tmp_path)
    assert stops == 2
    states = text_states.TextStates(tmp_path, "penultimate")
    hidden, pooled = states.read(torch.tensor([2, 1]), torch.tensor([False, True]))
    from diffusers import StableDiffusion3Pipeline

    parts = SimpleNamespace(config=SimpleNamespace(joint_attention_dim=384))
    pipeline = StableDiffusion3Pipeline(
        None, None, None, encoder, tokenizer, encoder, tokenizer, None, None
    )
    pipeline.transformer = parts
    with torch.no_grad():
        joint, _, together, _ = pipeline.encode_prompt(
            ["a cat", ""], None, None, device="cpu", do_classifier_free_guidance=False
        )
    torch.testing.assert_close(mmdit.joint_states(hidden), joint, atol=5e-3, rtol=1e-2)
    torch.testing.assert_close(torch.cat([pooled, pooled], -1), together, atol=1e-4, rtol=1e-4)
    last, _ = text_states.TextStates(tmp_path, "last").read(
        torch.tensor([3]), torch.tensor([False])
    )
    ids = tokenizer([captions[3]], padding="max_length", return_tensors="pt").input_ids
    torch.testing.assert_close(last, encoder(ids).last_hidden_state.detach(), atol=5e-3, rtol=1e-2)


class _Latents:
    captions = ("a cat",) * 16

    def __init__(self) -> None:
        self.values = torch.randn(16, 16, 16, 16, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return 16

    def __getitem__(self, rows):
        return self.values[rows]


class _States:
    def read(self, rows, dropped):
        hidden = torch.ones(len(rows), 32, 32) * rows[:, None, None] / 16
        return torch.where(dropped[:, None, None], 0.0, hidden), torch.zeros(len(rows), 32)


@pytest.mark.parametrize("kind", [unet.SiblingUNet, mmdit.SiblingMMDiT])
def test_a_stopped_denoiser_goes_on_as_if_it_had_not_been(kind, tmp_path):
    def stage():
        torch.manual_seed(3)
        return kind(SMOKE, _Latents(), _States(), 32)

    whole = stage()
    assert fit(whole, tmp_path / "whole")
    stops = 0
    while not fit(stage(), tmp_path / "parts", deadline=time.monotonic()):
        stops += 1
    assert stops >= SMOKE.unet.steps - 1
    whole_state, parts_state = (
        torch.load(tmp_path / name / f"{whole.name}.pt", weights_only=True)
        for name in ("whole", "parts")
    )
    for name, value in whole_state["ema"].items():
        torch.testing.assert_close(parts_state["ema"][name], value, atol=1e-6, rtol=1e-5)


def test_drawing_begins_where_training_ends():
    steps = unet.schedule()
    steps.set_timesteps(12)
    assert float(steps.alphas_cumprod[steps.timesteps[0]]) == 0.0
    flow = mmdit.schedule()
    flow.set_timesteps(12)
    assert float(flow.sigmas[0]) == 1.0


def test_pictures_are_halved_as_renders_are():
    cv2 = pytest.importorskip("cv2")
    from lancet.classifiers import _halved

    pictures = np.random.default_rng(0).integers(0, 256, (3, 128, 128, 3), dtype=np.uint8)
    small = [cv2.resize(p, (64, 64), interpolation=cv2.INTER_AREA) for p in pictures]
    assert np.array_equal(_halved(pictures), np.stack(small))


def test_a_given_autoencoder_is_trained_on_only_where_the_stages_name_it(tmp_path, monkeypatch):
    given = autoencoder.network(SMOKE)
    assemble.write_autoencoder(given, tmp_path / "given")
    training = train.SiblingTraining(tmp_path, tmp_path / "work", SMOKE, shipped=tmp_path / "given")
    blank, begun = SimpleNamespace(model=autoencoder.network(SMOKE)), []
    monkeypatch.setattr(training, "stage", lambda name: blank)
    monkeypatch.setattr(train, "fit", lambda stage, *rest, **named: begun.append(stage) or True)
    monkeypatch.setattr(train.curves, "draw", lambda *given: None)
    for stage in ("_render", "_measure", "_encode", "_read"):
        monkeypatch.setattr(training, stage, lambda deadline: False)
    monkeypatch.setattr(training, "check", lambda stages, out=None: None)
    # All stages, as far as the first that is stopped: the renders.
    assert not training.run()
    assert not begun
    assert training.run(["autoencoder"])
    assert begun == [blank]
    for name, value in blank.model.state_dict().items():
        assert torch.equal(value, given.state_dict()[name].float()), name
