"""`clerestory attribute`, as a person calls it."""

import json

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory import attribution
from clerestory.attribution.paraphrases import TEMPLATES
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
    figures = json.loads(call(*words).stdout)
    (own,) = figures["of"].values()
    assert figures["pieces"] == ["<b>", "c"]
    assert list(own)[:3] == ["shapley", "interactions", "completeness_error"]
    assert {"piece", "value", "low", "high"} <= set(own["shapley"][0])
    assert {"pieces", "value", "low", "high"} <= set(own["interactions"][0])
    page = (tmp_path / "out" / "attribution.html").read_text()
    assert "<b>" not in page.replace("<b>&lt;b&gt;</b>", "").replace("<b>c</b>", "")
    assert page.count("data:image/png") == 4 * 2 + 2 * 4


def test_a_long_prompt_takes_the_paraphrases_that_fit_and_says_so(monkeypatch):
    monkeypatch.setattr("clerestory.attribution.paraphrases.TEMPLATES", TEMPLATES[:21])
    result = call("a [cat]", "--json", "--no-path", "--no-synergy")
    assert json.loads(result.stdout)["paraphrases"] == 21
    assert "There are 21 paraphrases of this prompt, not 48: all are used." in result.stderr
    assert "With its pieces replaced by baselines, the prompt is: a thing" in result.stderr


def test_deleted_pieces_are_reported_as_deleted(tmp_path):
    out = tmp_path / "out"
    words = ("a picture of [a] with a [c], here", "--paraphrases", "20", "--no-synergy")
    result = call(*words, "--removal", "delete", "--json", "--out", out)
    assert json.loads(result.stdout)["baselines"] == ["", ""]
    page = (out / "attribution.html").read_text()
    assert page.count("(deleted)") == 2 and "a person" not in page
    assert "With its pieces deleted, the prompt is: a picture, here" in result.stderr


def test_the_page_of_both_removals_names_both(tmp_path):
    out = tmp_path / "out"
    words = ("a dog with a [c]", "--paraphrases", "20", "--no-synergy", "--no-path")
    call(*words, "--removal", "both", "--out", out)
    assert "(baseline: a thing, or deleted)" in (out / "attribution.html").read_text()


@pytest.mark.parametrize(("options", "read"), [((), False), (("--json",), True)])
def test_the_path_is_read_only_where_it_is_reported(options, read, monkeypatch):
    requests = []
    attribute = attribution.attribute

    def record(*arguments, path, **rest):
        requests.append(path)
        return attribute(*arguments, path=path, **rest)

    monkeypatch.setattr(attribution, "attribute", record)
    call("a dog with [c]", "--paraphrases", "20", "--no-synergy", *options)
    assert requests == [read]


def test_beyond_ten_pieces_no_neurons_are_tested():
    many = " ".join(f"[{word}|b]" for word in "acdefghijkl")
    result = call(many, "--paraphrases", "20", "--budget", "64")
    assert "Beyond 10 pieces no neurons are tested" in result.stderr
