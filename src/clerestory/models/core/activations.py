"""Collects tap readings batch by batch into one array per site."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
from torch import Tensor

from clerestory.errors import SiteError
from clerestory.models.core.addresses import SiteSelection, check_width
from clerestory.models.core.attachment import Tap
from clerestory.models.core.family import SiteHook
from clerestory.models.core.pooling import Pooler
from clerestory.models.core.runs import SiteValues
from clerestory.models.core.types import Branch, Pool, Step
from clerestory.types import Floats

__all__ = ["Batch", "Readings", "collect", "make_taps", "stack_steps"]

Readings = dict[str, list[tuple[Step, Floats]]]
"""What taps read in one batch: by address, for each step, `[sample, unit]` or with positions."""
Batch = Mapping[str, tuple[Sequence[Step], Floats]]
"""The same with one array for each site: by address, the steps and `[sample, step, unit]`."""


def make_taps(
    readings: Readings,
    selections: Mapping[str, SiteSelection],
    hooks: Mapping[str, SiteHook],
    pool: Pool,
    branch: Branch,
    token_mask: Callable[[str], Tensor],
) -> list[Tap]:
    """Make a tap for each site to be read, which writes into `readings`.

    Args:
        readings: Filled by the taps as the model runs.
        selections: Sites by address, with the units and steps to read.
        hooks: Where the sites are among the torch modules.
        pool: How positions are pooled: mean, max, last, none or tokens:WORD.
        branch: The branch of guidance to read.
        token_mask: From the name of a text window to the positions that are pooled, bool
            `[sample, position]`.

    Returns:
        The taps. A tap raises SiteError for a unit that its site does not have.
    """

    @cache  # sites of one text window share the work of its mask
    def pooler(window: str, sequence: bool, closed: bool) -> Pooler:
        mask = token_mask(window) if window and pool != "none" else None
        return Pooler(pool, mask, sequence=sequence, closed=closed)

    def tap(address: str, selection: SiteSelection) -> Tap:
        units = None if selection.units is None else list(selection.units)
        hook = hooks[address]
        pool_positions = pooler(hook.text_window, hook.site.shape[0] is not None, bool(hook.stream))
        # Made now rather than at the first call: a site that is never reached has an empty list,
        # and `collect` can name what is missing.
        steps = readings.setdefault(address, [])

        def callback(value: Tensor, step: Step) -> None:
            # Pooled on the model's device, so that only the result is copied to the CPU.
            if hook.latents is not None:
                selected = hook.latents.pool(value.detach(), pool_positions, units)
            else:
                # The width of some sites is known only here, so the address could not be checked
                # before.
                check_width(address, units, value.shape[-1])
                pooled = pool_positions(value.detach())
                selected = pooled if units is None else pooled[..., units]
            steps.append((step, selected.cpu().numpy()))

        # Pooling and the copy to the CPU read the model's own memory and keep none of it.
        return Tap(hook.base, callback, branch, selection.steps, copies=False)

    return [tap(address, selection) for address, selection in selections.items()]


def stack_steps(readings: Readings) -> Batch:
    """Join the steps of a batch to one array for each site.

    Stacking per batch avoids fragmenting the heap: many small arrays between large ones keep
    gigabytes allocated over a few thousand samples.

    Args:
        readings: By address, a value for each step that was read.

    Returns:
        By address, the steps and float32 `[sample, step, unit]`, or
        `[sample, step, position, unit]` where positions are kept.
    """
    return {
        address: ([step for step, _ in steps], _stack([value for _, value in steps]))
        for address, steps in readings.items()
    }


def _stack(values: Sequence[Floats]) -> Floats:
    """The values of all steps, the step as second axis; a single step is not copied."""
    if not values:
        return np.empty(0, np.float32)
    return values[0][:, None] if len(values) == 1 else np.stack(values, axis=1)


def collect(
    batches: Sequence[Batch],
    selections: Mapping[str, SiteSelection],
    hooks: Mapping[str, SiteHook],
    branch: Branch,
) -> dict[str, SiteValues]:
    """Gather what all batches read, by site.

    Args:
        batches: What `stack_steps` gave, in the order of the samples.
        selections: Sites by address, with the units and steps that were asked for.
        hooks: Where the sites are among the torch modules; gives each site's width and heads.
        branch: The branch of guidance that was read, for error messages.

    Returns:
        Values by address, in the order of `selections`; batches are not joined yet.

    Raises:
        SiteError: A requested step or branch did not occur.
    """
    collected = {}
    for address, selection in selections.items():
        parts = [batch[address] for batch in batches]
        steps, site = parts[0][0], hooks[address].site
        _check_steps(address, [each for each, _ in parts])
        missing = set(selection.steps or ()) - {step.index for step in steps}
        if missing or not steps:
            absent = f"step {min(missing)}" if missing else f"{branch} branch"
            raise SiteError(f"{address} has no {absent} in a run with these options.")
        arrays = [values for _, values in parts]
        collected[address] = SiteValues(
            address, steps, arrays, selection.units, site.shape[1], site.heads
        )
    return collected


def _check_steps(address: str, batches: Sequence[Sequence[Step]]) -> None:
    """SiteError where batches were read at different steps, although their options are the same."""
    first, *others = [[(step.index, step.call) for step in steps] for steps in batches]
    if any(labels != first for labels in others):
        raise SiteError(
            f"{address} was called at other steps in one batch than in another, so its steps "
            "cannot be labelled; draw all samples in one batch, or disable what skips its module."
        )
