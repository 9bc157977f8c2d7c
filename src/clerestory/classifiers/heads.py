"""Classifiers that share one network: a head for each factor of a world."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier

__all__ = ["ClassifierHead", "factor_of"]


@runtime_checkable
class ClassifierHead(Classifier, Protocol):
    """A classifier that is one of several heads of a network, each for one factor.

    Pass the same array to several heads one after another: the network may cache its last features.
    """

    @property
    def factor(self) -> str:
        """The factor that this head predicts, such as `style`."""

    @property
    def companions(self) -> tuple[str, ...]:
        """Names of the other heads of the network, as `load_classifier` takes them."""

    @property
    def network(self) -> str:
        """Name of the network in reports."""

    def features(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of pictures, the input of all heads.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            `[n, feature]`.
        """

    def accuracy(self) -> tuple[int, int]:
        """Number of correctly classified held-out pictures, and number of all of them."""


def factor_of(name: str, classifier: Classifier) -> str:
    """A short name for tables: a head's factor, else the classifier's whole name.

    Args:
        name: The classifier's whole name.
        classifier: The classifier.

    Returns:
        The short name.
    """
    return classifier.factor if isinstance(classifier, ClassifierHead) else name
