"""Words that were found beside the usual words and a steered model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import tiny_model
from typer.testing import CliRunner

from clerestory.cli.main import app
from clerestory.edits import Add
from clerestory.errors import EvidenceError, SearchError
from clerestory.maximization import ComparisonResult, compare
from clerestory.maximization.compare import best_words
from clerestory.models.core.seeds import item_seeds
from clerestory.steering import SteeredModel

TARGET = "colour:light=light"
ITEMS = ["a", "b"]


@pytest.fixture(scope="module")
def result():
    model = tiny_model()
    edit = Add("prior/embedding", np.ones(32), 3.0)
    return compare(
        model,
        ["dog", "cat", "dog"],
        TARGET,
        "cat {item}",
        items=ITEMS,
        count=2,
        placement="{words} {item}",
        steered=SteeredModel(model, [edit]),
        progress=False,
    )


def test_every_condition_draws_the_same_items_and_seeds(result):
    plain, words, dog, cat, steered = result.conditions
    names = ["unedited", "the words", "dog", "cat", "steered"]
    assert [each.name for each in result.conditions] == names
    assert (words.pictures == cat.pictures).all()
    assert result.seeds == tuple(item_seeds(item, 2) for item in ITEMS)
    assert len({seed for own in result.seeds for seed in own}) == 4
    assert (dog.pictures != cat.pictures).any() and (steered.pictures != plain.pictures).any()


def test_explicit_seeds_are_those_of_every_item():
    result = compare(
        tiny_model(), ["dog"], TARGET, "cat {item}", items=ITEMS, count=2, seeds=7, progress=False
    )
    assert result.seeds == ((7,), (7,))


def test_a_comparison_prints_shortly_and_is_the_same_after_loading(result, tmp_path):
    assert len(repr(result)) < 300 and TARGET in repr(result)
    assert list(result.table()["condition"]) == [each.name for each in result.conditions]
    result.save(tmp_path / "c")
    again = ComparisonResult.load(tmp_path / "c")
    assert again.to_dict() == result.to_dict()
    for before, after in zip(result.conditions, again.conditions, strict=True):
        assert (before.pictures == after.pictures).all()
    assert again.plot().to_dict() == result.plot().to_dict()
    path = tmp_path / "c" / "comparison.json"
    path.write_text(path.read_text().replace('"seeds"', '"sedes"'))
    with pytest.raises(SearchError, match="does not fit"):
        ComparisonResult.load(tmp_path / "c")


def test_what_cannot_be_compared_is_refused():
    model = tiny_model()
    with pytest.raises(SearchError, match="in it"):
        compare(model, ["dog"], TARGET, "{item}", items=ITEMS, count=2, placement="{item}")
    with pytest.raises(EvidenceError, match="2 distinct items, 3 are needed"):
        compare(model, ["dog"], TARGET, "{item}", items=ITEMS, count=3)
    with pytest.raises(EvidenceError, match="Name a file with one item per line"):
        compare(model, ["dog"], TARGET, "{item}")


def test_best_words_are_those_of_the_saved_search(tmp_path):
    with pytest.raises(SearchError, match="no finished search"):
        best_words(tmp_path, 2)
    best = [{"words": "one"}, {"words": "two"}, {"words": "three"}]
    (tmp_path / "maximization.json").write_text(json.dumps({"best": best}))
    assert best_words(tmp_path, 2) == ["one", "two"]
    (tmp_path / "maximization.json").write_text(json.dumps({"best": [{"words": 1}]}))
    with pytest.raises(SearchError, match="does not fit"):
        best_words(tmp_path, 2)


@pytest.mark.weights
def test_the_command_prints_every_condition_and_saves_a_sheet(tmp_path):
    (tmp_path / "maximization.json").write_text(json.dumps({"best": [{"words": "spider"}]}))
    call = ["compare", str(tmp_path), "lancet:style=ink", "an ink drawing of {item}"]
    call += ["--count", "3", "--seeds", "0", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    conditions = json.loads(done.stdout)["conditions"]
    assert [each["name"] for each in conditions] == ["unedited", "the words", "spider"]
    assert conditions[1]["target"]["rate"] > conditions[0]["target"]["rate"]
    assert (tmp_path / "out" / "compare.png").exists()
