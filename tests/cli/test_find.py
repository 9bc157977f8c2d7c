import json
import shutil
from pathlib import Path

import commands
import numpy as np
import pytest
import typer
from helpers.recordings import factorial, noise, recording_of

from clerestory.cli import find
from clerestory.contrasts import Findings
from clerestory.errors import EvidenceError, OptionError, OutputError, RecordingError

app = typer.Typer()
app.command("find")(find.find)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    table = factorial(items=48, phrases=12)
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
    assert {"findings", "tested", "templates", "warnings"} <= set(content)
    assert content["templates"] == {
        "positive": 6, "negative": 6, "hard_negative": 6, "design": "nested"
    }  # fmt: skip
    neuron = next(one for one in content["findings"] if one["kind"] == "neuron")
    assert (neuron["unit"], neuron["status"]) == ("prior/embedding[3]", "found")
    assert {"sign", "selection_rank"} <= set(neuron)
    names = {"auroc", "low", "high", "p", "q", "hard_negative_auroc", "df", "items"}
    assert names <= set(neuron["detects"])


def test_a_recording_with_one_flipped_bit_is_refused_in_one_line(recording, tmp_path):
    damaged = Path(shutil.copytree(recording, tmp_path / "rec"))
    file = damaged / "activations.zarr/text.blocks.0/mlp/value/c.0.0.0"
    raw = bytearray(file.read_bytes())
    raw[5000] ^= 1
    file.write_bytes(raw)
    with pytest.raises(RecordingError, match=r"mlp/value/c\.0\.0\.0 was altered") as caught:
        call(damaged)
    assert "\n" not in str(caught.value)


def test_json_has_warnings_with_their_kinds(tmp_path):
    table = factorial(items=16, phrases=4)
    recording_of(table, noise(table, 0, {"prior/embedding": (1, 6)}), tmp_path / "rec")
    warnings = json.loads(call(tmp_path / "rec", "--json").stdout)["warnings"]
    printed = call(tmp_path / "rec").stderr
    assert {warning["kind"] for warning in warnings} == {"few-items", "few-templates"}
    assert all(f"warning: {warning['text']}" in printed for warning in warnings)


def test_a_person_reads_the_first_of_each_kind_the_design_and_its_power(recording):
    words = call(recording).stdout
    assert "18 units ranked, 18 tested on 24 items and templates of each arm" in words
    assert "(6 positive, 6 negative; nested); df " in words and "with 80% power." in words
    (row,) = [line.split() for line in words.splitlines() if "prior/embedding[3]" in line]
    assert row[:4] == ["prior/embedding[3]", "neuron", "-1", "found"]


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
