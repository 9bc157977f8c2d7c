"""A function of your own, in a module that can be imported.

# mine.py
def brightness(pictures):                       # [n, height, width, 3] uint8
    light = pictures.mean((1, 2, 3)) / 255
    return np.stack([1 - light, light], 1)      # [n, class], each row adds up to 1
brightness.classes = ("dark", "light")

load_classifier("python:mine:brightness")
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

from clerestory.checks import number_array
from clerestory.classifiers.base import Classifier, classifier_kinds, is_trusted
from clerestory.errors import ModelError, RegistryError, describe_error
from clerestory.types import Floats, Pictures, Role

__all__ = ["FunctionClassifier"]


@dataclass(frozen=True)
class FunctionClassifier:
    """A function, whose result is checked each time.

    Attributes:
        source: `python:MODULE:FUNCTION`.
        classes: The function's attribute of that name.
        function: The function.
        digest: Source code of the module, which distinguishes versions of the function.
        log_probabilities: The function's attribute of that name, for gradients: from a torch tensor
            of pictures, from 0 to 1, to `[n, class]`; None without.
    """

    source: str
    classes: tuple[str, ...]
    function: Callable[[Pictures], Any]
    digest: str = ""
    log_probabilities: Callable[[Any], Any] | None = None

    def __call__(self, pictures: Pictures) -> Floats:
        """Probabilities `[n, class]`; ModelError where the function gives anything else."""
        values = number_array(ModelError, f"What {self.source} gave", self.function(pictures))
        probabilities = values.astype(np.float32)
        expected = (len(pictures), len(self.classes))
        # 1e-3: the sum of a softmax in half precision is that far from 1.
        sums_to_one = probabilities.shape == expected and np.allclose(
            probabilities.sum(-1), 1, atol=1e-3
        )
        if not sums_to_one or (probabilities < 0).any():
            raise ModelError(
                f"{self.source} gave {list(probabilities.shape)}; [n, class] probabilities "
                f"{list(expected)} are expected, each row adding up to 1."
            )
        return probabilities


@classifier_kinds.register("python")
def open_function(name: str, role: Role) -> Classifier:
    """`python:MODULE:FUNCTION`: a function of yours, with an attribute `classes`.

    Args:
        name: `MODULE:FUNCTION`.
        role: Not used: the function both selects and evaluates.

    Returns:
        The classifier.

    Raises:
        RegistryError: The name comes from a file, the function cannot be imported, or it has no
            classes.
    """
    source = f"python:{name}"
    if not is_trusted(source):
        raise RegistryError(
            f"{source[:80]!r} is code, and comes from a file, which cannot bring any. If you trust "
            f"it, name it yourself: --classifier NAME={' '.join(source[:80].split())}"
        )
    module_name, _, function_name = name.partition(":")
    # `python -m` searches the current folder, but a console script does not.
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
        function = getattr(module, function_name)
        # A string would be taken as a sequence of one-letter classes.
        names = () if isinstance(function.classes, str) else function.classes
        classes = tuple(map(str, names))
    except Exception as error:  # importing a module can raise anything
        raise RegistryError(
            f"{source} cannot be used: {describe_error(error)}. Write python:MODULE:FUNCTION, and "
            "give the function an attribute `classes`."
        ) from error
    differentiable = getattr(function, "log_probabilities", None)
    return FunctionClassifier(source, classes, function, _source_code(module), differentiable)


def _source_code(module: Any) -> str:
    try:
        # The whole module: a function may call others beside it.
        return inspect.getsource(module)
    except (OSError, TypeError):
        return ""
