"""Ablate a direction: project it out, or hold it at the level that is usual without the concept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.base import Placed, check_width, edits, finite, unit_vector

__all__ = ["Ablate"]


@edits.register("ablate")
@dataclass(frozen=True, eq=False)
class Ablate(Placed):
    """Makes every position of a site reach exactly `level` along `direction`, and keeps the rest.

    `direction` is `[unit]`, of any length; `level` is in the activations' own measure. At level 0
    the direction is projected out; at the level that is usual without a concept it is ablated to
    the mean. For one neuron that is `Clamp` at its mean.

    >>> import torch
    >>> Ablate("prior/embedding", [0.0, 2.0], level=5.0)(torch.ones(1, 1, 2))
    tensor([[[1., 5.]]])
    """

    direction: ArrayLike | Tensor = field(repr=False)
    level: float = 0.0
    vector: Tensor = field(init=False, repr=False)
    """The direction as a float32 tensor of its own, of length one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", unit_vector(self.site, self.direction))
        object.__setattr__(self, "level", finite(self.site, "level", self.level))

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, at that level."""
        check_width(self.site, self.vector, value)
        along = self.vector.to(value.device)
        lacking = self.level - value.float() @ along
        return (value + lacking[..., None] * along).to(value.dtype)

    def settings(self) -> dict[str, Any]:
        """All but the direction."""
        return {**self.place, "level": self.level}

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.vector}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(direction=tensors["direction"], **settings)
