"""Types that every package shares: progress callbacks and aliases of arrays."""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bools",
    "ClaimStatus",
    "Floats",
    "Integers",
    "LossProgress",
    "Pictures",
    "Progress",
    "ProgressOption",
    "Role",
]

Pictures: TypeAlias = NDArray[np.uint8]
"""RGB pictures, 0 to 255; the last three axes are height, width, 3."""
Floats: TypeAlias = NDArray[np.floating[Any]]
"""Real numbers of any precision; docstrings give the axes."""
Integers: TypeAlias = NDArray[np.integer[Any]]
"""Class indices, seeds or counts."""
Bools: TypeAlias = NDArray[np.bool_]
"""Masks and outcomes of trials."""
Role: TypeAlias = Literal["selection", "evaluation"]
"""Of two sets of classifiers: the one that selects, or the other, which only evaluates."""
ClaimStatus: TypeAlias = Literal["supported", "not supported", "undecided"]
"""What the evidence says of a claim."""


@runtime_checkable
class Progress(Protocol):
    """Receives the progress of a piece of work."""

    def __call__(self, label: str, completed: int, total: int, /) -> None:
        """Report one update.

        Args:
            label: The piece of work, such as `drawing`.
            completed: Number of completed units.
            total: Number of all units.
        """


class LossProgress(Protocol):
    """A `Progress` that shows the loss of a training as well."""

    def __call__(
        self, label: str, completed: int, total: int, loss: float | None = None, /
    ) -> None:
        """Report one update, with the current loss where there is one."""


ProgressOption: TypeAlias = bool | Progress
"""True shows a bar where a person is looking (terminal, notebook), False is silent."""
