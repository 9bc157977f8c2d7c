"""A microscope of a tiny model, built once."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
from tiny import tiny_model

from clerestory.microscope import build
from clerestory.recordings import Recording, record

LETTERS = "abcdefghijklmnopqrst"
PROMPTS = [
    " ".join(words)
    for words in itertools.product(("a", "the"), ("cat", "dog"), ("in", "on", "by"), LETTERS)
]
BASE = "http://127.0.0.1:8642"
MLP, MIDDLE = "text.blocks.1/mlp", "denoiser.mid.res.0/out"


@pytest.fixture(scope="session")
def model():
    return tiny_model(window=64)


@pytest.fixture(scope="session")
def recorded(model, tmp_path_factory) -> list[Recording]:
    """Text sites with pooled positions, and one of the denoiser with all of them."""
    folder = tmp_path_factory.mktemp("recorded")
    sites = {MLP: "mean", MIDDLE: "none"}
    for number, (site, pool) in enumerate(sites.items()):
        record(model, PROMPTS, sites=site, pool=pool, out=folder / str(number))
    return [Recording.open(folder / str(number)) for number in range(2)]


@pytest.fixture(scope="session")
def built(recorded, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "scope"
    build(recorded, folder)
    return folder


@pytest.fixture
def scope(built, tmp_path) -> Path:
    """A copy of one's own, without themes."""
    return Path(shutil.copytree(built, tmp_path / "scope"))
