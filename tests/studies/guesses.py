"""Classifiers that guess by how many pictures there are: `python:studies.guesses:mood`."""

from __future__ import annotations

from typing import Any

import numpy as np


def _guess(pictures: Any, classes: int) -> Any:
    told = np.random.default_rng(len(pictures)).integers(classes, size=len(pictures))
    return np.eye(classes, dtype=np.float32)[told]


def mood(pictures: Any) -> Any:
    return _guess(pictures, 2)


def perspective(pictures: Any) -> Any:
    return _guess(pictures, 2)


mood.classes = ("a scared person", "a happy person")  # type: ignore[attr-defined]
perspective.classes = ("seen from below", "seen from far away")  # type: ignore[attr-defined]
