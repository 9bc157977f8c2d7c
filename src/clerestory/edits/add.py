"""Add a direction to a site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from clerestory.edits.base import Placed, check_width, edits, renormed, vector_of
from clerestory.errors import EditError

__all__ = ["Add"]


@edits.register("add")
@dataclass(frozen=True, eq=False)
class Add(Placed):
    """Moves every position of a site by strength × scale × direction.

    `direction` is `[unit]`, of any length. `scale` says what a strength of one means: with 1, the
    direction as given (a difference of two means, say); `Add.in_deviations` makes an edit whose
    strength counts standard deviations of the site's own activations along the direction. The
    strength may also be one for each sample of a run, in the order of the run. With `renorm` each
    position keeps its length, so that only where it points to changes.

    >>> edit = Add("prior/embedding", [1.0, 0.0], strength=2.0, scale=0.5)
    >>> edit(torch.zeros(1, 1, 2))
    tensor([[[1., 0.]]])
    """

    direction: ArrayLike | Tensor = field(repr=False)
    strength: float | Sequence[float] = 1.0
    scale: float = 1.0
    renorm: bool = field(default=False, kw_only=True)
    vector: Tensor = field(init=False, repr=False)
    """The direction as a float32 tensor of its own."""

    def __post_init__(self) -> None:
        vector = vector_of(self.site, self.direction).astype(np.float32)
        try:
            strength = np.asarray(self.strength, dtype=float)
        except (TypeError, ValueError):
            strength = np.array(np.nan)
        if strength.ndim > 1 or not np.isfinite([*strength.flat, self.scale]).all():
            raise EditError(
                f"The strength of an edit at {self.site} must be a finite number, or one for each "
                f"sample; got {self.strength!r} times {self.scale!r}."
            )
        plain = tuple(strength.tolist()) if strength.ndim else float(strength)
        object.__setattr__(self, "strength", plain)
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "vector", torch.from_numpy(vector))

    @classmethod
    def in_deviations(
        cls,
        site: str,
        direction: ArrayLike,
        activations: ArrayLike,
        strength: float | Sequence[float] = 1.0,
    ) -> Self:
        """An edit whose strength counts standard deviations of `activations` along `direction`.

        `activations` is `[sample, unit]`; the direction is made of length one.
        """
        vector = np.asarray(direction, dtype=np.float64)
        length = float(np.linalg.norm(vector))
        if length == 0:
            raise EditError(f"The direction for {site} is zero; there is nothing to add.")
        along = np.asarray(activations, dtype=np.float64) @ (vector / length)
        return cls(site, vector / length, strength, float(along.std()))

    def __call__(self, value: Tensor) -> Tensor:
        """`value` `[sample, position, unit]`, moved."""
        check_width(self.site, self.vector, value)
        strength = torch.tensor(self.strength, dtype=torch.float32, device=value.device)
        if strength.ndim and len(strength) != len(value):
            raise EditError(
                f"The edit at {self.site} has {len(strength)} strengths for {len(value)} samples; "
                "give one strength, or one for each sample of the run."
            )
        shift = strength.reshape(-1, 1, 1) * self.scale * self.vector.to(value.device)
        moved = value + shift
        return (renormed(moved, value.float()) if self.renorm else moved).to(value.dtype)

    def times(self, strength: float | Sequence[float]) -> Add:
        """The same edit at another strength."""
        return replace(self, strength=strength)

    def at(self, rows: Sequence[int]) -> Add:
        """The part for these samples of a run, where strengths differ."""
        if not isinstance(self.strength, tuple):
            return self
        if max(rows) >= len(self.strength):
            raise EditError(
                f"The edit at {self.site} has {len(self.strength)} strengths and the run has more "
                "samples; give one strength, or one for each sample of the run."
            )
        return self.times([self.strength[row] for row in rows])

    def settings(self) -> dict[str, Any]:
        """All but the direction."""
        return {
            **self.place,
            "strength": self.strength,
            "scale": self.scale,
            "renorm": self.renorm,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The direction."""
        return {"direction": self.vector}

    @classmethod
    def restored(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The edit that gave these."""
        return cls(direction=tensors["direction"], **settings)
