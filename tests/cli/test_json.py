"""`--json`: stdout is one document of strict JSON, whatever else is printed; nothing on an error.

Commands that write are called with it in `interrupts/test_in_process.py` as well.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.valid import SITE, Valid
from interrupts.points import ended
from interrupts.table import STUDY, Small
from studies.fakes import fake_study
from tiny import tiny_model

from clerestory.errors import ModelError
from clerestory.studies import Study


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Valid:
    return Small(tmp_path_factory.mktemp("valid"))


def document(words: list[object], folder: Path, status: int = 0) -> Any:
    result = ended([*words, "--json"], folder)
    assert result.status == status, result.err
    return json.loads(result.out, parse_constant=pytest.fail)


def test_commands_that_only_print(
    valid: Valid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = valid._opened
    for load in ("clerestory.load", "clerestory.models.load"):
        monkeypatch.setattr(load, lambda *_, **__: model)
    assert len(document(["sites"], tmp_path)) == len(model.sites)
    assert document(["doctor", "any", "--size", "16"], tmp_path)["checks"]
    assert document(["recording", "info", valid.recording], tmp_path)["samples"] == 200
    (edit,) = document(["steer", "show", valid.steered], tmp_path)["edits"]
    assert edit["site"] == "prior/embedding"
    assert "mood" in [study["name"] for study in document(["study", "list"], tmp_path)]
    assert document(["study", "show", "mood"], tmp_path)["name"] == "mood"
    monkeypatch.setattr(Study, "load", lambda name, scale: fake_study(STUDY))
    assert "pictures" in document(["study", "run", "any", "--dry-run"], tmp_path)
    how = ["--sites", SITE, "--steps", 2, "--size", 16, "--dry-run"]
    words = ["record", "--prompts", valid.prompts, "--out", tmp_path / "out", *how]
    assert document(words, tmp_path)["samples"] == 2


def test_what_others_print_is_no_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        sys.stdout.write("loading …\n")
        return tiny_model()

    monkeypatch.setattr("clerestory.load", load)
    result = ended(["sites", "--json"], tmp_path)
    assert len(json.loads(result.out)) == len(tiny_model().sites)
    assert "loading …" in result.err
    # Without the option stdout is left alone.
    assert ended(["sites"], tmp_path).out.startswith("loading …")


def test_stdout_is_empty_where_a_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> Any:
        sys.stdout.write("loading …\n")
        raise ModelError("It has no weights.")

    monkeypatch.setattr("clerestory.load", load)
    result = ended(["sites", "--json"], tmp_path)
    assert (result.status, result.out) == (1, "")
    assert result.err == "loading …\nclerestory: It has no weights.\n"


def test_programs_and_libraries_in_c_do_not_reach_it_either() -> None:
    code = (
        "import os, sys\nfrom clerestory.cli import console\nstdout = sys.stdout\n"
        "with console.reserve_stdout():\n"
        "    os.write(1, b'from C\\n')\n    os.system('echo from a program')\n"
        "    print('from Python')\n    print('from a log', file=stdout)\n"
        "    console.write_json({'naïve': float('nan')})\nprint('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, _, after = done.stdout.partition("}\n")
    assert json.loads(first + "}") == {"naïve": None} and after == "after\n"
    for origin in ("C", "a program", "Python", "a log"):
        assert f"from {origin}\n" in done.stderr
