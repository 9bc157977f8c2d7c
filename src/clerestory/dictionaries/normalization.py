"""How values are scaled before a dictionary encodes them, and how that is undone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from clerestory.errors import DictionaryError

__all__ = ["Normalization"]


@dataclass(frozen=True, eq=False)
class Normalization:
    """The map `(value - mean) / scale` of every position; None leaves a step out.

    Attributes:
        mean: float32 `[unit]`.
        scale: float32 `[unit]`, or `[1]` for one factor of all; above 0.

    >>> Normalization.constant(2.0).apply(torch.ones(1, 3))
    tensor([[2., 2., 2.]])
    """

    mean: Tensor | None = field(default=None, repr=False)
    scale: Tensor | None = field(default=None, repr=False)

    @classmethod
    def constant(cls, factor: float) -> Normalization:
        """Multiply all values by one factor.

        Args:
            factor: The factor, above 0.

        Returns:
            The normalisation.
        """
        return cls(scale=torch.tensor([1 / factor]))

    @property
    def kind(self) -> Literal["none", "constant", "standard"]:
        """`none`, `constant` for one factor, or `standard` for a mean or a scale of each unit."""
        if self.mean is None and self.scale is None:
            return "none"
        return (
            "constant"
            if self.mean is None and self.scale is not None and (self.scale.numel() == 1)
            else "standard"
        )

    def apply(self, values: Tensor) -> Tensor:
        """Normalise values.

        Args:
            values: `[..., unit]`, as the model makes them.

        Returns:
            What the encoder takes.
        """
        if self.mean is not None:
            values = values - self.mean
        return values if self.scale is None else values / self.scale

    def invert(self, values: Tensor) -> Tensor:
        """Undo `apply`.

        Args:
            values: `[..., unit]`, as the decoder gives them.

        Returns:
            Values as the model makes them.
        """
        if self.scale is not None:
            values = values * self.scale
        return values if self.mean is None else values + self.mean

    def check(self, width: int) -> None:
        """Check that the tensors fit a site.

        Args:
            width: The site's number of units.

        Raises:
            DictionaryError: A tensor has another shape, is not finite, or a scale is not above 0.
        """
        for name, tensor in self.tensors().items():
            lengths = {width, 1} if name == "scale" else {width}
            if tensor.ndim != 1 or len(tensor) not in lengths or not torch.isfinite(tensor).all():
                raise DictionaryError(
                    f"The normalisation's {name} has the shape {list(tensor.shape)} or is not "
                    f"finite; it must have one number for each of the {width} units."
                )
        if self.scale is not None and not (self.scale > 0).all():
            raise DictionaryError("The normalisation's scale has numbers that are not above 0.")

    def to(self, device: torch.device | str) -> Normalization:
        """Move the tensors.

        Args:
            device: A device.

        Returns:
            A copy whose tensors are there.
        """
        return Normalization(**{name: each.to(device) for name, each in self.tensors().items()})

    def tensors(self) -> dict[str, Tensor]:
        """The tensors that there are, by name."""
        found: Mapping[str, Tensor | None] = {"mean": self.mean, "scale": self.scale}
        return {name: tensor for name, tensor in found.items() if tensor is not None}
