"""The only torch hooks: `attach` puts them on for a run, and they never outlive it.

- transformers captures hidden states with hooks of its own, so ours go before them (`prepend`).
- Edited values are copied into a tensor of the original's dtype and strides. A reshaped copy takes
  other kernels and moves the picture by 1.6e-5 even where nothing was edited.
- Batches that guidance has doubled are split here: above, there is one row for each sample.
- An early stop is an exception that is raised and caught in this file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from clerestory.errors import EditError, SiteError
from clerestory.models.core.addresses import parse
from clerestory.models.core.family import SiteHook, StageCall, TapCallback
from clerestory.models.core.types import Branch, Edit, Step

__all__ = ["Attachment", "Tap", "attach", "flatten_positions", "halt_before", "restore_shape"]


@dataclass(frozen=True)
class Tap:
    """Reads one site.

    Attributes:
        site: The site's address.
        callback: Called with activations `[sample, position, unit]` and the step.
        branch: The branch of guidance that it reads.
        steps: Indices of the steps that it reads; None for all.
    """

    site: str
    callback: TapCallback
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None


@dataclass
class _ParsedEdit:
    """An edit with its address parsed, and whether it was applied in this run."""

    edit: Edit
    site: str
    steps: tuple[int, ...] | None
    branches: tuple[Branch, ...]
    applied: bool = False


_AtSite = TypeVar("_AtSite", _ParsedEdit, Tap)


def flatten_positions(value: Tensor) -> Tensor:
    """View any activation as `[sample, position, unit]`.

    Args:
        value: `[sample, unit]` (one position), `[sample, position, unit]`, or a map
            `[sample, unit, height, width]` (height × width positions).

    Returns:
        `[sample, position, unit]`; a view where torch can make one.
    """
    if value.ndim < 3:
        return value.reshape(-1, 1, value.shape[-1] if value.ndim else 1)
    return value if value.ndim == 3 else value.flatten(2).transpose(1, 2)


def restore_shape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Invert `flatten_positions`.

    Args:
        value: `[sample, position, unit]`.
        shape: The shape before, of two, three or four dimensions.

    Returns:
        A tensor of that shape; a view where torch can make one.
    """
    return value.reshape(shape) if len(shape) < 4 else value.transpose(1, 2).reshape(shape)


class Attachment:
    """The edits and taps of one batch: counts calls of stages, edits values, calls taps.

    Args:
        site_hooks: Where sites are among the torch modules, by address.
        stage_call: From a stage and the number of its call to the step and the rows of branches.
        edits: Edits, in the order in which they are applied.
        taps: Taps, which see values as edited.

    Raises:
        SiteError: An edit or tap is of no known site.
        EditError: An edit's address has units, or its branch is unknown.
    """

    def __init__(
        self,
        site_hooks: Mapping[str, SiteHook],
        stage_call: Callable[[str, int], StageCall],
        edits: Sequence[Edit],
        taps: Sequence[Tap],
    ) -> None:
        self.site_hooks, self._stage_call = site_hooks, stage_call
        self._edits = tuple(_parse_edit(edit) for edit in edits)
        self._edits_at = _group_by_site(self._edits)
        self._taps_at = _group_by_site(taps)
        self._calls: Counter[str] = Counter()
        self._current_calls: dict[str, StageCall] = {}
        self._visited: set[str] = set()
        for address in self.sites:
            if address not in site_hooks:
                raise SiteError(f"{address!r} is not a site of this model.")

    @property
    def sites(self) -> list[str]:
        """The addresses that are edited or read."""
        return [*self._edits_at, *(site for site in self._taps_at if site not in self._edits_at)]

    def end_call(self, stage: str) -> None:
        """Advance to the next call of a stage.

        Args:
            stage: The stage whose module has returned.
        """
        self._calls[stage] += 1
        self._current_calls.pop(stage, None)

    def handoff(self, address: str, branches: Mapping[Branch, Tensor]) -> Mapping[Branch, Tensor]:
        """Edit and tap a value that goes between stages without a module, branch by branch.

        Args:
            address: The conditioning site.
            branches: The value of each branch of guidance, a row for each sample.

        Returns:
            The values as edited; the same mapping where the site is neither edited nor read.

        Raises:
            EditError: An edit changes the shape.
        """
        if address not in self.sites:
            return branches
        return {
            branch: self._apply(address, value, StageCall({branch: slice(None)}))
            for branch, value in branches.items()
        }

    def visit(self, address: str, value: Tensor) -> Tensor:
        """Edit and tap what a module takes or gives.

        Args:
            address: The site.
            value: Its value as the module has it, all branches of guidance in one batch.

        Returns:
            A copy with the edits; the same object where nothing is edited.

        Raises:
            EditError: An edit changes the shape.
        """
        stage = self.site_hooks[address].site.stage
        # One description for all sites of a call: the scheduler is asked once, and the count moves
        # on only when the stage returns.
        if stage not in self._current_calls:
            self._current_calls[stage] = self._stage_call(stage, self._calls[stage])
        return self._apply(address, value, self._current_calls[stage])

    def finish(self) -> None:
        """Check that every edit whose site was reached was applied.

        Raises:
            SiteError: The run has no such step or branch at an edit's site.
        """
        for edit in self._edits:
            # A site that was not reached is no error: the run may have stopped before it on
            # purpose.
            if edit.site in self._visited and not edit.applied:
                raise SiteError(
                    f"The edit at {edit.edit.site!r} was never applied: this run has no such "
                    f"step, or no branch {' or '.join(edit.branches)}, at that site."
                )

    def _apply(self, address: str, value: Tensor, stage_call: StageCall) -> Tensor:
        self._visited.add(address)
        channels = slice(self.site_hooks[address].channels)
        # The number of samples if branches are merged, else 0.
        merged_samples = stage_call.rows["cond"].stop if stage_call.merged else 0
        result = value
        for edit in self._edits_at.get(address, ()):
            if not _is_due(edit.steps, stage_call):
                continue
            for branch in edit.branches:
                if branch in stage_call.rows:
                    # Copied at the first edit only: an unedited run hands on the model's own
                    # tensors.
                    result = _copy(value) if result is value else result
                    part = _select(result, stage_call.rows[branch], channels, merged_samples)
                    _edit_in_place(edit.edit, part, merged_samples)
                    edit.applied = True
        # After all edits, so that a site is read as edited.
        for tap in self._taps_at.get(address, ()):
            if tap.branch in stage_call.rows and _is_due(tap.steps, stage_call):
                rows = stage_call.rows[tap.branch]
                part = flatten_positions(_select(result, rows, channels, merged_samples))
                step = Step(stage_call.index, tap.branch, stage_call.timestep, stage_call.sigma)
                tap.callback(_merge(part, merged_samples) if merged_samples else part, step)
        return result


@contextmanager
def attach(attachment: Attachment, stage_modules: Mapping[str, nn.Module]) -> Iterator[Attachment]:
    """Hook an attachment's sites and their stages, for as long as this is open.

    Args:
        attachment: The edits and taps.
        stage_modules: The modules whose calls count as calls of a stage.

    Yields:
        The attachment. All hooks are removed at the end, also after an error.

    Raises:
        SiteError: At the end, where an edit was never applied.
    """
    with ExitStack() as hooks:
        for address in attachment.sites:
            site_hook = attachment.site_hooks[address]
            if site_hook.module is None:
                continue
            if site_hook.is_input:
                handle = site_hook.module.register_forward_pre_hook(
                    _input_hook(attachment, address), prepend=True, with_kwargs=True
                )
            else:
                handle = site_hook.module.register_forward_hook(
                    _output_hook(attachment, address), prepend=True
                )
            hooks.callback(handle.remove)
        # Only stages with a site that is hooked are counted. A stage's own hook runs after those of
        # its sites, whose hooks are prepended, also where the site is the stage's module.
        stages = {attachment.site_hooks[address].site.stage for address in attachment.sites}
        for stage in stages & stage_modules.keys():
            handle = stage_modules[stage].register_forward_hook(_count_hook(attachment, stage))
            hooks.callback(handle.remove)
        yield attachment
        # Not in a `finally`: after an error in the block that error is the one to see.
        attachment.finish()


# An exception is the only way out of a pipeline's loop from within a module.
class _HaltError(Exception):
    """Raised and caught by `halt_before` only."""


@contextmanager
def halt_before(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Leave the block, without an error, when one of these modules is about to be called.

    Args:
        modules: Modules; an early stop is the first call of any of them.

    Yields:
        Nothing; the modules stop the block while this is open.
    """

    def halt(module: nn.Module, args: Any) -> None:
        raise _HaltError

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(halt, prepend=True).remove)
        hooks.enter_context(suppress(_HaltError))
        yield


def _output_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    index = attachment.site_hooks[address].output_index

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        value = output if isinstance(output, Tensor) else output[index]
        if not isinstance(value, Tensor):
            return None
        result = attachment.visit(address, value)
        if result is value:
            return None
        return result if output is value else _replace_output(output, index, result)

    return hook


def _replace_output(output: Any, index: int, result: Tensor) -> Any:
    """A module's several values with one of them replaced."""
    # transformers and diffusers return ordered mappings (`ModelOutput`), which must keep their
    # type.
    if isinstance(output, Mapping):
        names = list(output)
        return type(output)(**{**output, names[index]: result})
    return tuple(result if position == index else value for position, value in enumerate(output))


def _input_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    site_hook = attachment.site_hooks[address]
    name, index = site_hook.argument_name, site_hook.argument_index

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        # Pipelines pass the value by name or by position, and leave out optional ones.
        value = kwargs[name] if name in kwargs else args[index] if index < len(args) else None
        if not isinstance(value, Tensor):
            return None
        result = attachment.visit(address, value)
        if result is value:
            return None
        if name in kwargs:
            return args, {**kwargs, name: result}
        return (*args[:index], result, *args[index + 1 :]), kwargs

    return hook


def _count_hook(attachment: Attachment, stage: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        attachment.end_call(stage)

    return hook


def _group_by_site(entries: Sequence[_AtSite]) -> dict[str, list[_AtSite]]:
    groups: dict[str, list[_AtSite]] = {}
    for entry in entries:
        groups.setdefault(entry.site, []).append(entry)
    return groups


def _is_due(steps: tuple[int, ...] | None, stage_call: StageCall) -> bool:
    return steps is None or stage_call.index in steps


def _copy(value: Tensor) -> Tensor:
    """A copy with the same dtype and strides, so that the same kernels run on it."""
    return torch.empty_like(value, memory_format=torch.preserve_format).copy_(value)


def _select(value: Tensor, rows: slice, channels: slice, merged_samples: int) -> Tensor:
    """A branch's rows and the channels that are used; all rows where branches are merged."""
    # Basic slices on purpose: they are views, and an edit of a part writes into the copy.
    selected = value if merged_samples else value[rows]
    return selected[:, channels] if value.ndim == 4 else selected


def _merge(value: Tensor, samples: int) -> Tensor:
    """`[branch × sample, position, unit]` as `[sample, branch × position, unit]`."""
    # Where the rows are no multiple of the samples, they cannot be assigned to them and stay as
    # they are.
    if len(value) % samples:
        return value
    _, positions, units = value.shape
    by_sample = value.reshape(-1, samples, positions, units).transpose(0, 1)
    return by_sample.reshape(samples, -1, units)


def _split(value: Tensor, rows: int) -> Tensor:
    """The inverse of `_merge`, to `rows` rows."""
    samples, _, units = value.shape
    if rows == samples:
        return value
    by_branch = value.reshape(samples, rows // samples, -1, units).transpose(0, 1)
    return by_branch.reshape(rows, -1, units)


def _edit_in_place(edit: Edit, part: Tensor, merged_samples: int) -> None:
    """Let an edit change `part`, a view into the copy."""
    flat = flatten_positions(part)
    # Edits see one row for each sample, as taps do.
    before = _merge(flat, merged_samples) if merged_samples else flat
    after = edit(before)
    if not isinstance(after, Tensor):
        found = "None" if after is None else f"a value of type {type(after).__name__}"
        raise EditError(
            f"The edit at {edit.site!r} returned {found}; an edit must return a tensor of the "
            "shape that it was given."
        )
    if after.shape != before.shape:
        raise EditError(
            f"The edit at {edit.site!r} returned shape {list(after.shape)} for an activation "
            f"of shape {list(before.shape)}; an edit must keep the shape."
        )
    after = _split(after, len(flat)) if merged_samples else after
    if after.untyped_storage().data_ptr() == part.untyped_storage().data_ptr():
        after = after.clone()  # torch refuses to copy a tensor onto another view of itself
    part.copy_(restore_shape(after, part.shape))


def _parse_edit(edit: Edit) -> _ParsedEdit:
    address = parse(edit.site)
    if address.units is not None:
        raise EditError(f"An edit changes a whole site; write {address.site!r}, not {edit.site!r}.")
    # Edits are any callables with a `site`; `branch` is optional.
    branch = getattr(edit, "branch", "cond")
    if branch not in ("cond", "uncond", "both"):
        raise EditError(f"An edit's branch is {branch!r}; it must be cond, uncond or both.")
    both: tuple[Branch, ...] = ("cond", "uncond")
    return _ParsedEdit(
        edit, address.site, address.steps, tuple(name for name in both if branch in (name, "both"))
    )
