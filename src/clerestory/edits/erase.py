"""Erase a concept linearly: LEACE, after which no linear classifier tells it any more."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.base import Placed, edits
from clerestory.errors import EditError

__all__ = ["Erase"]


@edits.register("erase")
@dataclass(frozen=True, eq=False)
class Erase(Placed):
    """Takes out of every position what tells a concept linearly, and changes the rest least.

    `value - (value - mean) @ right.T @ left.T`, with `left` `[unit, k]`, `right` `[k, unit]` and
    `mean` `[unit]`. `Erase.fit` works them out. Source: Belrose et al. 2023 (LEACE), by the
    package concept-erasure.
    """

    left: Tensor = field(repr=False)
    right: Tensor = field(repr=False)
    mean: Tensor = field(repr=False)

    def __post_init__(self) -> None:
        units = self.mean.shape[0] if self.mean.ndim == 1 else -1
        shapes = (self.left.ndim, self.right.ndim) == (2, 2)
        if not shapes or self.left.shape != self.right.T.shape or len(self.left) != units:
            raise EditError(
                f"The eraser at {self.site} does not fit itself: left {list(self.left.shape)}, "
                f"right {list(self.right.shape)}, mean {list(self.mean.shape)}."
            )

    @classmethod
    def fit(cls, site: str, activations: ArrayLike, labels: ArrayLike, **how: Any) -> Self:
        """The eraser of what `labels` `[sample]` tell of `activations` `[sample, unit]`.

        EditError for fewer than two classes. With few samples the covariance is shrunk.
        """
        with warnings.catch_warnings():  # it compiles a function that we do not call
            warnings.simplefilter("ignore", DeprecationWarning)
            from concept_erasure import LeaceEraser

        values = torch.as_tensor(np.asarray(activations, np.float64))
        names = np.unique(np.asarray(labels))
        if values.ndim != 2 or len(names) < 2 or len(values) != len(np.asarray(labels)):
            raise EditError(f"An eraser at {site} needs [sample, unit] and two classes or more.")
        shown = torch.as_tensor((np.asarray(labels)[:, None] == names).astype(np.float64))
        found = LeaceEraser.fit(values, shown[:, 1:], constrain_cov_trace=False)
        bias = values.mean(0) if found.bias is None else found.bias
        parts = (found.proj_left, found.proj_right, bias)
        return cls(site, *(part.float().contiguous() for part in parts), **how)

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, without the concept."""
        if value.shape[-1] != len(self.mean):
            raise EditError(
                f"The eraser at {self.site} is of {len(self.mean)} units, and the site has "
                f"{value.shape[-1]}."
            )
        left, right, mean = (part.to(value.device) for part in (self.left, self.right, self.mean))
        apart = value.float() - mean
        return (value - apart @ right.T @ left.T).to(value.dtype)

    def settings(self) -> dict[str, Any]:
        """Where it applies."""
        return self.place

    def tensors(self) -> dict[str, Tensor]:
        """Both factors and the mean."""
        return {"left": self.left, "right": self.right, "mean": self.mean}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        parts = (tensors[name] for name in ("left", "right", "mean"))
        return cls(settings["site"], *parts, **{k: v for k, v in settings.items() if k != "site"})
