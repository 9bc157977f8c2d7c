import functools
import json

import commands
import pytest
import typer
from helpers.dictionaries import identity_dictionary
from tiny import tiny_model

from clerestory.cli import dictionary
from clerestory.dictionaries import Dictionary
from clerestory.errors import DictionaryError, OptionError, PromptError, RegistryError

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


def test_a_dictionary_is_evaluated_and_its_figures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model(), raising=False)
    (tmp_path / "p.txt").write_text("a cat\na dog\nc\n")
    identity_dictionary(32, "prior/embedding").save(tmp_path / "d")
    out, words = tmp_path / "out", ["dictionary", "evaluate", tmp_path / "d"]
    words += ["--prompts", tmp_path / "p.txt", "--classifier", "colour:light", "--seeds", "0:2"]
    words += ["--steps", 2]
    done = call(*words, "--out", out, "--json")
    told = json.loads(done.stdout)
    assert told == {
        key: value
        for key, value in json.loads((out / "evaluation.json").read_text()).items()
        if key != "digest"
    }
    assert (out / "grid.png").exists() and not (out / "samples").exists()
    assert json.loads(call(*words, "--out", out, "--json").stdout) == told
    figures = {each["condition"]: each for each in told["conditions"]}
    assert figures["reconstruction"]["rms"] == 0 and figures["mean ablation"]["rms"] > 0
    assert told["provenance"]["options"]["options"]["steps"] == 2
    assert "warning: Only 3 prompts" in done.stderr and "warning:" not in done.stdout
    text = call(*words, "--out", tmp_path / "again").stdout
    assert "recovered 100.0%" in text and "same colour:light" in text
    random = call(*words, "--sample", 2, "--out", tmp_path / "two", "--json").stdout
    assert len(json.loads(random)["prompts"]) == 2


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (["--prompts", "absent.txt"], PromptError, "absent.txt"),
        (["--prompts", "vocabulary"], PromptError, "needs --sample"),
        (["--classifier", "nobody:light"], RegistryError, "nobody"),
        (["--site", "denoiser.mid.res.0/out"], DictionaryError, "is for 32 units"),
        (["--branch", "nowhere"], OptionError, "branch"),
    ],
)
def test_what_cannot_be_evaluated_writes_nothing(tmp_path, monkeypatch, more, error, words):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model(), raising=False)
    (tmp_path / "p.txt").write_text("a cat\n")
    identity_dictionary(32, "prior/embedding").save(tmp_path / "d")
    command = ["dictionary", "evaluate", tmp_path / "d", "--prompts", tmp_path / "p.txt"]
    with pytest.raises(error, match=words):
        call(*command, *more, "--out", tmp_path / "out")
    assert {each.name for each in tmp_path.iterdir()} == {"p.txt", "d"}
