"""Commands of plug-ins: listed by name, imported when used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = """
import typer
app = typer.Typer(help="Greetings.", no_args_is_help=True)

@app.callback()
def greetings():
    "Greetings."

@app.command()
def hello(name: str):
    print(f"Hello, {name}!")
"""


@pytest.fixture
def plugged(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine where a package with the commands `greet` is installed."""
    (tmp_path / "greeting.py").write_text(PACKAGE)
    (tmp_path / "broken.py").write_text("raise RuntimeError('no luck')\n")
    written = tmp_path / "greeting-1.0.dist-info"
    written.mkdir()
    (written / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n")
    entries = "[clerestory.commands]\ngreet = greeting:app\nbroken = broken:app\n"
    (written / "entry_points.txt").write_text(entries)
    before = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, [str(tmp_path), before]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "TERM": "dumb"}


def run(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clerestory", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_plug_in_is_listed_by_its_name_and_not_imported(plugged: dict[str, str]) -> None:
    done = run(plugged, "--help")
    assert done.returncode == 0
    assert "greet" in done.stdout and "broken" in done.stdout
    assert "no luck" not in done.stdout + done.stderr


def test_a_command_of_a_plug_in_runs(plugged: dict[str, str]) -> None:
    assert run(plugged, "greet", "hello", "moose").stdout == "Hello, moose!\n"
    assert "hello" in run(plugged, "greet", "--help").stdout


def test_a_plug_in_that_cannot_be_imported_is_one_line(plugged: dict[str, str]) -> None:
    done = run(plugged, "broken", "hello")
    assert done.returncode == 1
    assert done.stderr == "clerestory: The plug-in broken:app cannot be used: no luck\n"
    assert run(plugged, "greet", "--help").returncode == 0
