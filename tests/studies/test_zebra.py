"""A style that Lancet does not know: the study that `study new` writes does not show it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import clerestory
from clerestory.cli.study import app


@pytest.mark.exhaustive
@pytest.mark.weights
def test_a_style_that_lancet_does_not_know_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lancet = clerestory.load("lancet")
    lancet.defaults = lancet.defaults.replace(steps=3, prior_steps=4)  # coarse, and sooner done
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: lancet)
    monkeypatch.chdir(tmp_path)
    came = CliRunner().invoke(app, ["new", "zebra-stripes"])
    assert came.exit_code == 0, came.output
    path = tmp_path / "zebra-stripes.toml"
    text = path.read_text()
    first = '"a cow in the style of {item}"'
    lines = [
        f"contexts = [{first}]" if line.startswith("contexts = ") else line
        for line in text.splitlines()
    ]
    path.write_text("\n".join(lines))  # one context: a third of the pictures
    came = CliRunner().invoke(app, ["run", str(path), "--out", "out", "--json"])
    assert came.exit_code == 0, came.output
    content = json.loads(came.stdout)
    assert content["status"] == "undecided", content["answer"]
    assert content["claims"][0]["id"].startswith("familiarity.words: ")
    assert content["claims"][0]["status"] == "undecided"
    assert {key for key, task in content["tasks"].items() if task["skip_reason"]} == {
        "record.styles",
        "find.style",
        "build.style",
    }
    assert not (tmp_path / "out" / "steered").exists()
    assert "Undecided" in (tmp_path / "out" / "report.html").read_text()
