"""Patch a site with the activations of another run, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from clerestory.checks import number_array
from clerestory.edits.base import SiteEdit, edits, single_precision
from clerestory.errors import EditError
from clerestory.models.core.types import PerSample

__all__ = ["Patch"]


@edits.register("patch")
@dataclass(frozen=True, eq=False)
class Patch(SiteEdit, PerSample):
    """Replaces the activations of a site by those of another run.

    Attributes:
        values: `[sample, position, unit]`, in the order of the run, or one sample for all. From
            a run with `pool="none"` or a recording. Positions must fit: texts with the same number
            of tokens, pictures of one size. Positions that a sample does not have are NaN in such
            a run, and are left alone.

    >>> Patch("prior/embedding", np.full((1, 1, 2), 3.0, np.float32))(torch.zeros(1, 1, 2))
    tensor([[[3., 3.]]])
    """

    tensor_fields: ClassVar = {"values": "values"}
    values: NDArray[np.float32] = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        values = number_array(EditError, f"The value of the edit at {self.site}", self.values)
        missing: NDArray[np.bool_] = np.zeros(values.shape[:-1], bool)
        if values.ndim == 3:
            missing = np.asarray(np.isnan(values).all(-1))
            # All of a sample's positions are NaN where it was not finite, or is not recorded.
            missing &= ~missing.all(1, keepdims=True)
        finite = single_precision(self.site, np.where(missing[..., None], 0, values))
        object.__setattr__(self, "values", np.where(missing[..., None], np.nan, finite))

    @property
    @override
    def samples(self) -> int | None:
        return None if len(self.values) == 1 else len(self.values)

    @override
    def at(self, rows: Sequence[int]) -> Patch:
        if len(self.values) == 1:
            return self
        if max(rows) >= len(self.values):
            raise EditError(
                f"The patch at {self.site} has {len(self.values)} samples and the run has more."
            )
        return replace(self, values=self.values[list(rows)])

    @override
    def __call__(self, value: Tensor) -> Tensor:
        # What is beyond may belong to longer texts, which are in another batch here.
        count = value.shape[1]
        rest, values = self.values[:, count:], self.values[:, :count]
        samples_fit = values.shape[0] in (1, len(value))
        if not samples_fit or tuple(value.shape[1:]) != values.shape[1:] or np.isfinite(rest).any():
            raise EditError(
                f"The patch at {self.site} is {list(self.values.shape)} and the activation "
                f"{list(value.shape)}: positions must fit, as texts of as many tokens do."
            )
        patched = torch.from_numpy(values).to(value.device, value.dtype)
        return torch.where(patched.isnan(), value, patched)

    @override
    def tensors(self) -> dict[str, Tensor]:
        # safetensors refuses tensors that are not contiguous.
        values = torch.from_numpy(np.ascontiguousarray(self.values))
        return {**super().tensors(), "values": values}
