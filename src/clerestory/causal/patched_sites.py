"""Patches of some units of a site, and the addresses of such parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import EditError
from clerestory.models import Model
from clerestory.models.core.addresses import check_width, parse
from clerestory.models.core.types import PerSample

__all__ = ["PartPatch", "split_part"]


@dataclass(frozen=True, eq=False)
class PartPatch(PerSample):
    """Replaces some units of a site by those of another run, at all positions.

    Attributes:
        site: The site's address, with a step.
        values: `[sample, position, unit]`, all units.
        units: The units that are replaced; None for all.
    """

    site: str
    values: NDArray[np.float32] = field(repr=False)
    units: tuple[int, ...] | None = None

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.values)

    def at(self, rows: Sequence[int]) -> PartPatch:
        """The patch for a batch.

        Args:
            rows: Indices of the batch's samples.

        Returns:
            The patch of these samples.
        """
        return replace(self, values=self.values[list(rows)])

    def __call__(self, value: Tensor) -> Tensor:
        """Patch activations.

        Args:
            value: `[sample, position, unit]`.

        Returns:
            A tensor of the same shape.

        Raises:
            EditError: Positions do not fit.
            SiteError: There is no such unit.
        """
        if tuple(value.shape) != self.values.shape:
            raise EditError(
                f"The patch at {self.site} is {list(self.values.shape)} and the activation "
                f"{list(value.shape)}: choose prompts of as many tokens."
            )
        check_width(self.site, self.units, value.shape[-1])
        patched = torch.from_numpy(self.values).to(value.device, value.dtype)
        if self.units is None:
            return patched
        result = value.clone()
        result[..., list(self.units)] = patched[..., list(self.units)]
        return result


def split_part(
    model: Model, part: str
) -> tuple[str, tuple[int, ...] | None, tuple[int, ...] | None]:
    """The site, units and steps of the address of a part.

    Args:
        model: The model.
        part: Address of units, heads or a whole site, with steps or without.

    Returns:
        The site's address, indices of units, indices of steps; None for all.

    Raises:
        SiteError: It names no site or unit, or several sites.
    """
    ((site, selection),) = model.sites.select(part, single=True).items()
    return site, selection.units, parse(part).steps
