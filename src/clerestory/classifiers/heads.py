"""Classifiers that share one network: a head for each factor of a world."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier

__all__ = ["ClassifierHead", "factor_of"]


@runtime_checkable
class ClassifierHead(Classifier, Protocol):
    """A classifier that is one of several heads on one network, a head for each factor.

    A caller that asks several heads passes the same array to each, one after another: the network
    may keep what it computed last.
    """

    @property
    def factor(self) -> str:
        """What this head predicts, such as `style`."""

    @property
    def companions(self) -> tuple[str, ...]:
        """The names of the network's other heads, as `classifier` takes them."""

    @property
    def network(self) -> str:
        """What reports call the network."""

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What the heads read, `[n, feature]`, of pictures `[n, height, width, 3]`.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            Features, the same for all heads of the network.
        """

    def accuracy(self) -> tuple[int, int]:
        """How many held-out pictures this head has right, and of how many."""


def factor_of(name: str, classifier: Classifier) -> str:
    """A short name for tables: a head's factor, else the classifier's whole name.

    Args:
        name: The classifier's whole name.
        classifier: The classifier.

    Returns:
        The short name.
    """
    return classifier.factor if isinstance(classifier, ClassifierHead) else name
