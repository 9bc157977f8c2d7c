from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from tiny import tiny_model

from clerestory.recordings import record

MINE = """
import numpy as np
calls = []
def brightness(pictures):
    calls.append(len(pictures))
    light = pictures.mean((1, 2, 3)) / 255
    return np.stack([1 - light, light], 1)
brightness.classes = ("dark", "light")
def face(pictures):
    first = pictures[:, 0, 0, 0] > 127
    return np.stack([first, ~first], 1).astype(float)
face.classes = ("present", "none")
def wrong(pictures):
    return np.ones((len(pictures), 3))
wrong.classes = ("a", "b")
def without(pictures):
    return np.ones((len(pictures), 2)) / 2
def twice(pictures):
    return np.ones((len(pictures), 2)) / 2
twice.classes = ("a", "a")
def spelt(pictures):
    return np.ones((len(pictures), 4)) / 4
spelt.classes = "dark"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "mine_for_tests.py").write_text(MINE)
    (tmp_path / "broken_for_tests.py").write_text("def f(:")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield __import__("mine_for_tests")
    sys.modules.pop("mine_for_tests")


@pytest.fixture
def recording(tmp_path: Path) -> Any:
    how: Any = {"sites": "text/pooled", "steps": 2, "prior_steps": 2, "batch": 2, "chunk": 4}
    return record(tiny_model(), ["a cat", "a dog"], range(4), out=tmp_path / "rec", **how)
