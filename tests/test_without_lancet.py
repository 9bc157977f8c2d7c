"""The workbench without its embedded models: it imports, helps and works on any pipeline."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.metadata import write_metadata

TESTS = Path(__file__).parent
HIDE = """
import sys
from importlib.abc import MetaPathFinder

class Hidden(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "lancet":
            raise ImportError("lancet is hidden")

sys.meta_path.insert(0, Hidden())
"""
IMPORT_ALL = """
import importlib, pkgutil
import clerestory
for module in pkgutil.walk_packages(clerestory.__path__, "clerestory."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
for name in clerestory.__all__:
    getattr(clerestory, name)
"""
GENERIC = (
    "models/test_hooks.py",
    "models/test_seeds.py",
    "edits/test_edits.py",
    "evaluation/test_engine.py",
    "studies/test_runner.py",
    "studies/test_refusals.py",
)
"""Tests of the workbench that need no particular model."""


@pytest.fixture
def hidden(tmp_path: Path) -> dict[str, str]:
    """The environment of processes that cannot import `lancet`."""
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "TERM": "dumb"}


@pytest.fixture
def absent(hidden: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same, where no package declares `lancet` either."""
    write_metadata(tmp_path, {("console_scripts", "clerestory", "clerestory.cli.main:main")})
    return hidden


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=TESTS, capture_output=True, text=True
    )


def test_lancet_is_hidden(hidden: dict[str, str]) -> None:
    assert "lancet is hidden" in python(hidden, "-c", "import lancet").stderr


def test_every_module_and_public_name_is_imported(hidden: dict[str, str]) -> None:
    done = python(hidden, "-c", IMPORT_ALL)
    assert done.returncode == 0, done.stderr


def test_help_lists_commands_by_the_names_of_entry_points(hidden: dict[str, str]) -> None:
    done = python(hidden, "-m", "clerestory", "--help")
    assert done.returncode == 0, done.stderr
    assert "record" in done.stdout and "lancet" in done.stdout
    used = python(hidden, "-m", "clerestory", "lancet", "facts")
    assert used.returncode == 1 and "lancet.cli:app cannot be used" in used.stderr


def test_without_a_plug_in_no_model_is_the_default(absent: dict[str, str]) -> None:
    done = python(absent, "-m", "clerestory", "draw", "a cat")
    assert done.returncode != 0 and "Traceback" not in done.stderr
    listed = python(absent, "-m", "clerestory", "study", "list", "--json")
    assert listed.stdout.strip() == "[]"


@pytest.mark.slow
def test_generic_tests_pass(absent: dict[str, str]) -> None:
    environment = {**absent, "HF_HUB_OFFLINE": "1"}
    # The tests' own conftest would bring the entry points back.
    options = ("-m", "pytest", "--noconftest", "-q", "-m", "not slow and not weights")
    done = python(environment, *options, "-p", "no:cacheprovider", *GENERIC)
    assert done.returncode == 0, done.stdout[-3000:]
