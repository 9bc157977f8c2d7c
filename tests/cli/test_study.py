from __future__ import annotations

import json
from pathlib import Path

import pytest
from study import miniature
from tiny import tiny_model
from typer.testing import CliRunner

import clerestory.models
import clerestory.study
from clerestory.cli import study
from clerestory.errors import OutputError, RegistryError
from clerestory.study import Definition


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """`study run` on the miniature study and a tiny pipeline, with stub classifiers."""
    run = clerestory.study.run
    monkeypatch.setattr(clerestory.models, "load", lambda name, **how: tiny_model())
    monkeypatch.setattr(Definition, "load", lambda name: miniature.definition())
    monkeypatch.setattr(
        clerestory.study, "run", lambda *args, **how: run(*args, lookup=miniature.stubs, **how)
    )


def test_list_json_is_a_list_of_names_and_questions() -> None:
    said = json.loads(CliRunner().invoke(study.app, ["list", "--json"]).stdout)
    assert [set(one) for one in said] == [{"name", "question"}]
    assert said[0]["name"] == "stained-glass"


@pytest.mark.usefixtures("tiny")
def test_run_prints_one_object_to_stdout_and_the_plan_and_the_report_to_stderr(
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    came = CliRunner().invoke(study.app, ["run", "any", "--out", str(out), "--json"])
    assert came.exit_code == 0, came.output
    assert json.loads(came.stdout) == json.loads((out / "results.json").read_text())
    assert "99 pictures are drawn" in came.stderr
    assert came.stderr.splitlines()[-1] == f"The report is {out / 'report.html'}"


def test_a_folder_in_use_and_an_unknown_study_are_refused_before_a_model_is_opened(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine").touch()
    came = CliRunner().invoke(study.app, ["run", "stained-glass", "--out", str(tmp_path)])
    assert isinstance(came.exception, OutputError)
    came = CliRunner().invoke(study.app, ["run", "stained-glas", "--out", str(tmp_path)])
    assert isinstance(came.exception, RegistryError)
