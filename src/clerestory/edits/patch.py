"""Put what another run had at a site into this one, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.edits.base import Placed, edits
from clerestory.errors import EditError

__all__ = ["Patch"]


@edits.register("patch")
@dataclass(frozen=True, eq=False)
class Patch(Placed):
    """Replaces a site's activation by `values` `[sample, position, unit]`, in the order of the run.

    They come from a run with `pool="none"`, or from a recording, so positions must fit: texts of as
    many tokens, pictures of one size. The values of one sample go into every sample.

    >>> Patch("prior/embedding", np.full((1, 1, 2), 3.0, np.float32))(torch.zeros(1, 1, 2))
    tensor([[[3., 3.]]])
    """

    values: NDArray[np.float32] = field(repr=False)

    def at(self, rows: Sequence[int]) -> Patch:
        """The part for these samples of a run."""
        if len(self.values) == 1:
            return self
        if max(rows) >= len(self.values):
            raise EditError(
                f"The patch at {self.site} has {len(self.values)} samples and the run has more."
            )
        return replace(self, values=self.values[list(rows)])

    def __call__(self, value: Tensor) -> Tensor:
        """The other run's activation."""
        whole = self.values.shape[0] in (1, len(value))
        if not whole or tuple(value.shape[1:]) != self.values.shape[1:]:
            raise EditError(
                f"The patch at {self.site} is {list(self.values.shape)} and the activation "
                f"{list(value.shape)}: positions must fit, as texts of as many tokens do."
            )
        put = torch.from_numpy(self.values).to(value.device, value.dtype)
        return put.expand_as(value).clone()

    def settings(self) -> dict[str, Any]:
        """Where it applies."""
        return self.place

    def tensors(self) -> dict[str, Tensor]:
        """The values."""
        return {"values": torch.from_numpy(np.ascontiguousarray(self.values))}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(values=tensors["values"].numpy(), **settings)
