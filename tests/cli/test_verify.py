import json

import commands
import pytest
import typer
from contrasts import causal, test_verifying

from clerestory.cli import model_options as opening
from clerestory.cli import verify
from clerestory.errors import EvidenceError, OutputError

found = test_verifying.found
app = typer.Typer()
app.command("verify")(verify.verify)
app.callback()(lambda: None)


@pytest.fixture
def folder(found, tmp_path, monkeypatch):
    found.save(tmp_path / "findings")
    monkeypatch.setattr(opening.ModelOptions, "open", lambda self: causal.model())
    monkeypatch.setattr("clerestory.causal.trace.named", lambda name: causal.Light())
    return tmp_path / "findings"


def call(folder, *more):
    asked = ["--classifier", "python:causal:light", "--class", "light", "--contents", 8]
    return commands.call(app, "verify", folder, *asked, *more)


def test_json_has_the_names_that_scripts_rely_on(folder):
    told = json.loads(call(folder, "--json").stdout)
    assert {"controls", "where", "when"} <= set(told)
    one = told["controls"][0]
    assert {"effect", "low", "high"} == set(one["ablation"]) == set(one["patching"])


def test_both_columns_are_printed_and_maps_written(folder, tmp_path):
    words = call(folder, "--unit", "text.blocks.0/mlp[0]", "--out", tmp_path / "out").stdout
    row = next(line for line in words.splitlines() if line.startswith("text.blocks.0/mlp[0]"))
    assert row.split()[1:3] == ["1.000", "1.00"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["causes.json", "when.png", "where.png"]
    assert "1 controls 'light'" in words


def test_a_taken_folder_and_no_findings_are_refused(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(OutputError):
        call(folder, "--out", tmp_path / "full")
    with pytest.raises(EvidenceError, match="holds no findings"):
        call(tmp_path / "full")
