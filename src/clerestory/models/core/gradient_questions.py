"""What is differentiated with respect to what, and what takes the gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor

from clerestory.checks import check_minimum
from clerestory.errors import OptionError
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.gradient_checks import check_sites
from clerestory.models.core.types import Pool, Step

__all__ = ["DifferentiableObjective", "GradientQuestion", "GradientSink", "ObjectiveSite"]


@dataclass(frozen=True)
class ObjectiveSite:
    """What an objective reads.

    Attributes:
        address: Address of one site, with units and steps or without.
        pool: How positions are pooled, as in `Model.run`.
        least_units: How many units the site must have.
    """

    address: str
    pool: Pool = "none"
    least_units: int = field(default=0, compare=False)


@runtime_checkable
class DifferentiableObjective(Protocol):
    """A value of each sample that autograd can differentiate."""

    @property
    def name(self) -> str:
        """What it is called in results and messages."""

    @property
    def sites(self) -> Sequence[ObjectiveSite]:
        """What it reads of the model, always in the branch cond."""

    @property
    def reads_pictures(self) -> bool:
        """Whether it reads the picture."""

    def __call__(self, values: Mapping[ObjectiveSite, Tensor], pictures: Tensor | None) -> Tensor:
        """The value of each sample of a batch.

        Args:
            values: `[sample, step, unit]`, or `[sample, step, position, unit]` where positions are
                kept, in single precision at least.
            pictures: `[sample, height, width, 3]`, from 0 to 1, not rounded; None where they are
                not read.

        Returns:
            `[sample]`.
        """


@dataclass(frozen=True, eq=False)
class GradientQuestion:
    """What is differentiated with respect to what.

    Attributes:
        objective: The objective.
        sites: Units and steps by address.
        last_steps: How many of the last denoising steps have gradients; None for all.
        recompute: Whether steps are checkpointed: computed again in the backward pass, so that
            memory does not grow with them.
        may_be_independent: Whether a site that the objective does not depend on has zeros, rather
            than being an error.
        values_only: Whether nothing is differentiated: the sink gets values, and no gradients.
    """

    objective: DifferentiableObjective
    sites: Mapping[str, SiteSelection]
    last_steps: int | None = None
    recompute: bool = True
    may_be_independent: bool = False
    values_only: bool = False

    def __post_init__(self) -> None:
        if self.last_steps is not None:
            check_minimum(OptionError, 1, last_steps=self.last_steps)
        if not self.values_only:
            check_sites(self.sites)


class GradientSink(Protocol):
    """Takes values and gradients of one batch as they come; gradients the last step first."""

    def value(self, address: str, value: Tensor, step: Step) -> None:
        """Take a site's value, `[sample, position, unit]`, detached; the model's own memory."""

    def gradient(self, address: str, gradient: Tensor, step: Step) -> None:
        """Take the gradient with respect to it, of the same shape, which must not be changed."""
