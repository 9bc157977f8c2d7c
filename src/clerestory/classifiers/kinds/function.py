"""A classifier of your own: any function or object in a module that can be imported.

# mine.py
classes = ("dark", "light")
def brightness(pictures):                       # [n, height, width, 3] uint8
    light = pictures.mean((1, 2, 3)) / 255
    return np.stack([1 - light, light], 1)      # [n, class], each row adds up to 1
brightness.classes = classes

classifier("python:mine:brightness")
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, families, is_given
from clerestory.errors import ModelError, RegistryError
from clerestory.types import Role

__all__ = ["Own"]


@dataclass(frozen=True)
class Own:
    """A function with `classes`, checked each time that it answers."""

    source: str
    classes: tuple[str, ...]
    answer: Callable[[NDArray[np.uint8]], Any]
    mark: str = ""

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[n, class]`; ModelError where the function gives anything else."""
        odds = np.asarray(self.answer(pictures), np.float32)
        expected = (len(pictures), len(self.classes))
        fine = odds.shape == expected and np.allclose(odds.sum(-1), 1, atol=1e-3)
        if not fine or (odds < 0).any():
            raise ModelError(
                f"{self.source} gave {list(odds.shape)}; [n, class] probabilities "
                f"{list(expected)} are expected, each row adding up to 1."
            )
        return odds


@families.register("python")
def own_classifier(name: str, role: Role) -> Classifier:
    """`python:MODULE:FUNCTION`: a function of yours, with an attribute `classes`."""
    called = f"python:{name}"
    if not is_given(called):
        raise RegistryError(
            f"{called[:80]!r} is code, and comes from a file, which cannot bring any. If you trust "
            f"it, name it yourself: --classifier NAME={' '.join(called[:80].split())}"
        )
    module, _, function = name.partition(":")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # as `python -m` has it, and a console script has not
    try:
        home = importlib.import_module(module)
        answer = getattr(home, function)
        classes = tuple(map(str, () if isinstance(answer.classes, str) else answer.classes))
    except Exception as error:  # the module's own code may raise anything
        reason = " ".join(str(error).split())[:160]
        raise RegistryError(
            f"python:{name} cannot be used: {reason}. Write python:MODULE:FUNCTION, and give the "
            "function an attribute `classes`."
        ) from error
    return Own(f"python:{name}", classes, answer, _code(home))


def _code(module: Any) -> str:
    """The module's text, so that labels of an older version are not taken for its."""
    try:
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""
