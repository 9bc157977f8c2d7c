"""Mutated files: they can be used, or are refused; CLERESTORY_FUZZ=5000 tries many more.

What failed once is kept in `seeds/`, a file a kind, and tried again each time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .bounds import refusal
from .conftest import HOME, examples
from .fuzzing import Mutation, mutate, mutations
from .kinds import KINDS, Kind

SEEDS = Path(__file__).with_name("seeds")


def tried(kind: Kind, valid: Path, changes: list[Mutation]) -> None:
    """Use a mutated copy; anything but a ClerestoryError is raised."""
    with tempfile.TemporaryDirectory() as room:
        folder = Path(shutil.copytree(valid, Path(room) / HOME))
        for change in changes:
            mutate(kind, folder, change)
        refusal(kind, folder)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of diffusers, at an older configuration
@pytest.mark.parametrize("name", KINDS)
def test_mutated_files_are_used_or_refused(name, valid):
    kind = KINDS[name]

    @settings(
        max_examples=max(2, int(examples() * kind.share)),
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(mutations())
    def fuzz(changes: list[Mutation]) -> None:
        tried(kind, valid(name), changes)

    fuzz()


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("path", sorted(SEEDS.glob("*.json")), ids=lambda path: path.stem)
def test_what_failed_once_is_used_or_refused(path, valid):
    for changes in json.loads(path.read_text()):
        tried(KINDS[path.stem], valid(path.stem), [Mutation(*change) for change in changes])
