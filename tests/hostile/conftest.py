"""Valid examples, made once; how much is fuzzed: CLERESTORY_FUZZ=5000 for so many of each kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .kinds import KINDS

Copied = Callable[[str], Path]
HOME = "hostile-folder"


@pytest.fixture(scope="session")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A valid one of a kind; not to be touched."""
    made: dict[str, Path] = {}

    def find(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp(name) / "valid"
            KINDS[name].make(made[name])
        return made[name]

    return find


@pytest.fixture
def copied(valid: Callable[[str], Path], tmp_path: Path) -> Copied:
    """A fresh copy of a valid one."""

    def copy(name: str) -> Path:
        place = tmp_path / HOME
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(valid(name), place))

    return copy


def examples() -> int:
    """How many examples of each kind."""
    return int(os.environ.get("CLERESTORY_FUZZ", "20"))
