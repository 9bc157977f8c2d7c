"""`templates`: the file that it writes is a design that `record` and `find` take as it is."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import templates
from clerestory.errors import OutputError, PromptError
from clerestory.models.profile import ModelProfile
from clerestory.recordings import prompt_table
from clerestory.studies.new_prompts import ITEMS, concept_prompts

app = typer.Typer()
app.command("templates")(templates.templates)
# A second command, so that the first one is called by its name.
app.command("other")(lambda: None)
call = functools.partial(commands.call, app)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model(), raising=False)


def test_a_file_has_sixteen_phrases_an_arm_crossed_with_frames_and_items(tmp_path: Path) -> None:
    out = tmp_path / "glass.toml"
    result = call("templates", "stained glass", "--against", "a glass window", "--out", out)
    assert f"record --prompts {out}" in result.stdout
    assert "9,216 prompts" in result.stdout
    table = prompt_table(out)
    assert set(table["concept"]) == {"positive", "negative", "hard negative"}
    assert not table["prompt"].duplicated().any()
    arms = table.groupby("concept")
    assert set(arms["phrase"].nunique()) == {16}
    assert set(arms["template"].nunique()) == {8}
    assert table["item"].nunique() == 24
    assert len(table) == 3 * 16 * 8 * 24
    words = arms["prompt"].agg(" ".join)
    assert "stained glass" in words["positive"] and "window" not in words["positive"]
    assert "a glass window" in words["hard negative"]
    assert "glass" not in words["negative"]
    assert "--prompts glass.toml" in out.read_text()


def test_items_are_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [f"a thing {number}" for number in range(ITEMS)]
    monkeypatch.setattr(ModelProfile, "items", lambda self, count: own[:count])
    written = tomllib.loads(call("templates", "ink").stdout)
    assert list(written["levels"]["item"].values()) == own
    assert "an ink of {item}" in written["levels"]["concept"]["positive"]


@pytest.mark.parametrize("words", ["", " ", "{item}", "a\nb", "a\x7f", "x" * 201])
def test_words_that_make_no_prompt_are_refused(words: str) -> None:
    with pytest.raises(PromptError, match="no words of a concept"):
        concept_prompts(words)
    with pytest.raises(PromptError, match="no words of a concept"):
        concept_prompts("ink", words)


def test_any_other_words_make_a_file_that_can_be_read(tmp_path: Path) -> None:
    out = tmp_path / "odd.toml"
    for concept in ('"quotes" and \\ strokes', "NAME = [1]", "émail", "# WORDS"):
        out.write_text(concept_prompts(concept, items=['a "cat"', "b\tc"]), "utf-8")
        table = prompt_table(out)
        assert table["prompt"].str.contains(" ".join(concept.split()), regex=False).any()


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "old.toml"
    out.write_text("mine")
    with pytest.raises(OutputError, match=r"old\.toml"):
        call("templates", "ink", "--out", out)
    assert out.read_text() == "mine"
    with pytest.raises(OutputError, match=r"must end in \.toml"):
        call("templates", "ink", "--out", tmp_path / "new.txt")
