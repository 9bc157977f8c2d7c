"""A name beside its controls, in models with known answers, a tiny one and Lancet."""

from __future__ import annotations

import itertools
import json
import re
import sys
import zlib
from types import SimpleNamespace

import commands
import families
import numpy as np
import pytest
import typer
from helpers.evaluation import ChannelClassifier, RuleModel
from tiny import tiny_model

from clerestory.cli import familiarity as command
from clerestory.errors import EvidenceError, PromptError
from clerestory.models.core.seeds import item_seeds
from clerestory.models.profile import ModelProfile
from clerestory.recognition import (
    FamiliarityResult,
    familiarity,
    invent_names,
    measure_familiarity,
)
from clerestory.recognition.familiarity import count_matched, token_counter
from clerestory.recognition.names import invent_like
from clerestory.recognition.observation import Observer
from clerestory.recognition.results import phrase_folder

CONTROLS = ["".join(pair) for pair in itertools.product("abcdefghij", repeat=2)][:99]
CONTEXTS = ("{item}", "a {item}")
OPTIONS = {"controls": CONTROLS, "contexts": CONTEXTS, "seeds": 0, "progress": False}
app = typer.Typer()
app.command("familiarity")(command.familiarity)
app.callback()(lambda: None)


class Light:
    """Predicts dark or light from a picture's mean."""

    classes, source = ("dark", "light"), "light"

    def __call__(self, pictures):
        light = pictures.mean((1, 2, 3)) / 255
        return np.stack([1 - light, light], 1).astype(np.float32)


class Noise(RuleModel):
    """Draws colours at random, by prompt and seed; but ravens are green, "known" red and blue."""

    profile, conditioning_site = ModelProfile(), "denoiser/condition"
    revision, load_options, pipeline, dictionaries = "", {}, None, {}

    def __init__(self):
        def random(channel):
            return lambda prompt, seed, _: zlib.crc32(f"{channel} {prompt} {seed}".encode()) % 2

        super().__init__(
            [
                lambda prompt, seed, _: "known" in prompt or random(0)(prompt, seed, ()),
                lambda prompt, seed, _: "raven" in prompt or random(1)(prompt, seed, ()),
                lambda prompt, seed, _: "known" in prompt or random(2)(prompt, seed, ()),
            ],
            name="noise",
        )

    def check_prompt(self, prompt):
        pass

    def vocabulary(self):
        return []


@pytest.fixture
def noise(monkeypatch):
    channels = {name: ChannelClassifier(at) for at, name in enumerate(("red", "green", "blue"))}
    family = SimpleNamespace(text_windows={})
    monkeypatch.setattr(Noise, "family", family, raising=False)
    monkeypatch.setitem(sys.modules, "channels", SimpleNamespace(**channels))
    contexts = [f"{{item}} {words}" for words in ("", "here", "with a raven", "now", "alone")]
    options = {"contexts": [context.strip() for context in contexts], "seeds": range(6)}
    names = [f"python:channels:{name}" for name in channels]

    def measure(phrases, **changed):
        measure.model = Noise()
        how = {**options, **changed}
        return measure_familiarity(
            measure.model, phrases, classifiers=names, count=99, progress=False, cache=False, **how
        )

    return measure


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def dog(model):
    return familiarity(model, "dog", **OPTIONS)


def test_invented_names_are_not_familiar_but_by_chance(noise):
    results = noise(invent_names(40, 2, seed=5))
    assert sum(result.verdict == "familiar" for result in results) <= 2
    assert 0.35 < np.mean([result.p for result in results]) < 0.65


def test_a_name_that_changes_every_picture_is_familiar(noise):
    known, unknown = noise(["well known", "quite other"])
    assert (known.verdict, known.p) == ("familiar", 0.01)
    assert known.distance > max(known.controls.distances) and known.consistency > 0.5
    assert unknown.verdict != "familiar"


def test_power_is_the_share_of_known_names_that_the_same_test_tells(noise):
    known = ["well known", "known vost", "quite known", "other name", "so known here"]
    result = noise(["quite other"], known=known)[0]
    assert result.power.names == tuple(known[:4]), "of as many words as the phrase"
    assert (result.power.familiar, result.power.share) == (3, 0.75)
    assert result.power.p[0] == 0.01 and result.power.p[3] > 0.01
    low, high = result.power.interval
    assert low < 0.75 < high
    assert "3 of 4 names that the model knows" in result.summary()
    alone = noise(["well known", "quite other"], known=known)
    assert alone[0].power.names == tuple(known[1:4]), "without the phrase itself"
    assert alone[1].power == result.power
    assert noise(["quite other"])[0].power is None, "the profile lists no names"


def test_each_name_has_seeds_of_its_own_which_its_contexts_share(noise):
    results = noise(["quite other"], seeds=None, seeds_per_item=3)
    assert results[0].seeds is None and results[0].seeds_per_item == 3
    drawn: dict[str, set[int]] = {}
    contexts: dict[str, set[str]] = {}
    for batch in noise.model.calls:
        for prompt, seed in batch:
            name = " ".join(prompt.split()[:2])
            drawn.setdefault(name, set()).add(seed)
            contexts.setdefault(name, set()).add(prompt)
    assert len(drawn) == 100 and {len(seeds) for seeds in drawn.values()} == {3}
    assert drawn["quite other"] == set(item_seeds("quite other", 3))
    assert {len(each) for each in contexts.values()} == {5}
    assert len(set().union(*drawn.values())) == 300


def test_tokens_are_counted_in_every_encoder():
    model = families.family_model("flux")
    first, second = model.pipeline.tokenizer, model.pipeline.tokenizer_2
    names = ["cat", "cat dog", "unseen words"]
    expected = [
        tuple(len(each(name, add_special_tokens=False).input_ids) for each in (first, second))
        for name in names
    ]
    assert token_counter(model)(names) == expected
    assert any(a != b for a, b in expected)
    # Alike for the first encoder, and by their letters for the second.
    both = invent_like("four", 40, lambda each: [(2, len(name)) for name in each])
    assert {len(name) for name in both} == {4}
    first_alone = invent_like("four", 40, lambda each: [(2,) for _ in each])
    assert {len(name) for name in first_alone} != {4}


def test_controls_are_as_long_as_the_phrase_in_words_and_tokens(model):
    count_tokens = token_counter(model)
    for phrase in ("a cat", "vostrelin karbandu", "Moth", "voran of libet"):
        names = invent_like(phrase, 99, count_tokens, exclude=phrase.split())
        target, *lengths = count_tokens([phrase, *names])
        assert {len(name.split()) for name in names} == {len(phrase.split())}
        matched = sum(length == target for length in lengths)
        assert count_matched(model, phrase, names) == matched
        distances = [sum(np.abs(np.subtract(length, target))) for length in lengths]
        assert distances == sorted(distances)
        assert matched == 99 or phrase == "a cat", (phrase, target, lengths)
    result = familiarity(model, "vostre karban", **{**OPTIONS, "controls": None, "count": 99})
    assert result.controls.matched == 99 and "99 of 99 have as many words" in result.summary()


def test_what_a_context_adds_to_invented_names_is_found(noise):
    (result,) = noise(["quite other"])
    effects = [
        (context, effect.classifier, effect.label)
        for context, own in result.contexts.items()
        for effect in own.effects
    ]
    assert [context for context, _, _ in effects] == ["{item} with a raven"]
    (effect,) = result.contexts["{item} with a raven"].effects
    assert effect.label == "yes" and effect.rate.rate == 1 and effect.phrase_rate == 1
    table = result.table()
    assert table["label"].dropna().tolist() == ["yes"] and len(table) == 5


def test_the_figures_are_those_of_the_pool(dog):
    distances = np.array(dog.controls.distances)
    assert np.median(distances) == pytest.approx(1)
    assert dog.p == (1 + (distances >= dog.distance).sum()) / 100
    assert set(dog.contexts) == set(CONTEXTS) and dog.embedding == "prior/embedding"
    assert "among 99 controls" in repr(dog)


def test_classifiers_count_beside_the_embedding(model, dog, monkeypatch):
    both = Observer((Light(),), "prior/embedding", None)
    monkeypatch.setattr(Observer, "of", lambda *_: both)
    result = familiarity(model, "dog", **OPTIONS)
    assert result.classifiers == {"light": None}
    assert result.distance != dog.distance


def test_a_killed_call_resumes_and_others_use_its_controls(model, dog, tmp_path, monkeypatch):
    observed, observe = [], Observer.observe

    def limited(self, evaluator, name, *rest, **more):
        if len(observed) == 40:
            raise KeyboardInterrupt
        observed.append(name)
        return observe(self, evaluator, name, *rest, **more)

    monkeypatch.setattr(Observer, "observe", limited)
    with pytest.raises(KeyboardInterrupt):
        familiarity(model, "dog", **OPTIONS, out=tmp_path)
    assert len(observed) == 40
    names: list[str] = []
    monkeypatch.setattr(
        Observer, "observe", lambda *a, **k: (names.append(a[2]), observe(*a, **k))[1]
    )
    result = familiarity(model, "dog", **OPTIONS, out=tmp_path)
    assert len(names) == 60 and not set(names) & set(observed)
    assert result.to_dict() == dog.to_dict(), "the same figures, killed or not, stored or not"
    names.clear()
    other = familiarity(model, "cat", **OPTIONS, out=tmp_path)
    assert names == ["cat"] and other.phrase == "cat"
    both = measure_familiarity(model, ["dog", "cat"], **OPTIONS, out=tmp_path)
    assert [each.to_dict() for each in both] == [result.to_dict(), other.to_dict()]


def test_a_damaged_name_is_drawn_again_and_another_plan_is_refused(model, dog, tmp_path):
    familiarity(model, "dog", **OPTIONS, out=tmp_path)
    for path in list((tmp_path / "names").glob("*.npz"))[:3]:
        path.write_bytes(path.read_bytes()[:50])
    assert familiarity(model, "dog", **OPTIONS, out=tmp_path).to_dict() == dog.to_dict()
    with pytest.raises(EvidenceError, match=r"another kind \(seeds: \[0\] there, \[1\] now\)"):
        familiarity(model, "dog", **{**OPTIONS, "seeds": 1}, out=tmp_path)


def test_a_result_is_read_back_as_it_was_saved(dog, tmp_path):
    dog.save(tmp_path / "dog")
    again = FamiliarityResult.load(tmp_path / "dog")
    assert again.to_dict() == dog.to_dict() and again.controls == dog.controls
    assert list(again.pictures) == ["dog", *CONTROLS[:4]]
    assert all(np.array_equal(again.pictures[name], each) for name, each in dog.pictures.items())
    path = tmp_path / "dog" / "familiarity.json"
    path.write_text(path.read_text().replace('"p": ', '"q": '))
    with pytest.raises(EvidenceError, match="does not fit"):
        FamiliarityResult.load(tmp_path / "dog")


def test_what_cannot_be_measured_is_refused(model):
    with pytest.raises(EvidenceError, match="98 controls are too few: p cannot come below 1 in 99"):
        familiarity(model, "dog", **{**OPTIONS, "controls": CONTROLS[1:]})
    with pytest.raises(PromptError, match="phrase is empty"):
        familiarity(model, "  ", **OPTIONS)
    with pytest.raises(PromptError):
        familiarity(model, "dog " * 20, **OPTIONS)
    with pytest.raises(EvidenceError, match="name a classifier"):
        familiarity(families.small_model(families.stable_diffusion()), "dog", **OPTIONS)


def test_the_page_escapes_names_and_holds_nothing_from_outside(model, tmp_path):
    result = familiarity(model, "<b>&", **OPTIONS, out=tmp_path)
    folder = phrase_folder(tmp_path, "<b>&")
    assert folder != phrase_folder(tmp_path, "b")
    page = (folder / "familiarity.html").read_text()
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert page.count("data:image/png") == len(CONTEXTS) * 5
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "not shown to be unknown" in page
    assert (folder / "sheet.png").stat().st_size > 0
    saved = json.loads((folder / "familiarity.json").read_text())
    assert saved.pop("digest") and saved == result.to_dict()


@pytest.fixture
def files(tmp_path):
    paths = {name: tmp_path / f"{name}.txt" for name in ("controls", "contexts")}
    paths["controls"].write_text("\n".join(CONTROLS) + "\n")
    paths["contexts"].write_text("{item}\n\na {item}\n")
    return [part for name, path in paths.items() for part in (f"--{name}", path)]


@pytest.fixture
def call(model, monkeypatch, files):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model)
    return lambda *words: commands.call(app, "familiarity", *files, "--seeds", "0", *words)


def test_json_has_the_names_that_scripts_rely_on(call, tmp_path):
    figures = json.loads(call("dog", "--json", "--out", tmp_path / "out").stdout)
    names = ["phrase", "verdict", "p", "distance", "consistency", "contexts"]
    assert list(figures)[:6] == names
    assert figures["phrase"] == "dog" and set(figures["contexts"]) == set(CONTEXTS)
    assert figures["verdict"] in ("familiar", "not shown to be familiar", "undecided")
    assert (tmp_path / "out" / "dog" / "familiarity.html").exists()
    assert call("dog", "--out", tmp_path / "out").stdout.startswith("dog: ")


def test_files_that_are_wrong_are_one_line(call, files, tmp_path):
    with pytest.raises(EvidenceError, match=r"none\.txt cannot be read"):
        call("dog", "--controls", tmp_path / "none.txt")
    files[1].write_text("\n".join([*CONTROLS, "aa"]))
    with pytest.raises(EvidenceError, match="'aa' is listed twice"):
        call("dog")
    files[1].write_text("\n".join([*CONTROLS, "dog"]))
    with pytest.raises(EvidenceError, match="'dog' is the phrase itself"):
        call("dog")
    files[3].write_text("{item}\na raven\n")
    with pytest.raises(EvidenceError, match=r"'a raven' must have \{item\}"):
        call("dog")


@pytest.mark.weights
def test_lancet_knows_a_name_of_its_captions_and_no_made_up_one():
    import clerestory

    lancet = clerestory.load("lancet")
    lancet.defaults = lancet.defaults.replace(prior_steps=4)
    phrases = ["tycho brahe", "ada lovelace", *invent_names(2, 2, seed=1)]
    options = {"contexts": CONTEXTS, "seeds": 0, "count": 99, "classifiers": [], "progress": False}
    found = measure_familiarity(lancet, phrases, **options)
    assert [one.verdict == "familiar" for one in found] == [True, True, False, False]
    assert found[0].p == 0.01 and found[0].consistency > 0.5
    assert found[0].contexts["{item}"].effects == ()
    assert found[0].controls.matched == 0, "an invented word has more than one token"
    assert found[2].controls.matched == 99
    power = found[2].power
    assert len(power.names) == 13
    # One control lies farther than the known names: of 99 that is enough for p = .02, and no power.
    assert np.median(power.p) <= 0.05 and power.share < 0.5
