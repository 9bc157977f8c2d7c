"""Erase a concept linearly (LEACE): afterwards no linear classifier predicts it."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from typing_extensions import override

from clerestory.arguments import checked
from clerestory.checks import number_array
from clerestory.edits.base import Affine, SiteEdit, affine_identity, edits, single_precision
from clerestory.errors import EditError

__all__ = ["Erase"]

MAX_CLASS_SHARE = 0.5
"""Limit of the number of classes, beyond two, as a share of the samples."""


@edits.register("erase")
@dataclass(frozen=True, eq=False)
class Erase(SiteEdit):
    """Removes all linear information on a concept from every position, with the smallest change.

    Computes `value - (value - mean) @ right.T @ left.T`; `Erase.fit` finds the factors. Source:
    Belrose et al. 2023 (LEACE), by the package concept-erasure.

    Attributes:
        left: `[unit, k]`.
        right: `[k, unit]`.
        mean: `[unit]`.
    """

    tensor_fields: ClassVar = {"left": "left", "right": "right", "mean": "mean"}

    left: Tensor = field(repr=False)
    right: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        units = self.mean.shape[0] if self.mean.ndim == 1 else -1
        matrices = (self.left.ndim, self.right.ndim) == (2, 2)
        if not matrices or self.left.shape != self.right.T.shape or len(self.left) != units:
            raise EditError(
                f"The factors of the eraser at {self.site} have shapes that do not fit: left "
                f"{list(self.left.shape)}, right {list(self.right.shape)}, mean "
                f"{list(self.mean.shape)}."
            )
        for name, tensor in self.tensors().items():
            single_precision(f"{self.site} ({name})", tensor)

    @classmethod
    @checked(EditError, options=("branch", "positions", "region"))
    def fit(cls, site: str, activations: ArrayLike, labels: ArrayLike, **options: Any) -> Self:
        """Fit the eraser of a concept. With few samples the covariance is shrunk.

        Args:
            site: Address of the site.
            activations: `[sample, unit]`.
            labels: `[sample]`: the class of each, or floats as scores of each. Of scores all that
                is linear in them is removed, which is one direction.
            **options: `branch`, `positions` and `region` of the edit.

        Returns:
            The edit, with float32 factors.

        Raises:
            EditError: There are fewer than two classes or scores, or nearly as many classes as
                samples, the lengths differ, or a value is not finite.
        """
        with warnings.catch_warnings():  # at import it compiles a function that is not used here
            warnings.simplefilter("ignore", DeprecationWarning)
            from concept_erasure import LeaceEraser

        # The fit inverts a covariance, which float32 does badly; the factors are kept in float32.
        values = torch.as_tensor(
            number_array(EditError, f"The array of activations for {site}", activations)
        )
        concept = _concept(site, np.asarray(labels))
        if values.ndim != 2 or len(values) != len(concept):
            raise EditError(
                f"An eraser at {site} needs activations [sample, unit] and a label of each; got "
                f"{list(values.shape)} and {len(concept)} labels."
            )
        if not values.isfinite().all():
            raise EditError(f"The activations for an eraser at {site} are not all finite.")
        try:
            eraser = LeaceEraser.fit(values, torch.as_tensor(concept), constrain_cov_trace=False)
        except RuntimeError:  # products of the activations are beyond float64
            raise EditError(f"The activations for an eraser at {site} are too large.") from None
        # concept-erasure types its bias as optional; it is the mean of the activations.
        bias = values.mean(0) if eraser.bias is None else eraser.bias
        factors = (eraser.proj_left, eraser.proj_right, bias)
        return cls(site, *(factor.float().contiguous() for factor in factors), **options)

    @property
    @override
    def units(self) -> int:
        return len(self.mean)

    @override
    def __call__(self, value: Tensor) -> Tensor:
        self.check_units(value.shape[-1])
        factors = (self.left, self.right, self.mean)
        left, right, mean = (factor.to(value.device) for factor in factors)
        centred = value.float() - mean
        # Factors rather than their product, which is a matrix of the site's full width.
        return (value - centred @ right.T @ left.T).to(value.dtype)

    @override
    def as_affine(self, units: int) -> Affine:
        # (I - L R) x + L R mean
        removed = self.left.double() @ self.right.double()
        return Affine(affine_identity(units).matrix - removed, removed @ self.mean.double())


def _concept(site: str, labels: NDArray[Any]) -> NDArray[np.float64]:
    """What is to be unpredictable, `[sample, k]`: scores, or an indicator of each class."""
    if labels.ndim != 1:
        raise EditError(f"The labels for {site} have shape {list(labels.shape)}; give [sample].")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise EditError(f"The labels for {site} are not all finite.")
    if labels.dtype.kind == "O":  # as pandas holds texts
        texts = all(isinstance(each, str) for each in labels)
        labels = labels.astype(str) if texts else labels
    if labels.dtype.kind not in "biufSU":
        raise EditError(
            f"The labels for {site} are {labels.dtype} values: give a text or a number of each "
            "sample, without missing ones."
        )
    names = np.unique(labels)
    if len(names) < 2:
        raise EditError(f"An eraser at {site} needs two classes or more; got {len(names)}.")
    # Whole numbers are classes, also as floats, which a table with missing values makes of them.
    if labels.dtype.kind == "f" and (labels != np.round(labels)).any():
        return labels[:, None].astype(np.float64)
    if len(names) > max(2, MAX_CLASS_SHARE * len(labels)):
        raise EditError(
            f"{len(names)} classes of {len(labels)} samples at {site} are no classes, and to erase "
            "them is to erase the site: give scores as floats that are no whole numbers, or fewer "
            "classes."
        )
    # The first class is left out: its column follows from the others.
    return np.asarray(labels[:, None] == names[1:], np.float64)
