import functools
import json

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import dictionary
from clerestory.dictionaries import Dictionary
from clerestory.errors import OptionError, PromptError

app = typer.Typer()
app.add_typer(dictionary.app, name="dictionary")
call = functools.partial(commands.call, app)


def test_a_dictionary_is_trained_on_the_prompts_that_a_model_draws(tmp_path, monkeypatch):
    pytest.importorskip("sae_lens", reason="training needs the extra `dictionaries`")
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model(), raising=False)
    (tmp_path / "p.txt").write_text("".join(f"a cat {letter}\n" for letter in "abcdefgh"))
    out = tmp_path / "out"
    words = ["dictionary", "train", "--prompts", tmp_path / "p.txt", "--site", "text.blocks.1/mlp"]
    words += ["--latents", "2x", "--k", 4, "--updates", 5, "--rows", 32, "--out", out, "--json"]
    told = json.loads(call(*words).stdout)
    saved = Dictionary.load(out)
    assert told["latents"] == saved.latents == 2 * saved.width
    assert (told["site"], told["kind"]) == ("text.blocks.1/mlp", "batchtopk")
    assert told["l0"] == saved.metadata["l0"]


def test_a_recording_or_prompts_are_needed_and_not_both(tmp_path):
    how = ["dictionary", "train", "--site", "a/b", "--out", tmp_path / "out"]
    with pytest.raises(OptionError, match="Give a recording, or --prompts"):
        call(*how)
    with pytest.raises(OptionError, match="not both"):
        call(*how, "rec", "--prompts", "p.txt")
    with pytest.raises(PromptError, match="needs --sample"):
        call(*how, "--prompts", "vocabulary")
    assert not (tmp_path / "out").exists()
