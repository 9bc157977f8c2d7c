import json

import commands
import numpy as np
import pytest
import typer
from helpers.recordings import factorial, noise, recording_of

from clerestory.cli import find
from clerestory.contrasts import Findings
from clerestory.errors import EvidenceError, OptionError, OutputError

app = typer.Typer()
app.command("find")(find.find)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    table = factorial(items=48, templates=6)
    arrays = noise(table, 0, {"prior/embedding": (1, 6), "text.blocks.0/mlp": (1, 6)})
    arrays["prior/embedding"][(table["style"] == "glass").to_numpy(), 0, 3] -= 5
    folder = tmp_path_factory.mktemp("find") / "rec"
    recording_of(table, arrays, folder)
    return folder


def call(recording, *more):
    options = [
        "--positive",
        "style == 'glass'",
        "--negative",
        "style == 'plain'",
        "--match",
        "subject",
    ]
    return commands.call(app, "find", recording, *options, *more)


def test_json_has_the_names_that_scripts_rely_on(recording):
    content = json.loads(call(recording, "--hard-negative", "style == 'window'", "--json").stdout)
    assert {"findings", "tested", "null"} <= set(content)
    assert set(content["null"]) == {"flips", "any_found"}
    neuron = next(one for one in content["findings"] if one["kind"] == "neuron")
    assert neuron["unit"] == "prior/embedding[3]"
    names = {"auroc", "low", "high", "win_rate", "win_low", "q", "hard_negative_auroc", "pairs"}
    assert names <= set(neuron["detects"])


def test_a_person_reads_the_best_of_each_kind_and_what_noise_would_find(recording):
    words = call(recording).stdout
    assert "18 units tested; figures are of 24 held-out items" in words
    (row,) = [line.split() for line in words.splitlines() if "prior/embedding[3]" in line]
    assert row[:4] == ["prior/embedding[3]", "neuron", "-1", "1"]
    assert "of 200 data sets have a finding" in words


def test_the_folder_holds_findings_and_maps(recording, tmp_path):
    call(recording, "--out", tmp_path / "out", "--kind", "neuron", "--top", 3)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    files = ["directions.safetensors", "findings.json", "map-neurons.png", "samples.parquet"]
    assert names == files
    found = Findings.load(tmp_path / "out")
    assert found.top_ranked("neuron").sign == -1
    assert np.isfinite(found.findings[0].detects.auroc)


def test_what_cannot_be_asked_is_refused(recording, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for more, error in (
        (["--out", tmp_path], OutputError),
        (["--template", "wording"], EvidenceError),
        (["--hard-negative", "style == 'oil'"], EvidenceError),
        (["--classifier", "mood"], OptionError),
    ):
        with pytest.raises(error):
            call(recording, *more)


def test_an_empty_query_is_refused_by_the_name_of_its_option(recording):
    with pytest.raises(OptionError, match="--negative is empty"):
        commands.call(app, "find", recording, "--positive", "style == 'glass'", "--negative", "")
