"""Multiply a unit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from clerestory.edits.base import Affine, UnitEdit, edits, finite_number

__all__ = ["Scale"]


@edits.register("scale")
@dataclass(frozen=True, eq=False)
class Scale(UnitEdit):
    """Multiplies one unit by `factor` at every position; 0 silences it.

    >>> import torch
    >>> Scale("text.blocks.2/mlp[1]", 3.0)(torch.ones(1, 1, 3))
    tensor([[[1., 3., 1.]]])
    """

    factor: float

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "factor", finite_number(self.address, "factor", self.factor))

    def __call__(self, value: Tensor) -> Tensor:
        """Scale the unit.

        Args:
            value: Activations, `[sample, position, unit]`.

        Returns:
            A new tensor of the same shape, dtype and device.

        Raises:
            EditError: The site has no unit of this index.
        """
        scaled = value.clone()
        self.column(scaled).mul_(self.factor)
        return scaled

    def as_affine(self, units: int) -> Affine:
        """The identity but for the unit, which is multiplied.

        Args:
            units: How many units the site has.

        Returns:
            The map, in float64.
        """
        return self.unit_affine(units, self.factor, 0.0)
