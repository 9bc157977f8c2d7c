"""Add a direction to a site."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from typing_extensions import override

from clerestory.checks import number_array
from clerestory.edits.base import (
    Affine,
    DirectionEdit,
    SiteEdit,
    affine_identity,
    edits,
    rescaled,
    single_precision,
    site_direction,
)
from clerestory.errors import EditError
from clerestory.models.core.types import PerSample

__all__ = ["Add"]


@edits.register("add")
@dataclass(frozen=True, eq=False)
class Add(DirectionEdit, PerSample):
    """Moves every position of a site by strength × scale × direction.

    Attributes:
        direction: `[unit]`, of any length; it is not normalised.
        strength: Multiple of `scale × direction`: one number, or one for each sample of a run, in
            the order of the run.
        scale: Factor of the direction at strength 1; `in_deviations` sets it to a standard
            deviation.
        renorm: Whether each position keeps its length, so that only its direction changes.

    >>> edit = Add("prior/embedding", [1.0, 0.0], strength=2.0, scale=0.5)
    >>> edit(torch.zeros(1, 1, 2))
    tensor([[[1., 0.]]])
    """

    strength: float | Sequence[float] = 1.0
    scale: float = 1.0
    renorm: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        # Not by way of `DirectionEdit`, which would normalise the direction.
        SiteEdit.__post_init__(self)
        vector = single_precision(self.site, site_direction(self.site, self.direction))
        strength = number_array(EditError, f"The strength at {self.site}", self.strength)
        with np.errstate(over="ignore", invalid="ignore"):
            # In the precision of the edit, in which a large strength may be infinite.
            factors = strength.astype(np.float32) * np.float32(self.scale)
        if strength.ndim > 1 or not np.isfinite(factors).all():
            raise EditError(
                f"The strength of an edit at {self.site} must be a finite number, or one for each "
                f"sample; got {self.strength!r} times {self.scale!r}."
            )
        # Python numbers: numpy's cannot be written as JSON.
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
        """An edit whose strength is in standard deviations of activations along a direction.

        Args:
            site: Address of the site.
            direction: `[unit]`, of any length other than zero; it is normalised.
            activations: `[sample, unit]`, from which the standard deviation is computed.
            strength: Number of standard deviations; one number, or one for each sample of a run.

        Returns:
            The edit; its scale is the standard deviation of the population (divided by the number
            of samples).

        Raises:
            EditError: The direction is zero.
        """
        vector = site_direction(site, direction)
        length = float(np.linalg.norm(vector))
        if length == 0:
            raise EditError(f"The direction for {site} is zero; there is nothing to add.")
        values = number_array(EditError, f"The array of activations for {site}", activations)
        if values.shape[1:] != vector.shape or not np.isfinite(values).all():
            raise EditError(
                f"The activations for {site} must be finite numbers [sample, {len(vector)}]."
            )
        along = values @ (vector / length)
        return cls(site, vector / length, strength, float(along.std()))

    @override
    def __call__(self, value: Tensor) -> Tensor:
        self.check_units(value.shape[-1])
        strength = torch.tensor(self.strength, dtype=torch.float32, device=value.device)
        if strength.ndim and len(strength) != len(value):
            raise EditError(
                f"The edit at {self.site} has {len(strength)} strengths for {len(value)} samples; "
                "give one strength, or one for each sample of the run."
            )
        # One strength for each sample, the same at all positions.
        shift = strength.reshape(-1, 1, 1) * self.scale * self.vector.to(value.device)
        # The shift is float32, so the sum is computed in float32 and rounded once.
        moved = value + shift
        return (rescaled(moved, value.float()) if self.renorm else moved).to(value.dtype)

    def times(self, strength: float | Sequence[float]) -> Add:
        """The same edit at another strength.

        Args:
            strength: One number, or one for each sample of a run.

        Returns:
            A copy.

        Raises:
            EditError: A strength is not finite.
        """
        return replace(self, strength=strength)

    @property
    @override
    def samples(self) -> int | None:
        return len(self.strength) if isinstance(self.strength, tuple) else None

    @override
    def at(self, rows: Sequence[int]) -> Add:
        if not isinstance(self.strength, tuple):
            return self
        if max(rows) >= len(self.strength):
            raise EditError(
                f"The edit at {self.site} has {len(self.strength)} strengths and the run has more "
                "samples; give one strength, or one for each sample of the run."
            )
        return self.times([self.strength[row] for row in rows])

    @override
    def as_affine(self, units: int) -> Affine | None:
        # With `renorm` the edit is not linear, and a strength for each sample is not one map.
        if self.renorm or isinstance(self.strength, tuple):
            return None
        shift = float(np.asarray(self.strength)) * self.scale * self.vector.double()
        return Affine(affine_identity(units).matrix, shift)

    @override
    def nearest_affine(self, units: int) -> Add:
        # The mean of several strengths is the one map that is closest to all of them.
        return replace(self, renorm=False, strength=float(np.mean(self.strength)))
