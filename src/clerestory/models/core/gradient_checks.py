"""Checks of gradients: sites without any, values that half precision lost, memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from clerestory.errors import ModelError, OptionError, SiteError, describe_error
from clerestory.models.core.module_states import is_compiled, is_offloaded, is_quantized
from clerestory.models.core.pipeline_state import pipeline_parts

__all__ = ["GradientSizes", "check_sites", "memory_error", "no_dependence", "obstacles"]

SMALLEST_NORMAL = torch.finfo(torch.float16).smallest_normal
"""6.1e-5: below it float16 has fewer digits, and from 3e-8 on it has zero."""


def check_sites(sites: Sized) -> None:
    """Check that there is a site to differentiate by.

    Args:
        sites: The sites that were selected.

    Raises:
        OptionError: There is none.
    """
    if not sites:
        raise OptionError("There is no site to differentiate by: name at least one.")


class GradientSizes:
    """The largest gradient of each site, which tells what float16 lost.

    bfloat16 has the exponents of float32 and loses none.

    Args:
        pipeline: The pipeline, whose parts tell whether anything is computed in float16.
    """

    def __init__(self, pipeline: Any) -> None:
        parts = [each for each in pipeline_parts(pipeline).values() if isinstance(each, nn.Module)]
        dtypes = {each.dtype for part in (pipeline, *parts) for each in _weights(part)}
        # Also of sites in single precision: their gradients may have come through a part in half.
        self._is_half = torch.float16 in dtypes
        self._largest: dict[str, Tensor] = {}

    def add(self, address: str, gradient: Tensor) -> None:
        """Take a gradient.

        Args:
            address: The site.
            gradient: `[sample, position, unit]` of one step.
        """
        if not self._is_half:
            return
        # Compared where it is: a copy at each step would make an accelerator wait.
        largest = gradient.detach().abs().amax()
        known = self._largest.get(address)
        self._largest[address] = largest if known is None else torch.maximum(known, largest)

    def imprecise(self, objective: str) -> tuple[str, ...]:
        """Sites whose gradients are so small that float16 has fewer digits of them.

        Args:
            objective: The objective's name, for the message.

        Returns:
            Addresses; none where nothing is computed in float16.

        Raises:
            ModelError: All gradients of a site are zero.
        """
        # Backward they came in; listed in order of the run.
        largest = {address: float(value) for address, value in reversed(self._largest.items())}
        lost = [address for address, value in largest.items() if value == 0]
        if lost:
            raise ModelError(
                f"All gradients of {objective} at {_listed(lost)} are zero in float16, which has "
                "no numbers below 6e-8: open the model with dtype bfloat16 or float32, or multiply "
                "the objective by 1000 and divide what comes out."
            )
        return tuple(address for address, value in largest.items() if value < SMALLEST_NORMAL)


def _weights(part: Any) -> Iterator[Tensor]:
    if isinstance(part, nn.Module):
        yield from part.parameters()


def memory_error(error: BaseException, batch: int, *, recompute: bool) -> ModelError:
    """What to say where memory ran out.

    Args:
        error: What was raised.
        batch: How many samples were differentiated together.
        recompute: Whether steps are computed again in the backward pass.

    Returns:
        The error, which names what to lower.
    """
    ways = ["" if recompute else "keep checkpoint=True", f"lower batch ({batch})" * (batch > 1)]
    ways += ["keep gradients of fewer steps (last_steps=1)", "name fewer sites", "pool them"]
    *others, last = filter(None, ways)
    return ModelError(
        f"Memory ran out while {batch} sample{'s were' if batch > 1 else ' was'} differentiated "
        f"({describe_error(error, 200)}): {', '.join(others)}, or {last}."
    )


def no_dependence(
    objective: str, absent: Sequence[str], pipeline: Any, truncated: str, last_steps: int | None
) -> OptionError | SiteError:
    """What to say where an objective does not depend on sites.

    Args:
        objective: The objective's name.
        absent: The sites.
        pipeline: The pipeline, whose parts may be what gradients do not pass.
        truncated: The site all of whose steps have no gradient by choice; "" for none.
        last_steps: How many steps have gradients.

    Returns:
        The error.
    """
    if truncated:
        return OptionError(
            f"last_steps={last_steps} leaves all steps of {truncated} without gradients: take more "
            "of the last steps, or none of these."
        )
    return SiteError(
        f"{objective} does not depend on {_listed(absent)}{obstacles(pipeline)}. Leave "
        f"{'it' if len(absent) == 1 else 'them'} out, or have zeros there (independent='zero')."
    )


def obstacles(pipeline: Any) -> str:
    """Parts that may keep gradients from passing.

    Args:
        pipeline: The pipeline.

    Returns:
        The end of a sentence; "" without any.
    """
    found = [f"{name} is {kind}" for name, kind in _unusual_parts(pipeline)]
    return f"; {' and '.join(found)}, through which gradients may not pass" if found else ""


def _unusual_parts(pipeline: Any) -> Iterator[tuple[str, str]]:
    kinds = {"quantized": is_quantized, "compiled": is_compiled, "offloaded": is_offloaded}
    for name, part in pipeline_parts(pipeline).items():
        modules = list(part.modules()) if isinstance(part, nn.Module) else []
        for kind, applies in kinds.items():
            if any(applies(module) for module in modules):
                yield name, kind


def _listed(addresses: Sequence[str]) -> str:
    more = len(addresses) - 6
    return ", ".join(addresses[:6]) + (f" and {more} more" if more > 0 else "")
