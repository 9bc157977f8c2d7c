"""`clerestory attribute`, as a person calls it."""

import json

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import attribute as command

UNIT = "text/pooled[2]"
app = typer.Typer()
app.command("attribute")(command.attribute)
app.callback()(lambda: None)


@pytest.fixture(autouse=True)
def model(monkeypatch):
    model = tiny_model(window=128)
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model)
    return model


def call(*words):
    return commands.call(app, "attribute", *words, "--of", UNIT, "--seeds", "0")


def test_json_has_the_names_that_scripts_rely_on_and_the_page_escapes(tmp_path):
    words = ("[<b>] with [c]", "--paraphrases", "20", "--json", "--out", tmp_path / "out")
    told = json.loads(call(*words).stdout)
    (own,) = told["of"].values()
    assert told["pieces"] == ["<b>", "c"]
    assert list(own)[:3] == ["shapley", "interactions", "completeness_error"]
    assert list(own["shapley"][0]) == ["piece", "value", "low", "high"]
    assert list(own["interactions"][0]) == ["pieces", "value", "low", "high"]
    page = (tmp_path / "out" / "attribution.html").read_text()
    assert "<b>" not in page.replace("<b>&lt;b&gt;</b>", "").replace("<b>c</b>", "")
    assert page.count("data:image/png") == 4 * 2 + 2 * 4


def test_a_short_prompt_takes_the_paraphrases_that_there_are_and_says_so():
    result = call("a [cat]", "--json")
    assert json.loads(result.stdout)["paraphrases"] == 21
    assert "There are 21 paraphrases of this prompt, not 48: all are used." in result.stderr
    assert "Without its pieces, with stand-ins for them, the prompt is: a thing" in result.stderr


def test_what_is_left_out_is_said_to_be(tmp_path):
    out = tmp_path / "out"
    words = ("a picture of [a] with a [c], here", "--paraphrases", "20", "--no-together")
    result = call(*words, "--absence", "delete", "--json", "--out", out)
    assert json.loads(result.stdout)["absent_as"] == ["", ""]
    page = (out / "attribution.html").read_text()
    assert page.count("(absent: left out)") == 2 and "a person" not in page
    assert "with them left out, the prompt is: a picture, here" in result.stderr


def test_the_page_of_both_ways_names_both(tmp_path):
    out = tmp_path / "out"
    words = ("a dog with a [c]", "--paraphrases", "20", "--no-together", "--no-path")
    call(*words, "--absence", "both", "--out", out)
    assert "(absent: a thing, or left out)" in (out / "attribution.html").read_text()


@pytest.mark.parametrize(("to", "read"), [((), False), (("--json",), True)])
def test_the_path_is_read_where_it_is_shown(to, read, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(command, "_values", noted(asked, command._values))
    call("a dog with [c]", "--paraphrases", "20", "--no-together", *to)
    assert asked == [read]


def noted(asked, values):
    def read(model, of, pool, path):
        asked.append(path)
        return values(model, of, pool, path)

    return read


def test_beyond_ten_pieces_it_says_that_no_neurons_are_looked_at():
    many = " ".join(f"[{word}|b]" for word in "acdefghijkl")
    result = call(many, "--paraphrases", "20", "--budget", "64")
    assert "Beyond 10 pieces no neurons are looked at" in result.stderr
