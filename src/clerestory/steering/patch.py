"""Put what another run had at a site into this one, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.base import Branch

__all__ = ["Patch"]


@dataclass(frozen=True, eq=False)
class Patch:
    """Replaces a site's activation by `values` `[sample, position, unit]`, in the order of the run.

    They come from a run with `pool="none"`, so positions must fit: texts of as many tokens,
    pictures of one size. A patch is of its run, and is not saved with a model.

    >>> Patch("prior/embedding", np.full((1, 1, 2), 3.0, np.float32))(torch.zeros(1, 1, 2))
    tensor([[[3., 3.]]])
    """

    site: str
    values: NDArray[np.float32] = field(repr=False)
    branch: Branch = "cond"

    def at(self, rows: Sequence[int]) -> Patch:
        """The part for these samples of a run."""
        if max(rows) >= len(self.values):
            raise EditError(
                f"The patch at {self.site} has {len(self.values)} samples and the run has more."
            )
        return replace(self, values=self.values[list(rows)])

    def __call__(self, value: Tensor) -> Tensor:
        """The other run's activation."""
        if tuple(value.shape) != self.values.shape:
            raise EditError(
                f"The patch at {self.site} is {list(self.values.shape)} and the activation "
                f"{list(value.shape)}: positions must fit, as texts of as many tokens do."
            )
        return torch.from_numpy(self.values).to(value.device, value.dtype)
