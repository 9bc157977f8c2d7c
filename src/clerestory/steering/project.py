"""Set how far a site reaches along a direction: ablate it, or hold a neuron at a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models.base import Branch
from clerestory.steering.base import check_width, edits, vector_of

__all__ = ["Project"]


@edits.register("project")
@dataclass(frozen=True, eq=False)
class Project:
    """Makes every position of a site reach exactly `level` along `direction`, and keeps the rest.

    `direction` is `[unit]`, of any length; `level` is in the activations' own measure. At level 0
    the direction is projected out; at the level that is usual without a concept it is ablated to
    the mean; along one neuron the neuron is held.

    >>> Project("prior/embedding", [0.0, 2.0], level=5.0)(torch.ones(1, 1, 2))
    tensor([[[1., 5.]]])
    """

    site: str
    direction: ArrayLike | Tensor = field(repr=False)
    level: float = 0.0
    branch: Branch = "cond"
    vector: Tensor = field(init=False, repr=False)
    """The direction as a float32 tensor of its own, of length one."""

    def __post_init__(self) -> None:
        vector = vector_of(self.site, self.direction)
        length = float(np.linalg.norm(vector))
        if length == 0:
            raise EditError(f"The direction for {self.site} is zero; nothing reaches along it.")
        if not np.isfinite(self.level):
            raise EditError(f"The level at {self.site} must be a finite number, not {self.level}.")
        object.__setattr__(self, "level", float(self.level))
        object.__setattr__(self, "vector", torch.from_numpy((vector / length).astype(np.float32)))

    @classmethod
    def neuron(cls, site: str, unit: int, units: int, level: float, **how: Any) -> Self:
        """One neuron of `units` held at a level."""
        return cls(site, np.eye(1, units, unit)[0], level, **how)

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, at that level."""
        check_width(self.site, self.vector, value)
        along = self.vector.to(value.device)
        lacking = self.level - value.float() @ along
        return (value + lacking[..., None] * along).to(value.dtype)

    def settings(self) -> dict[str, Any]:
        """All but the direction."""
        return {"site": self.site, "level": self.level, "branch": self.branch}

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.vector}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(direction=tensors["direction"], **settings)
