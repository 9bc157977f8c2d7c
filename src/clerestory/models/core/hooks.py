"""The only torch hooks: `attach` puts them on for a run, and they never outlive it.

- transformers captures hidden states with hooks of its own, so ours go before them (`prepend`).
- Edited values are copied into a tensor of the original's dtype and strides. A reshaped copy takes
  other kernels and moves the picture by 1.6e-5 even where nothing was edited.
- Batches that guidance has doubled are split here: above, there is one row for each sample.
- An early stop is an exception that is raised and caught in this file.
- What was not reached is an error at the end, which names the cause; calls of the same modules in
  other threads are neither edited nor counted.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor, nn

from clerestory.errors import EditError, ModelError, SiteError
from clerestory.models.core.addresses import parse
from clerestory.models.core.family import SiteHook, StageCall, TapCallback
from clerestory.models.core.rows import (
    Rows,
    flatten_positions,
    is_list,
    join_rows,
    restore_shape,
)
from clerestory.models.core.types import Branch, Edit, Step

__all__ = ["Attachment", "Tap", "attach", "halt_before", "watch_outputs"]


@dataclass(frozen=True)
class Tap:
    """Reads one site.

    Attributes:
        site: The site's address.
        callback: Called with activations `[sample, position, unit]` and the step.
        branch: The branch of guidance that it reads.
        steps: Indices of the steps that it reads; None for all.
        copies: Whether the callback gets a copy. One that gets the model's own memory must neither
            write to it nor keep it.
    """

    site: str
    callback: TapCallback
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None
    copies: bool = True

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The branch, as edits have theirs."""
        return (self.branch,)


@dataclass
class _ParsedEdit:
    """An edit with its address parsed."""

    edit: Edit
    site: str
    steps: tuple[int, ...] | None
    branches: tuple[Branch, ...]


@dataclass
class _Reach:
    """What happened at a site during a run.

    Attributes:
        calls: How often each step and branch was visited.
        skipped: The first step at which the stage ran without the site's module; None if none.
        reason: Why a call of the module could not be read; "" for no reason.
    """

    calls: Counter[tuple[int, Branch]] = field(default_factory=Counter)
    skipped: int | None = None
    reason: str = ""


_AtSite = TypeVar("_AtSite", _ParsedEdit, Tap)


class Attachment:
    """The edits and taps of one batch: counts calls of stages, edits values, calls taps.

    Args:
        site_hooks: Where sites are among the torch modules, by address.
        stage_call: From a stage and the number of its call to the step and the rows of branches.
        edits: Edits, in the order in which they are applied.
        taps: Taps, which see values as edited.
        hands_over: Whether values without a module must be handed over to `handoff`.

    Attributes:
        stage_modules: The modules whose calls are counted while it is attached, by stage.

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
        *,
        hands_over: bool = False,
    ) -> None:
        self.site_hooks, self._stage_call = site_hooks, stage_call
        self.hands_over = hands_over
        self._edits = tuple(_parse_edit(edit) for edit in edits)
        self._edits_at = _group_by_site(self._edits)
        self._taps_at = _group_by_site(taps)
        self._calls: Counter[str] = Counter()
        self._current_calls: dict[str, StageCall] = {}
        # Sites whose modules were called since the stage's last return.
        self._visited: set[str] = set()
        # Stages of which nothing is known: a module may belong to some of their calls only.
        self._may_skip: set[str] = set()
        for address in self.sites:
            if address not in site_hooks:
                raise SiteError(f"{address!r} is not a site of this model.")
        self._reached = {address: _Reach() for address in self.sites}
        self._thread = threading.get_ident()
        self.stage_modules: Mapping[str, nn.Module] = {}

    @property
    def sites(self) -> list[str]:
        """The addresses that are edited or read."""
        return [*self._edits_at, *(site for site in self._taps_at if site not in self._edits_at)]

    @property
    def is_own_thread(self) -> bool:
        """Whether the caller is the thread of the run: calls of other threads are not the run's."""
        return threading.get_ident() == self._thread

    def end_call(self, stage: str) -> None:
        """Advance to the next call of a stage.

        Args:
            stage: The stage whose module has returned.
        """
        for address, reach in self._reached.items():
            site_hook = self.site_hooks[address]
            if site_hook.site.stage == stage and site_hook.module is not None:
                if address not in self._visited and reach.skipped is None:
                    reach.skipped = self._calls[stage]
                self._visited.discard(address)
        self._may_skip |= {stage} if self._call_of(stage).merged else set()
        self._calls[stage] += 1
        self._current_calls.pop(stage, None)

    def miss(self, address: str, reason: str) -> None:
        """Note that a site's module was called and cannot be read.

        Args:
            address: The site.
            reason: Why, as the end of a sentence about its module.
        """
        self._reached[address].reason = reason

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

    def visit(self, address: str, value: Rows) -> Rows:
        """Edit and tap what a module takes or gives.

        Args:
            address: The site.
            value: Its value as the module has it, all branches of guidance in one batch; a list of
                tensors has one for each row.

        Returns:
            A copy with the edits; the same object where nothing is edited.

        Raises:
            EditError: An edit changes the shape.
            SiteError: A list of tensors of several shapes whose rows are several samples.
        """
        stage_call = self._call_of(self.site_hooks[address].site.stage)
        if isinstance(value, Tensor):
            return self._apply(address, value, stage_call)
        joined = join_rows(self.site_hooks[address], value, ragged=stage_call.merged)
        result = self._apply(address, joined.tensor, stage_call, joined.channels_last)
        return value if result is joined.tensor else type(value)(joined.split(result))

    def _call_of(self, stage: str) -> StageCall:
        """The call of a stage that is going on."""
        # One description for all sites of a call: the scheduler is asked once, and the count moves
        # on only when the stage returns.
        if stage not in self._current_calls:
            self._current_calls[stage] = self._stage_call(stage, self._calls[stage])
        return self._current_calls[stage]

    def finish(self) -> None:
        """Check that every edit was applied and every tap called.

        Raises:
            SiteError: A site was not reached, or the run has no such step or branch there.
        """
        for address, reach in self._reached.items():
            site_hook = self.site_hooks[address]
            if site_hook.module is None and not self.hands_over:
                continue
            stage = site_hook.site.stage
            if not reach.calls or (reach.skipped is not None and stage not in self._may_skip):
                root = self.stage_modules.get(stage)
                raise SiteError(_unreached(site_hook, reach, root))
        for edit in self._edits:
            if self._missing(edit) is not None:
                raise SiteError(
                    f"The edit at {edit.edit.site!r} was never applied: this run has no such "
                    f"step, or no branch {' or '.join(edit.branches)}, at that site."
                )
        for taps in self._taps_at.values():
            for tap in taps:
                missing = self._missing(tap)
                if missing is not None:
                    raise SiteError(f"{tap.site} has no {missing} in a run with these options.")

    def _missing(self, entry: _ParsedEdit | Tap) -> str | None:
        """The step or branch that an edit or a tap asks for, where its site has no such one."""
        calls = self._reached[entry.site].calls
        if not calls:
            return None
        steps = {index for index, branch in calls if branch in entry.branches}
        if not steps:
            return f"{' or '.join(entry.branches)} branch"
        missing = set(entry.steps or ()) - steps
        return f"step {min(missing)}" if missing else None

    def _apply(
        self,
        address: str,
        value: Tensor,
        stage_call: StageCall,
        channels_last: bool | None = None,
    ) -> Tensor:
        self._visited.add(address)
        calls = self._reached[address].calls
        site_hook = self.site_hooks[address]
        channels = slice(site_hook.channels)
        if channels_last is None:
            channels_last = site_hook.has_channels_last(value.shape)
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
                    _edit_in_place(edit.edit, part, merged_samples, channels_last)
        # After all edits, so that a site is read as edited.
        for tap in self._taps_at.get(address, ()):
            if tap.branch in stage_call.rows and _is_due(tap.steps, stage_call):
                rows = stage_call.rows[tap.branch]
                part = _select(result, rows, channels, merged_samples)
                part = flatten_positions(part, channels_last)
                part = _merge(part, merged_samples) if merged_samples else part
                # The model goes on with its own memory, which a callback may write to or keep.
                tap.callback(part.clone() if tap.copies else part, _step(stage_call, tap, calls))
        for branch in stage_call.rows:
            calls[stage_call.index, branch] += 1
        return result


@contextmanager
def attach(attachment: Attachment, stage_modules: Mapping[str, nn.Module]) -> Iterator[Attachment]:
    """Hook an attachment's sites and their stages, for as long as this is open.

    Args:
        attachment: The edits and taps.
        stage_modules: The modules whose calls count as calls of a stage, by stage.

    Yields:
        The attachment. All hooks are removed at the end, also after an error.

    Raises:
        SiteError: At the end, where an edit was never applied or a tap never called.
        ModelError: A run of these modules is in progress, whose tap or edit starts this one.
    """
    attachment.stage_modules = stage_modules
    with ExitStack() as hooks:
        hooks.enter_context(_claim(stage_modules.values()))
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


_CLAIMED: WeakSet[nn.Module] = WeakSet()
"""Modules with hooks of a run. Other threads wait for their turn at `hold_pipeline`."""


@contextmanager
def _claim(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Refuse a run within a run: the inner one would be edited and counted as the outer one."""
    claimed = [module for module in set(modules) if isinstance(module, nn.Module)]
    if any(module in _CLAIMED for module in claimed):
        raise ModelError("A run of this model is in progress: a tap or an edit cannot run it too.")
    _CLAIMED.update(claimed)
    try:
        yield
    finally:
        _CLAIMED.difference_update(claimed)


@contextmanager
def watch_outputs(
    modules: Mapping[str, nn.Module], note: Callable[[str, Any], None]
) -> Iterator[None]:
    """Call a function with what modules return, after any edits, for as long as this is open.

    Args:
        modules: Modules by name.
        note: Called with the name and the output, which it must not change.

    Yields:
        Nothing; the hooks are removed at the end.
    """

    def hook_of(name: str) -> Callable[..., None]:
        return lambda module, args, output: note(name, output)

    with ExitStack() as hooks:
        for name, module in modules.items():
            # Not prepended: edits come first.
            hooks.callback(module.register_forward_hook(hook_of(name)).remove)
        yield


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

    thread = threading.get_ident()

    def halt(module: nn.Module, args: Any) -> None:
        if threading.get_ident() == thread:
            raise _HaltError

    with ExitStack() as hooks:
        for module in modules:
            hooks.callback(module.register_forward_pre_hook(halt, prepend=True).remove)
        hooks.enter_context(suppress(_HaltError))
        yield


def _output_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    index = attachment.site_hooks[address].output_index

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        if not attachment.is_own_thread:
            return None
        value = _output_value(attachment.site_hooks[address], output)
        if not isinstance(value, Tensor) and not is_list(value):
            attachment.miss(address, f"gives a {_describe(output, value)} in place of a tensor")
            return None
        result = attachment.visit(address, value)
        if result is value:
            return None
        return result if output is value else _replace_output(output, index, result)

    return hook


def _output_value(site_hook: SiteHook, output: Any) -> Any:
    """What a module gives at a site: all of its output, or one of several values."""
    if isinstance(output, Tensor) or (isinstance(output, list) and _has_rows(site_hook, output)):
        return output
    values = list(output.values()) if isinstance(output, Mapping) else output
    several = isinstance(values, list | tuple) and site_hook.output_index < len(values)
    return values[site_hook.output_index] if several else None


def _has_rows(site_hook: SiteHook, output: list[Any]) -> bool:
    """Whether a list has a tensor for each row, rather than several values."""
    if not is_list(output):
        return False
    units = site_hook.site.shape[1]
    if units is None:
        # Networks that take and give lists (Z-Image) do so by rows.
        return "." not in site_hook.site.path
    return all(units == row.shape[-1 if row.ndim < 3 else 0] for row in output)


def _describe(output: Any, value: Any) -> str:
    outer, inner = type(output).__name__, type(value).__name__
    return outer if value is output else f"{outer} with a {inner}"


def _replace_output(output: Any, index: int, result: Rows) -> Any:
    """A module's several values with one of them replaced, of the same type."""
    # transformers and diffusers return ordered mappings (`ModelOutput`), which must keep their
    # type.
    if isinstance(output, Mapping):
        names = list(output)
        return type(output)(**{**output, names[index]: result})
    values = [result if position == index else value for position, value in enumerate(output)]
    # Named tuples take their fields one by one.
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)


def _input_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    site_hook = attachment.site_hooks[address]
    name, index = site_hook.argument_name, site_hook.argument_index

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not attachment.is_own_thread:
            return None
        # Pipelines pass the value by name or by position, and leave out optional ones.
        value = kwargs[name] if name in kwargs else args[index] if index < len(args) else None
        if not isinstance(value, Tensor) and not is_list(value):
            kind, argument = type(value).__name__, name or f"argument {index}"
            attachment.miss(address, f"is given a {kind} as {argument} in place of a tensor")
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
        if attachment.is_own_thread:
            attachment.end_call(stage)

    return hook


def _group_by_site(entries: Sequence[_AtSite]) -> dict[str, list[_AtSite]]:
    groups: dict[str, list[_AtSite]] = {}
    for entry in entries:
        groups.setdefault(entry.site, []).append(entry)
    return groups


def _is_due(steps: tuple[int, ...] | None, stage_call: StageCall) -> bool:
    return steps is None or stage_call.index in steps


def _step(stage_call: StageCall, tap: Tap, calls: Mapping[tuple[int, Branch], int]) -> Step:
    """The labels of a visit, before it is counted."""
    return Step(
        stage_call.index,
        tap.branch,
        stage_call.timestep,
        stage_call.sigma,
        calls[stage_call.index, tap.branch],
    )


def _unreached(site_hook: SiteHook, reach: _Reach, root: nn.Module | None) -> str:
    """Why a site was not reached, for an error message."""
    site, module = site_hook.site, site_hook.module
    start = f"{site.address} was not reached in this run: "
    if reach.reason:
        return f"{start}its module {reach.reason}."
    if module is None:
        return f"{start}its family does not hand it over."
    if isinstance(module, torch.jit.ScriptModule):
        return f"{start}its module {site.path} is compiled to TorchScript, which calls no hooks."
    if reach.calls:
        return (
            f"{site.address} was not reached at call {reach.skipped} of its stage: its module "
            f"{site.path} was skipped, as a cache of blocks does; disable it."
        )
    if root is not None and _is_fused(root, module):
        return f"{start}the projections of its attention are fused; call unfuse_qkv_projections()."
    return (
        f"{start}its module {site.path} was never called. The pipeline does not use it with these "
        "options, or calls something else in its place."
    )


def _is_fused(root: nn.Module, module: nn.Module) -> bool:
    """Whether a module is a projection that diffusers has fused with others into a new one."""
    return any(
        getattr(parent, "fused_projections", False) and module in set(parent.children())
        for parent in root.modules()
    )


def _copy(value: Tensor) -> Tensor:
    """A copy with the same dtype and strides, so that the same kernels run on it."""
    return torch.empty_like(value, memory_format=torch.preserve_format).copy_(value)


def _select(value: Tensor, rows: slice, channels: slice, merged_samples: int) -> Tensor:
    """A branch's rows and the channels that are used; all rows where branches are merged."""
    # Basic slices on purpose: they are views, and an edit of a part writes into the copy.
    selected = value if merged_samples else value[rows]
    return selected[:, channels] if value.ndim == 4 and channels.stop else selected


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


def _edit_in_place(edit: Edit, part: Tensor, merged_samples: int, channels_last: bool) -> None:
    """Let an edit change `part`, a view into the copy."""
    flat = flatten_positions(part, channels_last)
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
    part.copy_(restore_shape(after, part.shape, channels_last))


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
