import json

import commands
import pytest
import typer
from causal import test_verification
from helpers import planted_cause

from clerestory.cli import model_options as opening
from clerestory.cli import verify
from clerestory.errors import EvidenceError, OutputError

found = test_verification.found
app = typer.Typer()
app.command("verify")(verify.verify)
app.callback()(lambda: None)


@pytest.fixture
def folder(found, tmp_path, monkeypatch):
    found.save(tmp_path / "findings")
    monkeypatch.setattr(opening.ModelOptions, "open", lambda self: planted_cause.model())
    return tmp_path / "findings"


def call(folder, *more):
    options = [
        "--classifier",
        "python:helpers.planted_cause:light",
        "--label",
        "light",
        "--items",
        16,
        "--other",
        "python:helpers.planted_cause:parity",
    ]
    return commands.call(app, "verify", folder, *options, *more)


def test_json_has_the_names_that_scripts_rely_on(folder):
    content = json.loads(call(folder, "--json").stdout)
    assert {"effects", "where", "when", "provenance"} <= set(content)
    effect = content["effects"][0]
    assert {"status", "p", "q", "side_effects", "within_bound", "together_with"} <= set(effect)
    assert {"effect", "low", "high"} == set(effect["ablation"]) == set(effect["patching"])


def test_both_columns_are_printed_and_maps_written(folder, tmp_path):
    words = call(folder, "--unit", "text.blocks.0/mlp[0]", "--out", tmp_path / "out").stdout
    row = next(
        line for line in words.splitlines() if line.strip().startswith("text.blocks.0/mlp[0]")
    )
    assert row.split()[:5] == ["text.blocks.0/mlp[0]", "neuron", "1", "supported", "1"]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["effects.json", "when.png", "where.png"]
    assert "Of 1 unit, 1 controls 'light'" in words


def test_a_taken_folder_and_no_findings_are_refused(folder, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(OutputError):
        call(folder, "--out", tmp_path / "full")
    with pytest.raises(EvidenceError, match="holds no findings"):
        call(tmp_path / "full")
