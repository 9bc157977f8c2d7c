"""The only torch hooks: `attached` puts them on for a run, and they never outlive it.

What decides how it is done:

- transformers catches hidden states with hooks of its own, so ours go before them (`prepend`).
- Edited values are copied into a tensor of the original's dtype and strides. A reshaped copy takes
  other kernels and moves the picture by 1.6e-5 even where nothing was edited.
- Batches that guidance has doubled are split here: above, there is one row for each sample.
- A run that ends early ends by an exception that is raised and caught here.
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
    """Reads one site: `callback` is called with `[sample, position, unit]` and the step."""

    site: str
    callback: TapCallback
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None


@dataclass
class _PlacedEdit:
    """An edit with its address read: where, when, in which branches, and whether it was made."""

    edit: Edit
    site: str
    steps: tuple[int, ...] | None
    branches: tuple[Branch, ...]
    made: bool = False


_AtSite = TypeVar("_AtSite", _PlacedEdit, Tap)


def flatten_positions(value: Tensor) -> Tensor:
    """Any activation as `[sample, position, unit]`; a map has H·W positions, a vector one."""
    if value.ndim < 3:
        return value.reshape(-1, 1, value.shape[-1] if value.ndim else 1)
    return value if value.ndim == 3 else value.flatten(2).transpose(1, 2)


def restore_shape(value: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `flatten_positions`, to a tensor of this shape."""
    return value.reshape(shape) if len(shape) < 4 else value.transpose(1, 2).reshape(shape)


class Attachment:
    """The edits and taps of one batch: counts the stages' calls, edits values, shows them."""

    def __init__(
        self,
        site_hooks: Mapping[str, SiteHook],
        stage_call: Callable[[str, int], StageCall],
        edits: Sequence[Edit],
        taps: Sequence[Tap],
    ) -> None:
        self.site_hooks, self._stage_call = site_hooks, stage_call
        self._edits = tuple(_placed(edit) for edit in edits)
        self._edits_at = _by_site(self._edits)
        self._taps_at = _by_site(taps)
        self._calls: Counter[str] = Counter()
        self._stage_calls: dict[str, StageCall] = {}
        self._seen: set[str] = set()
        for address in self.sites:
            if address not in site_hooks:
                raise SiteError(f"Nothing can be attached to {address!r}: it is no site here.")

    @property
    def sites(self) -> list[str]:
        """The addresses that are edited or read."""
        return [*self._edits_at, *(site for site in self._taps_at if site not in self._edits_at)]

    def count(self, stage: str) -> None:
        """One call of a stage has ended."""
        self._calls[stage] += 1
        self._stage_calls.pop(stage, None)

    def handoff(self, address: str, branches: Mapping[Branch, Tensor]) -> Mapping[Branch, Tensor]:
        """Pass values that no module makes by their site, one for each branch."""
        if address not in self.sites:
            return branches
        return {
            branch: self._visit(address, value, StageCall({branch: slice(None)}))
            for branch, value in branches.items()
        }

    def visit(self, address: str, value: Tensor) -> Tensor:
        """Edit and show what a module takes or gives; the same object where nothing is edited."""
        stage = self.site_hooks[address].site.stage
        if stage not in self._stage_calls:
            self._stage_calls[stage] = self._stage_call(stage, self._calls[stage])
        return self._visit(address, value, self._stage_calls[stage])

    def finish(self) -> None:
        """SiteError for an edit whose site was passed, but never at its step or in its branch."""
        for edit in self._edits:
            if edit.site in self._seen and not edit.made:
                raise SiteError(
                    f"The edit at {edit.edit.site!r} was never made: this run has no such step or "
                    f"branch ({' or '.join(edit.branches)}) there."
                )

    def _visit(self, address: str, value: Tensor, stage_call: StageCall) -> Tensor:
        self._seen.add(address)
        used = slice(self.site_hooks[address].channels)
        fold = stage_call.rows["cond"].stop if stage_call.merged else 0
        result = value
        for placed in self._edits_at.get(address, ()):
            if not _due(placed.steps, stage_call):
                continue
            for rows in (
                stage_call.rows[name] for name in placed.branches if name in stage_call.rows
            ):
                result = _copy(value) if result is value else result
                _apply(placed.edit, _part(result, rows, used, fold), fold)
                placed.made = True
        for tap in self._taps_at.get(address, ()):
            if tap.branch in stage_call.rows and _due(tap.steps, stage_call):
                part = flatten_positions(_part(result, stage_call.rows[tap.branch], used, fold))
                step = Step(stage_call.index, tap.branch, stage_call.timestep, stage_call.sigma)
                tap.callback(_folded(part, fold) if fold else part, step)
        return result


@contextmanager
def attach(attachment: Attachment, roots: Mapping[str, nn.Module]) -> Iterator[Attachment]:
    """Hooks on the attachment's sites and on their stages' roots, off again however it ends."""
    with ExitStack() as hooks:
        for address in attachment.sites:
            site_hook = attachment.site_hooks[address]
            if site_hook.module is None:
                continue
            if site_hook.side == "input":
                handle = site_hook.module.register_forward_pre_hook(
                    _input_hook(attachment, address), prepend=True, with_kwargs=True
                )
            else:
                handle = site_hook.module.register_forward_hook(
                    _output_hook(attachment, address), prepend=True
                )
            hooks.callback(handle.remove)
        stages = {attachment.site_hooks[address].site.stage for address in attachment.sites}
        for stage in stages & roots.keys():
            handle = roots[stage].register_forward_hook(_count_hook(attachment, stage))
            hooks.callback(handle.remove)
        yield attachment
        attachment.finish()


class _HaltError(Exception):
    """Raised by `halt_before` and by nobody else."""


@contextmanager
def halt_before(before: Sequence[nn.Module]) -> Iterator[None]:
    """Leave the block, without an error, when one of these modules is about to be called."""

    def halt(module: nn.Module, args: Any) -> None:
        raise _HaltError

    with ExitStack() as hooks:
        for module in before:
            hooks.callback(module.register_forward_pre_hook(halt, prepend=True).remove)
        hooks.enter_context(suppress(_HaltError))
        yield


def _output_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    part = attachment.site_hooks[address].output_index

    def hook(module: nn.Module, args: Any, output: Any) -> Any:
        value = output if isinstance(output, Tensor) else output[part]
        if not isinstance(value, Tensor):
            return None
        result = attachment.visit(address, value)
        if result is value:
            return None
        return result if output is value else _with(output, part, result)

    return hook


def _with(output: Any, part: int, value: Tensor) -> Any:
    """A module's several values with one of them changed."""
    if isinstance(output, Mapping):
        names = list(output)
        return type(output)(**{**output, names[part]: value})
    return tuple(value if index == part else value_ for index, value_ in enumerate(output))


def _input_hook(attachment: Attachment, address: str) -> Callable[..., Any]:
    name, at = (
        attachment.site_hooks[address].argument_name,
        attachment.site_hooks[address].argument_index,
    )

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        value = kwargs[name] if name in kwargs else args[at] if at < len(args) else None
        if not isinstance(value, Tensor):
            return None
        result = attachment.visit(address, value)
        if result is value:
            return None
        if name in kwargs:
            return args, {**kwargs, name: result}
        return (*args[:at], result, *args[at + 1 :]), kwargs

    return hook


def _count_hook(attachment: Attachment, stage: str) -> Callable[..., None]:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        attachment.count(stage)

    return hook


def _by_site(entries: Sequence[_AtSite]) -> dict[str, list[_AtSite]]:
    by_site: dict[str, list[_AtSite]] = {}
    for entry in entries:
        by_site.setdefault(entry.site, []).append(entry)
    return by_site


def _due(steps: tuple[int, ...] | None, stage_call: StageCall) -> bool:
    return steps is None or stage_call.index in steps


def _copy(value: Tensor) -> Tensor:
    """A copy with the same dtype and strides, so that the same kernels run on it."""
    return torch.empty_like(value, memory_format=torch.preserve_format).copy_(value)


def _part(value: Tensor, rows: slice, used: slice, fold: int) -> Tensor:
    """A branch's rows and the channels that are used; all rows where they are merged."""
    chosen = value if fold else value[rows]
    return chosen[:, used] if value.ndim == 4 else chosen


def _folded(value: Tensor, samples: int) -> Tensor:
    """`[branch × sample, position, unit]` as `[sample, branch × position, unit]`."""
    if len(value) % samples:
        return value
    _, positions, units = value.shape
    apart = value.reshape(-1, samples, positions, units).transpose(0, 1)
    return apart.reshape(samples, -1, units)


def _unfolded(value: Tensor, rows: int) -> Tensor:
    """The inverse of `_folded`, to so entries rows."""
    samples, _, units = value.shape
    if rows == samples:
        return value
    apart = value.reshape(samples, rows // samples, -1, units).transpose(0, 1)
    return apart.reshape(rows, -1, units)


def _apply(edit: Edit, part: Tensor, fold: int = 0) -> None:
    """Let an edit change `part`, a view into the twin, in site_hook."""
    whole = flatten_positions(part)
    before = _folded(whole, fold) if fold else whole
    after = edit(before)
    if after.shape != before.shape:
        raise EditError(
            f"The edit at {edit.site!r} made {list(after.shape)} of an activation of "
            f"{list(before.shape)}; an edit keeps [sample, position, unit]."
        )
    after = _unfolded(after, len(whole)) if fold else after
    if after.untyped_storage().data_ptr() == part.untyped_storage().data_ptr():
        after = after.clone()  # torch refuses to copy a tensor onto another view of itself
    part.copy_(restore_shape(after, part.shape))


def _placed(edit: Edit) -> _PlacedEdit:
    address = parse(edit.site)
    if address.units is not None:
        raise EditError(f"An edit changes a whole site; write {address.site!r}, not {edit.site!r}.")
    branch = getattr(edit, "branch", "cond")
    if branch not in ("cond", "uncond", "both"):
        raise EditError(f"An edit's branch is {branch!r}; it must be cond, uncond or both.")
    both: tuple[Branch, ...] = ("cond", "uncond")
    chosen = tuple(name for name in both if branch in (name, "both"))
    return _PlacedEdit(edit, address.site, address.steps, chosen)
