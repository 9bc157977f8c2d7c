"""A name beside its controls, in a tiny model and in Lancet."""

from __future__ import annotations

import itertools
import json
import re

import commands
import families
import numpy as np
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import familiarity as command
from clerestory.errors import EvidenceError, PromptError
from clerestory.recognition import familiarities, familiarity, made_up
from clerestory.recognition.observation import Eyes
from clerestory.recognition.page import folder_of, keep

CONTROLS = ["".join(pair) for pair in itertools.product("abcdefghij", repeat=2)][:99]
CONTEXTS = ("{item}", "a {item}")
HOW = {"controls": CONTROLS, "contexts": CONTEXTS, "seeds": 0}
app = typer.Typer()
app.command("familiarity")(command.familiarity)
app.callback()(lambda: None)


class Light:
    """Says dark or light by a picture's mean."""

    classes, source = ("dark", "light"), "light"

    def __call__(self, pictures):
        light = pictures.mean((1, 2, 3)) / 255
        return np.stack([1 - light, light], 1).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def dog(model):
    return familiarity(model, "dog", **HOW)


def test_the_figures_are_those_of_the_pool(dog):
    found = dog
    beside = found.controls.distances
    assert np.median(beside) == pytest.approx(1)
    assert found.p == (1 + (beside >= found.distance).sum()) / 100
    assert set(found.contexts) == set(CONTEXTS) and found.about["embedding"] == "prior/embedding"


def test_classifiers_count_beside_the_embedding(model, dog, monkeypatch):
    both = Eyes((Light(),), "prior/embedding", None)
    monkeypatch.setattr(Eyes, "of", lambda *_: both)
    found = familiarity(model, "dog", **HOW)
    assert found.seen.rates.shape == (2, 2) and found.seen.rates.sum(1) == pytest.approx(1)
    assert found.right == {"light": None}
    assert found.distance != dog.distance


def test_a_killed_call_goes_on_and_others_use_its_controls(model, dog, tmp_path, monkeypatch):
    looked, look = [], Eyes.look

    def counted(self, model, name, *rest, **more):
        if len(looked) == 40:
            raise KeyboardInterrupt
        looked.append(name)
        return look(self, model, name, *rest, **more)

    monkeypatch.setattr(Eyes, "look", counted)
    with pytest.raises(KeyboardInterrupt):
        familiarity(model, "dog", **HOW, out=tmp_path)
    assert len(looked) == 40
    monkeypatch.setattr(Eyes, "look", look)
    told: list[str] = []
    monkeypatch.setattr(Eyes, "look", lambda *a, **k: (told.append(a[2]), look(*a, **k))[1])
    found = familiarity(model, "dog", **HOW, out=tmp_path)
    assert len(told) == 60 and not set(told) & set(looked)
    assert found.told() == dog.told(), "the same figures, killed or not, kept or not"
    told.clear()
    other = familiarity(model, "cat", **HOW, out=tmp_path)
    assert told == ["cat"] and other.phrase == "cat"
    together = familiarities(model, ["dog", "cat"], **HOW, out=tmp_path)
    assert [one.told() for one in together] == [found.told(), other.told()]


def test_a_damaged_name_is_drawn_again_and_another_plan_is_not_mixed_in(model, dog, tmp_path):
    familiarity(model, "dog", **HOW, out=tmp_path)
    for path in list((tmp_path / "names").glob("*.npz"))[:3]:
        path.write_bytes(path.read_bytes()[:50])
    assert familiarity(model, "dog", **HOW, out=tmp_path).told() == dog.told()
    with pytest.raises(EvidenceError, match=r"another kind \(seeds: \[0\] there, \[1\] now\)"):
        familiarity(model, "dog", **{**HOW, "seeds": 1}, out=tmp_path)


def test_what_cannot_be_asked_is_said(model):
    with pytest.raises(EvidenceError, match="98 controls are too few: p cannot come below 1 in 99"):
        familiarity(model, "dog", **{**HOW, "controls": CONTROLS[1:]})
    with pytest.raises(PromptError, match="phrase is empty"):
        familiarity(model, "  ", **HOW)
    with pytest.raises(PromptError):
        familiarity(model, "dog " * 20, **HOW)
    with pytest.raises(EvidenceError, match="name a classifier"):
        familiarity(families.small_model(families.stable_diffusion()), "dog", **HOW)


def test_the_page_escapes_names_and_holds_nothing_from_outside(model, tmp_path):
    found = familiarity(model, "<b>&", **HOW)
    path = keep(found, tmp_path)
    assert path.parent == folder_of(tmp_path, "<b>&") != folder_of(tmp_path, "b")
    page = path.read_text()
    assert "<b>&" not in page and "&lt;b&gt;&amp;" in page
    assert page.count("data:image/png") == len(CONTEXTS) * 5
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert (path.parent / "sheet.png").stat().st_size > 0
    assert json.loads((path.parent / "familiarity.json").read_text()) == found.told()


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
    told = json.loads(call("dog", "--json", "--out", tmp_path / "out").stdout)
    names = ["phrase", "verdict", "p", "distance", "consistency", "contexts"]
    assert list(told)[:6] == names
    assert told["phrase"] == "dog" and set(told["contexts"]) == set(CONTEXTS)
    assert told["verdict"] in ("familiar", "unfamiliar", "undecided")
    assert (tmp_path / "out" / "dog" / "familiarity.html").exists()
    assert call("dog", "--out", tmp_path / "out").stdout.startswith("dog: ")


def test_files_that_are_wrong_are_one_line(call, files, tmp_path):
    with pytest.raises(EvidenceError, match=r"none\.txt cannot be read"):
        call("dog", "--controls", tmp_path / "none.txt")
    files[1].write_text("\n".join([*CONTROLS, "aa"]))
    with pytest.raises(EvidenceError, match="'aa' is there twice"):
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
    asked = ["tycho brahe", "ada lovelace", *made_up(2, 2, seed=1)]
    how = {"contexts": CONTEXTS, "seeds": 0, "count": 99, "classifiers": []}
    found = familiarities(lancet, asked, **how)
    assert [one.verdict == "familiar" for one in found] == [True, True, False, False]
    assert found[0].p == 0.01 and found[0].consistency > 0.5
    assert found[0].told()["contexts"]["{item}"]["made"] == []
