import functools
import json
import re

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import record, recording
from clerestory.cli.main import _expand_flags
from clerestory.errors import OutputError, PromptError, RecordingError, SeedError
from clerestory.models.core.seeds import item_seeds
from clerestory.recordings import Recording

app = typer.Typer()
app.command("record")(record.record)
app.add_typer(recording.app, name="recording")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The command line's models are the tiny one."""
    monkeypatch.setattr("clerestory.load", lambda *_, **__: tiny_model(), raising=False)


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,style\na cat,ink\na dog,ink\na cat b,oil\n")
    return tmp_path / "p.csv"


call = functools.partial(commands.call, app)


def command(prompts, out, *more):
    sites = ["--sites", "text.*/mlp,prior/embedding", "--chunk", 2, "--batch", 2]
    return ["record", "--prompts", prompts, *sites, "--seeds", "0:2", "--out", out, *more]


def test_it_says_what_it_takes_records_and_resumes_by_the_same_command(prompts, tmp_path):
    result = call(*command(prompts, tmp_path / "rec", "--json"))
    assert re.search(
        r"6 samples, 6 pictures, 3 sites: about [\d.]+ s, [\d.]+ kB on disk", result.stderr
    )
    told = json.loads(result.stdout)
    assert (told["samples"], told["done"], told["bad"]) == (6, 6, {})
    assert told["sites"] == ["text.blocks.0/mlp", "text.blocks.1/mlp", "prior/embedding"]
    opened = Recording.open(tmp_path / "rec")
    assert list(opened.samples.query("style == 'oil'").index) == [4, 5]
    opened.store.remove_marker(1)
    again = call(*command(prompts, tmp_path / "rec"))
    assert "6 samples are in" in again.stderr
    assert "about" not in again.stderr
    assert Recording.open(tmp_path / "rec").samples["done"].all()


def test_items_of_a_template_have_seeds_of_their_own(tmp_path):
    (tmp_path / "p.csv").write_text("prompt,item\na cat,cat\ncat b,cat\na dog,dog\n")
    how = ["record", "--prompts", tmp_path / "p.csv", "--sites", "text.*/mlp", "--no-pictures"]
    how += ["--seeds-per-item", 2, "--out", tmp_path / "rec"]
    call(*how, "--seed", 5)
    samples = Recording.open(tmp_path / "rec").samples
    assert list(samples["seed"]) == [
        *(seed for item in ("cat", "cat", "dog") for seed in item_seeds(item, 2, 5))
    ]
    with pytest.raises(RecordingError, match="other prompts, seeds or factors"):
        call(*how)
    with pytest.raises(SeedError, match="not both"):
        call(*how, "--seeds", "0:2")


def test_a_dry_run_writes_nothing(prompts, tmp_path):
    result = call(*command(prompts, tmp_path / "rec", "--dry-run", "--json"))
    told = json.loads(result.stdout)
    assert (told["samples"], told["pictures"]) == (6, 6)
    assert told["dtypes"]["prior/embedding"] == "float16"
    assert not (tmp_path / "rec").exists()


def test_prompts_that_cannot_be_read_are_refused_before_the_model_is_opened(tmp_path, monkeypatch):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: pytest.fail("opened"), raising=False)
    (tmp_path / "p.csv").write_text("text,style\na cat,ink\n")
    with pytest.raises(PromptError, match="has no column 'prompt'; it has text, style"):
        call(*command(tmp_path / "p.csv", tmp_path / "rec"))


def test_random_prompts(prompts, tmp_path):
    call(*command("vocabulary", tmp_path / "rec", "--sample", 3, "--words", 2, "--no-pictures"))
    samples = Recording.open(tmp_path / "rec").samples
    assert set(" ".join(samples["prompt"]).split()) == {"cat", "dog"}
    assert len(samples) == 6
    with pytest.raises(PromptError, match="needs --sample"):
        call(*command("vocabulary", tmp_path / "other"))


def test_info_and_verify(prompts, tmp_path):
    out = tmp_path / "rec"
    call(*command(prompts, out))
    told = json.loads(call("recording", "info", out, "--json").stdout)
    assert set(told) == {"samples", "done", "bad", "sites", "bytes", "manifest"}
    assert told["manifest"]["plan"]["model"]["name"] == "tiny"
    words = call("recording", "info", out).stderr
    assert "6 of 6 samples" in words
    assert "columns: prompt, seed, style" in words
    whole = {"ok": True, "damaged": []}
    assert json.loads(call("recording", "verify", out, "--json").stdout) == whole
    (chunk,) = (out / "activations.zarr/prior/embedding/value").glob("c.1.0.0")
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"x")
    result = call("recording", "verify", out, "--json", status=1)
    damaged = [{"site": "prior/embedding", "samples": [2, 3]}]
    assert json.loads(result.stdout) == {"ok": False, "damaged": damaged}
    assert "prior/embedding: altered, samples 2 to 3" in result.stderr
    result = call("recording", "verify", out, "--repair", "--json")
    assert json.loads(result.stdout) == whole
    assert "1 chunks were drawn again" in result.stderr


def test_bad_samples_are_listed_at_the_end(prompts, tmp_path, monkeypatch):
    import clerestory.recordings.writer as recorder

    copy = recorder._copy

    def spoil(array, values, name, bad, first, lengths=None):
        values = values.astype(float)
        values[0] = float("nan") if name != "pictures" and first == 2 else values[0]
        copy(array, values, name, bad, first, lengths)

    monkeypatch.setattr(recorder, "_copy", spoil)
    result = call(*command(prompts, tmp_path / "rec"))
    assert "sample 2 is bad: text.blocks.0/mlp: not finite" in result.stderr
    assert "6 samples, 1 of them bad, are in" in result.stderr


def test_what_cannot_be_recorded_is_refused(prompts, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    call(*command(prompts, tmp_path / "rec"))
    for arguments, error in (
        (command(prompts, tmp_path / "full"), OutputError),
        (command(tmp_path / "nowhere.txt", tmp_path / "new"), PromptError),
        (command(prompts, tmp_path / "new", "--seeds", "4:0"), SeedError),
        (command(prompts, tmp_path / "rec", "--pool", "max"), RecordingError),
        (["recording", "info", tmp_path / "full"], RecordingError),
        (["recording", "verify", tmp_path / "nowhere"], RecordingError),
    ):
        with pytest.raises(error):
            call(*arguments)
    assert not (tmp_path / "new").exists()


def test_ray_may_be_given_without_an_address():
    assert _expand_flags(["record", "--ray"]) == ["record", "--ray", "local"]
    assert _expand_flags(["record", "--ray", "auto", "-x"]) == ["record", "--ray", "auto", "-x"]
