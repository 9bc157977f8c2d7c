from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional

from clerestory.errors import TrainingError
from lancet.training import (
    autoencoder,
    classifiers,
    decoder,
    perceptual,
    prior,
    renders,
    text,
    vision,
)
from lancet.training.loop import fit
from lancet.training.settings import Plan, presets
from lancet.training.tokenizer import learn
from lancet.training.warm import WEIGHT_FILES, warm_start
from lancet.world.table import BUILT_IN, World

SMALL = replace(
    presets["smoke"],
    autoencoder=Plan(2, 8, 1e-3),
    decoder=Plan(2, 8, 1e-3, ema=0.9),
    text=Plan(2, 8, 1e-3),
    prior=Plan(2, 8, 1e-3),
)


@pytest.fixture(scope="module")
def tokenizer():
    return learn(["a stained glass of a cat", "a mosaic of a dog at night"] * 20, 700, 16)


def test_any_text_has_tokens_and_known_words_have_one(tokenizer):
    for prompt in ("naïve café", "猫", "🫎", "xyzzy!", "a cat"):
        ids = tokenizer(prompt).input_ids
        assert ids[0] == tokenizer.bos_token_id
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.eos_token_id not in ids[1:-1]
    assert len(tokenizer("stained glass").input_ids) == 4
    assert len(tokenizer) <= 700


def test_the_tokenizer_is_the_same_after_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert again("a stained moose 🫎").input_ids == tokenizer("a stained moose 🫎").input_ids
    assert again.model_max_length == 16


def test_folding_gives_unit_latents_and_the_same_pictures(renders):
    torch.manual_seed(0)
    model = autoencoder.network(SMALL).eval()
    pictures = renders.batch(torch.arange(8))
    with torch.no_grad():
        before = model.decode(model.encode(pictures).latents, force_not_quantize=True).sample
        raw = model.encode(renders.batch(torch.arange(48))).latents
        folded = autoencoder.fold(model, raw)
        latents = model.encode(renders.batch(torch.arange(48))).latents
        after = model.decode(model.encode(pictures).latents, force_not_quantize=True).sample
    assert torch.allclose(latents.mean((0, 2, 3)), torch.zeros(8), atol=1e-3)
    assert torch.allclose(latents.std((0, 2, 3)), torch.ones(8), atol=1e-3)
    assert torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(folded, latents, atol=1e-3)


def test_the_corrected_eye_sees_a_grey_picture_as_the_empty_condition():
    torch.manual_seed(0)
    encoder = perceptual.network(SMALL).eval()
    other = torch.randn(4, 3, 64, 64)
    empty = torch.randn(SMALL.width)
    perceptual.correct_projection(encoder, empty)
    with torch.no_grad():
        seen = encoder(torch.zeros(1, 3, 64, 64)).image_embeds[0]
        assert torch.allclose(seen, empty, atol=1e-4)
        assert not torch.allclose(encoder(other).image_embeds[0], empty, atol=1e-1)


def test_two_objects_share_the_weight_of_the_subject(renders):
    renders.second[0] = 1
    renders.codes[0, 0] = 0
    logits = {"subject": torch.tensor([[2.0, 1.0, 0.0]]), "style": torch.zeros(1, 3)}
    got = vision.factor_loss(logits, renders, torch.tensor([0]))["subject"]
    log = functional.log_softmax(logits["subject"], 1)[0]
    assert torch.isclose(got, -vision.SUBJECT_WEIGHT * (0.5 * log[0] + 0.5 * log[1]))


def test_a_classifier_learns_what_the_pictures_show(renders, tmp_path):
    stage = classifiers.FactorStage("a", renders, Plan(60, 16, 3e-3))
    fit(stage, tmp_path)
    found = classifiers.measure(stage.model.eval(), renders)
    counts = found["confusion/subject"]
    assert int(counts.sum()) == 48
    assert int(counts.trace()) >= 44
    right, every = found["in_style/subject"].sum(0).tolist()
    assert (right, every) == (int(counts.trace()), 48)
    said = stage.model.heads["subject"](stage.model.body(renders.batch(torch.arange(48)))).argmax(1)
    other = replace(renders, codes=(renders.codes + 1) % 3, second=said.detach())
    of_a_pair = classifiers.measure(stage.model, other)["confusion/subject"]
    shown = said != renders.classes["subject"].index("none")
    assert classifiers.measure(stage.model, other)["pairs"].tolist()[1] == int(shown.sum())
    assert int(of_a_pair.trace()) >= int(shown.sum()), "either of two objects is right"


@pytest.mark.parametrize("which", ["a", "b"])
def test_both_sets_give_a_logit_for_every_class(which):
    net = classifiers.network(which, {"style": ("plain", "ink"), "mood": ("sad", "none", "happy")})
    logits = net.eval()(torch.zeros(5, 3, 64, 64))
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        "style": (5, 2),
        "mood": (5, 3),
    }


def test_the_prior_and_the_decoder_take_a_step(renders, tokenizer, tmp_path):
    embeddings = torch.randn(len(renders), SMALL.width)
    encoder = text.network(SMALL_WINDOW, tokenizer).encoder.eval()
    states = prior.encode_texts(encoder, tokenizer, renders.captions)
    empty = prior.encode_texts(encoder, tokenizer, [""])
    stage = prior.Prior(SMALL_WINDOW, states, empty, embeddings)
    fit(stage, tmp_path)
    assert torch.allclose(stage.model.clip_mean[0], embeddings.mean(0), atol=1e-5)
    latents = torch.randn(len(renders), 8, 16, 16).half()
    coder, sight = autoencoder.network(SMALL), vision.network(SMALL, renders.classes).eye
    empty = torch.zeros(SMALL.width)
    fit(decoder.Decoder(SMALL, latents, embeddings, empty, coder, sight), tmp_path)
    assert {path.name for path in tmp_path.glob("*.pt")} == {"prior.pt", "decoder.pt"}


class Flat(torch.nn.Module):
    """In the place of an autoencoder: a picture that is the first channels of the latents."""

    def decode(self, latents, force_not_quantize):
        assert force_not_quantize
        return SimpleNamespace(sample=latents[:, :3])


class Says(torch.nn.Linear):
    """In the place of the image side: sees the mean colour, and keeps what it was shown."""

    def forward(self, pictures):
        self.shown = pictures
        return super().forward(pictures.mean((2, 3)))


def test_steps_are_drawn_as_often_as_they_count_and_every_second_picture_is_looked_at():
    latents, embeddings = torch.randn(48, 8, 16, 16), torch.randn(48, SMALL.width)
    says = Says(3, SMALL.width)
    stage = decoder.Decoder(SMALL, latents, embeddings, torch.zeros(SMALL.width), Flat(), says)
    steps: list[torch.Tensor] = []
    stage.model.register_forward_pre_hook(lambda _, given: steps.append(given[1]))
    for seed in range(40):
        stage.loss(torch.arange(48), torch.Generator().manual_seed(seed))
        assert len(says.shown) == 24
    late = (torch.cat(steps) < 200).float().mean()
    counted = decoder.weights(decoder.schedule().alphas_cumprod)
    assert late < 0.12
    assert abs(late - counted[:200].sum() / counted.sum()) < 0.03


def test_a_drawing_that_shows_something_else_costs_more_and_the_eye_itself_does_not_learn(renders):
    torch.manual_seed(0)
    eye = Says(3, SMALL.width)
    latents = torch.randn(len(renders), 8, 16, 16)
    rows = torch.arange(8)
    right, wrong = (
        decoder.Decoder(SMALL, latents, seen, torch.zeros(SMALL.width), Flat(), eye)
        for seen in (eye(latents[:, :3]).detach(), eye(latents[:, :3].roll(1, 0) + 2).detach())
    )
    wrong.model.load_state_dict(right.model.state_dict())
    terms = [stage.loss(rows, torch.Generator().manual_seed(3)) for stage in (right, wrong)]
    assert terms[1]["sight"] > terms[0]["sight"] > 0
    sum(terms[0].values()).backward()
    assert eye.weight.grad is None
    assert any(weight.grad is not None for weight in right.model.parameters())


def test_a_warm_start_needs_the_weights_and_their_sizes(tmp_path):
    told = {"files": {}, "defaults": {}, "settings": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(TrainingError, match="is missing"):
        warm_start("decoder", decoder.network(SMALL), tmp_path)
    place = tmp_path / WEIGHT_FILES["decoder"][0]
    place.parent.mkdir(parents=True)

    small = decoder.network(SMALL)
    save_file({name: value.contiguous() for name, value in small.state_dict().items()}, place)
    fresh = decoder.network(SMALL)
    warm_start("decoder", fresh, tmp_path)
    assert torch.equal(fresh.conv_in.weight, small.conv_in.weight)
    part = {name: value.contiguous() for name, value in list(small.state_dict().items())[1:]}
    save_file(part, place)
    with pytest.raises(TrainingError, match="lacks weights"):
        warm_start("decoder", decoder.network(SMALL), tmp_path)
    with pytest.raises(TrainingError, match="other sizes"):
        warm_start("decoder", decoder.network(replace(SMALL, decoder_widths=(64, 64))), tmp_path)


def test_heads_are_taken_over_by_the_names_of_levels(tmp_path):
    table = BUILT_IN.read_text()
    (tmp_path / "world.toml").write_text(table)
    another = tmp_path / "another.toml"
    another.write_text(table.replace("sleepy", "yawning"))
    before, now = World.load(), World.load(another)
    old, new = before.levels("mood"), now.levels("mood")
    assert set(new) - set(old) == {"yawning"}

    def net(world: World) -> torch.nn.Module:
        return classifiers.network("b", {name: world.levels(name) for name in renders.HEADS})

    shipped, fresh = net(before), net(now)
    place = tmp_path / WEIGHT_FILES["classifier_b"][0]
    place.parent.mkdir()
    save_file({name: value.contiguous() for name, value in shipped.state_dict().items()}, place)
    told = {"files": {}, "defaults": {}, "settings": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    untouched = fresh.heads["mood"].weight[new.index("yawning")].detach().clone()
    warm_start("classifier_b", fresh, tmp_path, now)
    for row, level in enumerate(new):
        known = shipped.heads["mood"].weight[old.index(level)] if level in old else untouched
        assert torch.equal(fresh.heads["mood"].weight[row], known)
    assert torch.equal(fresh.heads["style"].weight, shipped.heads["style"].weight)


SMALL_WINDOW = replace(SMALL, window=16)
