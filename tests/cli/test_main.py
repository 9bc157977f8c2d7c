"""The command line as a user meets it: a process, its two streams, its exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LONG = " ".join(["moose"] * 60)


def clerestory(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "clerestory", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_version_is_said():
    assert clerestory("--version").stdout.startswith("clerestory 0.")


def test_the_studies_are_listed_without_a_model():
    done = clerestory("study", "list")
    assert done.returncode == 0
    assert "stained-glass" in done.stdout


@pytest.mark.weights
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("draw", "a cat", "--model", "lancelot"), "Did you mean lancet"),
        (("draw", " "), "empty"),
        (("draw", LONG), "moose"),
        (("draw", "a cat", "--seeds", "4:2"), "4:2"),
        (("draw", "a cat", "--seeds", "many"), "many"),
    ],
    ids=["unknown model", "empty prompt", "long prompt", "empty range", "no seeds"],
)
def test_bad_input_is_one_line_and_status_1_and_nothing_is_written(tmp_path, words, expected):
    out = tmp_path / "out"
    done = clerestory(*words, "--out", str(out))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert expected in done.stderr
    assert not out.exists()


@pytest.mark.weights
def test_an_unknown_site_names_the_nearest():
    done = clerestory("sites", "text.blocks.1/mpl")
    assert done.returncode == 1
    assert "text.blocks.1/mlp" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.weights
def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine")
    done = clerestory("draw", "a cat", "--out", str(tmp_path))
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_without_arguments_the_help_is_shown():
    done = clerestory()
    assert "Traceback" not in done.stderr
    assert "record" in done.stdout + done.stderr


@pytest.mark.weights
def test_a_prompt_in_another_encoding_says_how_to_set_one(tmp_path):
    import os

    command = [sys.executable, "-W", "ignore", "-m", "clerestory", "draw", "a caf\u00e9"]
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **plain},
    )
    assert done.returncode == 1
    assert "PYTHONUTF8=1" in done.stderr and len(done.stderr.strip().splitlines()) == 1
