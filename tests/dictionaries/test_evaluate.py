"""Pictures redrawn with a reconstruction, and figures of activations, against numpy and hooks."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from helpers.dictionaries import identity_dictionary, latents_of, small_dictionary

from clerestory.classifiers import load_classifier
from clerestory.dictionaries import DictionaryEvaluation, evaluate
from clerestory.dictionaries.baselines import (
    constant_dictionary,
    matched_random,
    with_fitted_length,
)
from clerestory.dictionaries.figures import measure
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.groupmax import GroupMax
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.sources import Rows
from clerestory.dictionaries.training_prompts import prompt_metadata
from clerestory.errors import (
    ClerestoryError,
    DictionaryError,
    EvidenceError,
    OptionError,
    PromptError,
    RegistryError,
    SeedError,
    SiteError,
)
from clerestory.evaluation import SampleCache
from clerestory.stats.rate_intervals import rate_interval

EMBEDDING, MAP = "prior/embedding", "denoiser.mid.attn.0/out"
PROMPTS = ["a cat", "a dog by me", "c"]
SEEDS = (3, 4)
HOW = {"seeds": SEEDS, "classifiers": ["colour:light"], "progress": False}


def width(model, site):
    return model.sites[site].shape[1]


class Hold:
    """An edit that replaces all values at some steps."""

    def __init__(self, site, value):
        self.site, self.value = site, torch.as_tensor(value, dtype=torch.float32)

    def __call__(self, value):
        return self.value.expand(value.shape)


class Decode:
    """An edit that replaces values by a reconstruction that is written out."""

    def __init__(self, site, dictionary):
        self.site, self.dictionary = site, dictionary

    def __call__(self, value):
        return latents_of(self.dictionary, value) @ self.dictionary.decoder + (
            self.dictionary.decoder_bias
        )


def rms(pictures, others):
    return np.sqrt((((pictures.astype(float) - others) / 255) ** 2).mean())


@pytest.mark.parametrize("site", [EMBEDDING, MAP])
def test_an_identity_dictionary_leaves_every_picture_as_it_is(model, site):
    result = evaluate(model, identity_dictionary(width(model, site), site), PROMPTS, **HOW)
    figures = result.condition("reconstruction")
    assert (figures.rms, figures.recovered) == (0.0, 1.0)
    assert figures.agreement["colour:light"].rate == 1.0
    assert figures.agreement["colour:light"].low < 1.0
    assert result.activations.explained_variance == 1.0
    # One of the two latents of each unit is active.
    assert result.activations.l0 == pytest.approx(width(model, site), rel=1e-3)
    assert result.condition("mean ablation").rms > 0
    assert (result.pictures["unedited"] == result.pictures["reconstruction"]).all()


def test_figures_are_those_of_numpy_and_of_plain_edits(model):
    dictionary = small_dictionary(width(model, MAP), site=MAP)
    result = evaluate(model, dictionary, PROMPTS, **HOW)
    run = model.run(PROMPTS, SEEDS, read=[MAP], pool="none")
    values = run.read(MAP).to_numpy().astype(float)  # sample, step, position, unit
    latents = latents_of(dictionary, values.astype(np.float32)).numpy()
    decoded = latents @ dictionary.decoder.numpy() + dictionary.decoder_bias.numpy()

    def explained(values, decoded):
        flat = values.reshape(-1, values.shape[-1])
        rest = ((values - decoded) ** 2).sum()
        return 1 - rest / ((flat - flat.mean(0)) ** 2).sum()

    figures = result.activations
    assert figures.rows == values[..., 0].size and len(figures.by_step) == values.shape[1] == 3
    assert figures.explained_variance == pytest.approx(explained(values, decoded), abs=1e-5)
    assert figures.l0 == pytest.approx((latents > 0).sum(-1).mean())
    dead = (latents <= 0).reshape(-1, latents.shape[-1]).all(0).mean()
    assert figures.dead == pytest.approx(dead)
    for step, each in enumerate(figures.by_step):
        expected = explained(values[:, step], decoded[:, step])
        assert each.explained_variance == pytest.approx(expected, abs=1e-5)
        assert each.l0 == pytest.approx((latents[:, step] > 0).sum(-1).mean())
        assert each.dead == pytest.approx((latents[:, step] <= 0).all((0, 1)).mean())
        assert each.timestep == run.read(MAP)["timestep"].values[step]

    means = [Hold(f"{MAP}@{step}", values[:, step].mean((0, 1))) for step in range(3)]
    edits = {"reconstruction": [Decode(MAP, dictionary)], "mean ablation": means}
    pictures = {
        name: model.run(PROMPTS, SEEDS, edits=each).pictures for name, each in edits.items()
    }
    lower = rms(pictures["mean ablation"], run.pictures)
    classifier = load_classifier("colour:light")
    before = classifier(run.pictures).argmax(1)
    for name, drawn in pictures.items():
        found = result.condition(name)
        assert found.rms == pytest.approx(rms(drawn, run.pictures), abs=2e-3) and found.rms > 0
        expected = 1 - found.rms**2 / lower**2
        assert found.recovered == pytest.approx(expected, abs=0.02)
        same = (classifier(drawn).argmax(1) == before).astype(float).reshape(len(PROMPTS), 1, -1)
        rate = found.agreement["colour:light"]
        assert (rate.rate, rate.items) == (same.mean(), len(PROMPTS))
        assert (rate.low, rate.high) == rate_interval(same)
    assert result.condition("unedited").rms == 0
    assert result.condition("mean ablation").recovered == 0


TEXT = "text.blocks.1/resid"


def test_at_text_sites_padding_counts_and_the_prompts_own_tokens_stand_beside(model):
    dictionary = small_dictionary(width(model, TEXT), site=TEXT)
    result = evaluate(model, dictionary, PROMPTS, **HOW)
    own = model.family.text_windows["text"].token_mask(PROMPTS).repeat_interleave(2, 0).numpy()
    run = model.run(PROMPTS, SEEDS, read=[TEXT], pool="none")
    values = run.read(TEXT)[:, 0].to_numpy()
    for figures, chosen in ((result.activations, np.ones_like(own)), (result.tokens, own)):
        rows = values[chosen]
        assert figures.rows == chosen.sum()
        expected = measure(dictionary, Rows(rows, np.zeros(len(rows), int), np.zeros(len(rows))))
        assert figures.explained_variance == pytest.approx(expected["explained_variance"], abs=1e-5)
        assert (figures.l0, figures.dead) == pytest.approx((expected["l0"], expected["dead"]))
    assert result.tokens.rows < result.activations.rows
    assert "at the prompts' own tokens" in result.summary()
    # Pictures are drawn with every position replaced.
    edited = model.run(PROMPTS, SEEDS, edits=[Decode(TEXT, dictionary)]).pictures
    expected = pytest.approx(rms(edited, run.pictures), abs=2e-3)
    assert result.condition("reconstruction").rms == expected
    without = evaluate(model, small_dictionary(32, site=EMBEDDING), PROMPTS, **HOW)
    assert without.tokens is None and "own tokens" not in without.summary()


def test_a_dictionary_of_no_latents_is_the_ablation_to_its_bias(model):
    read = model.run(PROMPTS, SEEDS, read=[EMBEDDING], pictures=False).read(EMBEDDING).to_numpy()
    mean = read.reshape(-1, read.shape[-1]).mean(0, dtype=float)
    result = evaluate(model, constant_dictionary(mean, EMBEDDING), PROMPTS, **HOW)
    assert result.activations.l0 == 0 and result.activations.dead == 1
    assert result.activations.explained_variance == pytest.approx(0, abs=1e-5)
    figures = result.condition("reconstruction")
    assert figures.rms == result.condition("mean ablation").rms > 0
    assert figures.recovered == 0
    away = evaluate(model, constant_dictionary(mean + 1, EMBEDDING), PROMPTS, **HOW)
    expected = model.run(PROMPTS, SEEDS, edits=[Hold(EMBEDDING, mean + 1)]).pictures
    unedited = model.run(PROMPTS, SEEDS).pictures
    assert away.condition("reconstruction").rms == pytest.approx(rms(expected, unedited), abs=1e-6)


def test_the_other_branch_is_read_and_edited(model):
    result = evaluate(
        model, identity_dictionary(width(model, MAP), MAP), PROMPTS[:1], branch="uncond", **HOW
    )
    assert result.branch == "uncond" and result.condition("reconstruction").rms == 0
    run = model.run(PROMPTS[:1], SEEDS, read=[MAP], pool="none", branch="uncond")
    means = run.read(MAP).mean(("sample", "position")).to_numpy()
    held = [Hold(f"{MAP}@{step}", mean) for step, mean in enumerate(means)]
    for each in held:
        each.branch = "uncond"
    expected = model.run(PROMPTS[:1], SEEDS, edits=held).pictures
    unedited = model.run(PROMPTS[:1], SEEDS).pictures
    assert result.condition("mean ablation").rms == pytest.approx(rms(expected, unedited), abs=2e-3)


KINDS = {
    "relu": ReLU(),
    "topk": TopK(5),
    "batchtopk": BatchTopK(0.7, 5),
    "jumprelu": JumpReLU(torch.full((40,), 0.7)),
    "groupmax": GroupMax(5),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_random_dictionary_has_the_size_kind_and_active_latents(kind):
    generator = np.random.default_rng(0)
    # Far from 0 and of another length in each unit, so that a scale or mean of 1 would not do.
    values = (generator.normal(size=(500, 8)) * np.arange(1, 9) + 50).astype(np.float32)
    rows, values = Rows(values, np.zeros(500, int), np.full(500, np.nan)), torch.tensor(values)
    own = small_dictionary(8)
    # Five of its latents are active: those that would be the largest of a row without a kind.
    shift = np.quantile(((values @ own.encoder + own.encoder_bias).numpy()), 1 - 5 / 40)
    own = dataclasses.replace(own, encoder_bias=own.encoder_bias - float(shift))
    dictionary = dataclasses.replace(own, activation=KINDS[kind])
    l0 = measure(dictionary, rows)["l0"]
    assert 2 < l0 < 8
    random = matched_random(dictionary, values, seed=1)
    assert (random.kind, random.latents, random.width) == (kind, 40, 8)
    assert measure(random, rows)["l0"] == pytest.approx(l0, abs=0.3)
    assert torch.allclose(random.decoder.norm(dim=1), torch.ones(40))
    fitted = with_fitted_length(random, values)
    assert torch.equal(fitted.encode(values), random.encode(values))
    explained = measure(fitted, rows)["explained_variance"]
    assert explained > 0.05 and explained > measure(random, rows)["explained_variance"]
    for factor in (0.9, 1.1):
        other = dataclasses.replace(fitted, decoder=fitted.decoder * factor)
        assert measure(other, rows)["explained_variance"] < explained
    assert matched_random(dictionary, values, seed=1).digest == random.digest
    assert matched_random(dictionary, values, seed=2).digest != random.digest


def test_a_random_dictionary_normalises_as_the_other_does_where_it_does():
    values = torch.randn(200, 8, generator=torch.Generator().manual_seed(0)) * 3 + 5
    plain = small_dictionary(8)
    normalization = matched_random(plain, values).normalization
    assert torch.allclose(normalization.mean, values.mean(0), atol=1e-4)
    given = Normalization(mean=torch.arange(8.0), scale=torch.full((8,), 2.0))
    with_own = dataclasses.replace(plain, normalization=given)
    assert matched_random(with_own, values).normalization is given
    alike = torch.ones(20, 8)
    assert matched_random(plain, alike).normalization.scale is None


def test_an_attached_dictionary_is_evaluated_by_its_name(model):
    dictionary = small_dictionary(32)
    model.attach(dictionary, "glass", site=EMBEDDING)
    result = evaluate(model, "glass", PROMPTS, **HOW)
    assert (result.site, result.dictionary) == (EMBEDDING, dictionary.digest)
    again = evaluate(model, dictionary, PROMPTS, site="conditioning", **HOW)
    assert again.conditions == result.conditions and again.activations == result.activations


def test_prompts_have_seeds_of_their_own_by_default_and_count_once(model):
    dictionary = small_dictionary(32, site=EMBEDDING)
    how = {"classifiers": [], "progress": False}
    result = evaluate(model, dictionary, ["a cat", "a dog", "a cat"], seeds_per_item=3, **how)
    assert result.prompts == ("a cat", "a dog") and len(set(sum(result.seeds, ()))) == 6
    kinds = {each.kind for each in result.warnings}
    assert kinds == {"few-items", "seen-prompts"}
    shared = evaluate(model, dictionary, ["a cat", "a dog"], 0, **how)
    assert {each.kind for each in shared.warnings} == kinds | {"shared-seeds"}


def test_prompts_of_the_training_are_warned_of(model):
    trained = dataclasses.replace(
        small_dictionary(32, site=EMBEDDING), metadata=prompt_metadata(["a dog by me", "a ship"])
    )

    def warned(prompts):
        result = evaluate(model, trained, prompts, **HOW)
        return [str(each) for each in result.warnings if each.kind == "seen-prompts"]

    (text,) = warned(PROMPTS)
    assert text.startswith("1 of 3 prompts are among those") and "'a dog by me'" in text
    assert not warned(["a cat", "c"])


def test_a_result_is_saved_with_a_grid(model, tmp_path):
    from PIL import Image

    result = evaluate(model, small_dictionary(24, site=MAP), PROMPTS, **HOW)
    folder = result.save(tmp_path / "out")
    again = DictionaryEvaluation.load(folder)
    assert again.to_dict() == result.to_dict() and again.conditions == result.conditions
    assert all((again.pictures[name] == each).all() for name, each in result.pictures.items())
    written = json.loads((folder / "evaluation.json").read_text())
    assert [each["condition"] for each in written["conditions"]] == list(result.pictures)
    grid = np.asarray(Image.open(folder / "grid.png"))
    # Four labelled rows of three pictures, 16 pixels enlarged to 128.
    assert grid.shape == (4 * (24 + 128 + 8), 3 * 132 + 4, 3)
    first = result.pictures["unedited"][0].repeat(8, 0).repeat(8, 1)
    assert (grid[28 : 28 + 128, 4:132] == first).all()
    assert list(result.table()["pictures"]) == list(result.pictures)
    assert len(result.step_table()) == 3 and "recovered" in result.summary()
    assert result.plot().to_dict()["data"]
    (folder / "evaluation.json").write_text((folder / "evaluation.json").read_text() + " {")
    with pytest.raises(EvidenceError):
        DictionaryEvaluation.load(folder)


def test_a_stopped_evaluation_goes_on_where_it_was(model, tmp_path, monkeypatch):
    dictionary = small_dictionary(24, site=MAP)
    whole = evaluate(model, dictionary, PROMPTS, **HOW)
    calls, ends = [], [("activations", 4), ("drawing", 9)]

    def stop(label, completed, total):
        calls.append((label, completed))
        if ends and label == ends[0][0] and completed >= ends[0][1]:
            ends.pop(0)
            raise KeyboardInterrupt

    how = {**HOW, "out": tmp_path / "out", "progress": stop, "batch": 2}
    for _ in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            evaluate(model, dictionary, PROMPTS, **how)
    assert not ends
    calls.clear()
    result = evaluate(model, dictionary, PROMPTS, **how)
    assert {label for label, _ in calls} == {"drawing"}
    # One batch of two samples in four conditions was drawn and kept before.
    assert max(completed for _, completed in calls) == 16
    assert result.activations.l0 == pytest.approx(whole.activations.l0, abs=0.01)
    for found, expected in zip(result.conditions, whole.conditions, strict=True):
        assert found.rms == pytest.approx(expected.rms, abs=2e-3)
    calls.clear()
    again = evaluate(model, dictionary, PROMPTS, **how)
    assert not calls and again.to_dict() == result.to_dict()
    assert DictionaryEvaluation.load(tmp_path / "out").to_dict() == result.to_dict()
    for other in ({"seed": 1}, {"seeds": 5}, {"steps": 2}, {"classifiers": []}):
        with pytest.raises(EvidenceError, match="parts of another measurement"):
            evaluate(model, dictionary, PROMPTS, **{**how, **other})


def test_a_shared_cache_draws_what_two_dictionaries_share_once(model):
    cache = SampleCache()
    for seed in (0, 1):
        dictionary = small_dictionary(32, seed=seed, site=EMBEDDING)
        evaluate(model, dictionary, PROMPTS, cache=cache, **HOW)
    # Unedited pictures and those of the mean ablation.
    assert cache.hits >= 2 * len(PROMPTS) * len(SEEDS)


def transcoder(model):
    return dataclasses.replace(small_dictionary(32, site=EMBEDDING), output_site=MAP)


@pytest.mark.parametrize(
    ("make", "prompts", "how", "error", "words"),
    [
        (transcoder, PROMPTS, {}, DictionaryError, "is a transcoder"),
        (lambda _: small_dictionary(32), PROMPTS, {}, DictionaryError, "does not know its site"),
        (lambda _: small_dictionary(31, site=EMBEDDING), PROMPTS, {}, DictionaryError, "31 units"),
        (lambda _: small_dictionary(32, site="a/b"), PROMPTS, {}, SiteError, "a/b"),
        (lambda _: small_dictionary(32, site=EMBEDDING), [], {}, PromptError, "no prompt"),
        (lambda _: small_dictionary(32, site=EMBEDDING), [""], {}, PromptError, "empty"),
        (lambda _: small_dictionary(32, site=EMBEDDING), "p.txt", {}, PromptError, "p.txt"),
        (lambda _: "glass", PROMPTS, {}, DictionaryError, "No dictionary called 'glass'"),
        (lambda _: 3, PROMPTS, {}, ClerestoryError, "dictionary is 3"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(model, make, prompts, how, error, words):
    with pytest.raises(error, match=words) as raised:
        evaluate(model, make(model), prompts, **{**HOW, **how})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"classifiers": ["nobody:light"]}, RegistryError, "nobody"),
        ({"seeds": (3, 3)}, SeedError, "3"),
        ({"seeds": None, "seeds_per_item": 0}, SeedError, "0"),
        ({"batch": 0}, OptionError, "batch is 0"),
        ({"branch": "nowhere"}, OptionError, "branch"),
        ({"purple": 1}, OptionError, "purple"),
        ({"steps": -1}, OptionError, "steps"),
        ({"site": "text.*/mlp"}, SiteError, "sites"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_drawn(model, how, error, words, monkeypatch):
    monkeypatch.setattr(type(model), "sweep", lambda *_, **__: pytest.fail("it was drawn"))
    dictionary = small_dictionary(32, site=EMBEDDING)
    with pytest.raises(error, match=words):
        evaluate(model, dictionary, PROMPTS, **{**HOW, **how})
