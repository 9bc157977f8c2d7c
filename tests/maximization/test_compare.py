"""Found words beside the words themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny import tiny_model
from typer.testing import CliRunner

from clerestory.cli.main import app
from clerestory.edits import Add
from clerestory.errors import SearchError
from clerestory.evaluation.outcomes import Panel
from clerestory.maximization.compare import compare, found_words


class Dark:
    """Says of every picture that it is dark."""

    classes, source = ("dark", "light"), "dark"

    def __call__(self, pictures):
        return np.tile([1.0, 0.0], (len(pictures), 1)).astype(np.float32)


def test_every_rival_draws_the_same_contents_and_seeds():
    model = tiny_model()
    edit = Add("prior/embedding", np.ones(32), 3.0)
    panel = Panel(Dark(), "dark", {})
    came = compare(
        model,
        ["dog", "cat"],
        panel,
        said="cat {x}",
        contents=["a", "b"],
        put="{found} {x}",
        steered=[edit],
    )
    plain, words, dog, cat, steered = came
    names = ["unedited", "the words", "dog", "cat", "steered"]
    assert [one.name for one in came] == names
    assert (words.pictures == cat.pictures).all()
    assert (dog.pictures != cat.pictures).any() and (steered.pictures != plain.pictures).any()
    with pytest.raises(SearchError, match="in it"):
        compare(model, ["dog"], panel, said="{x}", contents=["a", "b"], put="{x}")


def test_found_words_are_those_of_the_kept_search(tmp_path):
    with pytest.raises(SearchError, match="no finished search"):
        found_words(tmp_path, 2)
    best = [{"words": "one"}, {"words": "two"}, {"words": "three"}]
    (tmp_path / "maximization.json").write_text(json.dumps({"best": best}))
    assert found_words(tmp_path, 2) == ["one", "two"]


@pytest.mark.weights
def test_the_command_prints_every_way_and_keeps_a_sheet(tmp_path):
    (tmp_path / "maximization.json").write_text(json.dumps({"best": [{"words": "spider"}]}))
    call = ["compare", str(tmp_path), "lancet:style=ink", "an ink drawing of {x}", "--count", "3"]
    call += ["--seeds", "0", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, call, catch_exceptions=False)
    told = json.loads(done.stdout)
    assert [one["name"] for one in told] == ["unedited", "the words", "spider"]
    assert told[1]["concept"]["rate"] > told[0]["concept"]["rate"]
    assert (tmp_path / "out" / "compare.png").exists()
