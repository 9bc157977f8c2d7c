"""Reflect a site at the plane where a concept begins: what reaches beyond it is turned back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.base import (
    Placed,
    check_width,
    edits,
    finite,
    renormed,
    unit_vector,
)

__all__ = ["Reflect"]


@edits.register("reflect")
@dataclass(frozen=True, eq=False)
class Reflect(Placed):
    """Turns positions that reach beyond `level` along `direction` back by `strength` times that.

    At strength 1 they come to rest at the level, at 2 they are mirrored. Positions that do not
    reach so far are left alone, and each keeps its length. Source: Householder's reflection,
    clipped to the side where the concept is.

    >>> Reflect("prior/embedding", [0.0, 1.0])(torch.tensor([[[3.0, 4.0], [3.0, -4.0]]]))
    tensor([[[ 3., -4.],
             [ 3., -4.]]])
    """

    direction: ArrayLike | Tensor = field(repr=False)
    level: float = 0.0
    strength: float = 2.0
    vector: Tensor = field(init=False, repr=False)
    """The direction as a float32 tensor of its own, of length one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "vector", unit_vector(self.site, self.direction))
        for name in ("level", "strength"):
            object.__setattr__(self, name, finite(self.site, name, getattr(self, name)))

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, turned back where it reaches too far."""
        check_width(self.site, self.vector, value)
        along, before = self.vector.to(value.device), value.float()
        beyond = (before @ along - self.level).clamp_min(0)[..., None]
        turned = renormed(before - self.strength * beyond * along, before)
        return torch.where(beyond > 0, turned, before).to(value.dtype)

    def settings(self) -> dict[str, Any]:
        """All but the direction."""
        return {**self.place, "level": self.level, "strength": self.strength}

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.vector}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(direction=tensors["direction"], **settings)
