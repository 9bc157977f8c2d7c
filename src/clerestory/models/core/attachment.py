"""The edits and taps of one batch, and what they do to a value at its site.

- Edited values are copied into a tensor of the original's dtype and strides. A reshaped copy takes
  other kernels and moves the picture by 1.6e-5 even where nothing was edited.
- Batches that guidance has doubled are split here: edits and taps see one row for each sample.
- `hooks.py` calls an `Attachment` from the modules of its sites, `Family.draw` with values between
  stages.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from clerestory.errors import EditError, SiteError
from clerestory.models.core.addresses import parse
from clerestory.models.core.edit_application import edit_in_place
from clerestory.models.core.family import SiteHook, StageCall, TapCallback
from clerestory.models.core.graph_recording import check_recordable, make_node
from clerestory.models.core.rows import (
    Rows,
    copy_layout,
    flatten_positions,
    join_rows,
    merge_branches,
)
from clerestory.models.core.types import Branch, Edit, Step
from clerestory.models.core.visits import Visits

__all__ = ["Attachment", "Probe", "Tap"]


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
        in_graph: Whether autograd records what the callback computes, so that it is called once
            more where a step is computed once more for its gradients.
    """

    site: str
    callback: TapCallback
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None
    copies: bool = True
    in_graph: bool = False


@dataclass(frozen=True)
class Probe:
    """Reads the gradient with respect to what a site has after its edits.

    Attributes:
        site: The site's address.
        callback: Called during the backward pass with the gradient `[sample, position, unit]`,
            which it must not change, and the step.
        branch: The branch of guidance that it reads.
        steps: Indices of the steps that it reads; None for all.
    """

    site: str
    callback: TapCallback
    branch: Branch = "cond"
    steps: tuple[int, ...] | None = None


@dataclass
class _ParsedEdit:
    """An edit with its address parsed."""

    edit: Edit
    site: str
    steps: tuple[int, ...] | None
    branches: tuple[Branch, ...]


_OF_A_CALL = {"_visits", "_module_calls", "_current_calls", "_thread", "_replays"}
"""The state of an attachment that `replay` sets aside."""
_AtSite = TypeVar("_AtSite", _ParsedEdit, Tap, Probe)


class Attachment:
    """The edits and taps of one batch: counts calls of stages, edits values, calls taps.

    Args:
        site_hooks: Where sites are among the torch modules, by address.
        stage_call: From a stage and the number of its call to the step and the rows of branches.
        edits: Edits, in the order in which they are applied.
        taps: Taps, which see values as edited.
        probes: Probes of gradients.
        expects_handoff: Whether values without a module must be handed over to `handoff`.
        counted_stages: Stages whose calls are counted although none of their sites is edited or
            read.

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
        probes: Sequence[Probe] = (),
        expects_handoff: bool = False,
        counted_stages: Set[str] = frozenset(),
    ) -> None:
        self._stage_call = stage_call
        self.counted_stages = counted_stages
        self._expects_handoff = expects_handoff
        self._edits = tuple(_parse_edit(edit) for edit in edits)
        self._edits_by_site = _group_by_site(self._edits)
        self._taps_by_site = _group_by_site(taps)
        self._probes_by_site = _group_by_site(probes)
        self._call_counts: Counter[str] = Counter()
        self._current_calls: dict[str, StageCall] = {}
        # Calls of modules that several sites share, within the call of their stage that goes on.
        self._module_calls: Counter[str] = Counter()
        sites = [*self._edits_by_site, *self._taps_by_site, *self._probes_by_site]
        for address in sites:
            if address not in site_hooks:
                raise SiteError(f"{address!r} is not a site of this model.")
        self._site_hooks = {address: site_hooks[address] for address in sites}
        self._visits = Visits(self._site_hooks)
        self._thread = threading.get_ident()
        self._is_paused = False
        # What an edit or a tap raised.
        self.caller_error: Exception | None = None
        # What to differentiate by, so that probes get gradients.
        self.anchors: list[Tensor] = []
        self._replays = False

    @property
    def site_hooks(self) -> Mapping[str, SiteHook]:
        """The hooks of the sites that are edited or read, by address."""
        return self._site_hooks

    @property
    def has_edits(self) -> bool:
        """Whether there is any edit."""
        return bool(self._edits)

    @property
    def is_replaying(self) -> bool:
        """Whether a call of a stage is computed once more, for its gradients."""
        return self._replays

    @property
    def is_listening(self) -> bool:
        """Whether calls are the run's: made in its thread, and not while it is paused."""
        return threading.get_ident() == self._thread and not self._is_paused

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Neither edit nor count calls, for as long as this is open.

        Yields:
            Nothing.
        """
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    @contextmanager
    def replay(self, stage: str, call: StageCall) -> Iterator[None]:
        """Take what is computed for a call of a stage that was made before.

        Edits are made again, and nothing is counted. Autograd may call this in a thread of its own.

        Args:
            stage: The stage.
            call: Its call, as `current_call` gave it.

        Yields:
            Nothing; the attachment is as before at the end.
        """
        before = {name: value for name, value in vars(self).items() if name in _OF_A_CALL}
        self._visits, self._module_calls = Visits(self._site_hooks), Counter()
        self._current_calls = {stage: call}
        self._thread, self._replays = threading.get_ident(), True
        try:
            yield
        finally:
            vars(self).update(before)

    def end_call(self, stage: str) -> None:
        """Advance to the next call of a stage.

        Args:
            stage: The stage whose module has returned.
        """
        self._visits.end_stage_call(stage, self._call_counts[stage], self.current_call(stage))
        self._call_counts[stage] += 1
        self._current_calls.pop(stage, None)
        for address in self._module_calls:
            if self._site_hooks[address].site.stage == stage:
                self._module_calls[address] = 0

    def set_unreadable(self, address: str, reason: str) -> None:
        """Note that a site's module was called and cannot be read, an error at the end.

        Args:
            address: The site.
            reason: Why, as the end of a sentence about its module.
        """
        self._visits.set_unreadable(address, reason)

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
        if address not in self._site_hooks:
            return branches
        return {
            branch: self._edit_and_tap(address, value, StageCall({branch: slice(0, len(value))}))
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
        site_hook = self._site_hooks[address]
        stage_call = self.current_call(site_hook.site.stage)
        if site_hook.call is not None:
            self._module_calls[address] += 1
            if self._module_calls[address] != site_hook.call + 1:
                return value
        if site_hook.mixes_branches:
            stage_call = stage_call.merge_rows()
        if isinstance(value, Tensor):
            return self._edit_and_tap(address, value, stage_call)
        if stage_call.merged:
            result = self._visit_list(address, value, stage_call)
            return value if result is value else type(value)(result)
        # Branch by branch, since a negative prompt may have another number of tokens.
        rows = list(value)
        for branch, part in stage_call.rows.items():
            call = replace(stage_call, rows={branch: slice(0, part.stop - part.start)})
            rows[part] = self._visit_list(address, value[part], call)
        unchanged = all(new is old for new, old in zip(rows, value, strict=True))
        return value if unchanged else type(value)(rows)

    def _visit_list(
        self, address: str, value: Sequence[Tensor], stage_call: StageCall
    ) -> Sequence[Tensor]:
        joined = join_rows(self._site_hooks[address], value, ragged=stage_call.merged)
        result = self._edit_and_tap(address, joined.tensor, stage_call, joined.channels_last)
        return value if result is joined.tensor else joined.split(result)

    def finish(self, stage_modules: Mapping[str, nn.Module]) -> None:
        """Check that every edit was applied and every tap called.

        Args:
            stage_modules: The modules whose calls were counted, by stage.

        Raises:
            SiteError: A site was not reached, or the run has no such step or branch there.
        """
        self._visits.check_sites(stage_modules, expects_handoff=self._expects_handoff)
        for edit in self._edits:
            if self._visits.missing_step_or_branch(edit.site, edit.steps, edit.branches):
                raise SiteError(
                    f"The edit at {edit.edit.site!r} was never applied: this run has no such "
                    f"step, or no branch {' or '.join(edit.branches)}, at that site."
                )
        readers: list[Tap | Probe] = [tap for taps in self._taps_by_site.values() for tap in taps]
        readers += [probe for probes in self._probes_by_site.values() for probe in probes]
        for reader in readers:
            missing = self._visits.missing_step_or_branch(
                reader.site, reader.steps, (reader.branch,)
            )
            if missing:
                raise SiteError(f"{reader.site} has no {missing} in a run with these options.")

    def current_call(self, stage: str) -> StageCall:
        """The call of a stage that is going on.

        Args:
            stage: A stage whose calls are counted.

        Returns:
            Its step and the rows of each branch.
        """
        # One description for all sites of a call: the scheduler is asked once, and the count moves
        # on only when the stage returns.
        if stage not in self._current_calls:
            self._current_calls[stage] = self._stage_call(stage, self._call_counts[stage])
        return self._current_calls[stage]

    @contextmanager
    def _note_error(self) -> Iterator[None]:
        """Note what an edit or a tap raises, which is no error of the pipeline."""
        try:
            yield
        except Exception as error:
            self.caller_error = error
            raise

    def _edit_and_tap(
        self,
        address: str,
        value: Tensor,
        stage_call: StageCall,
        channels_last: bool | None = None,
    ) -> Tensor:
        site_hook = self._site_hooks[address]
        if not stage_call.merged and not self._has_branch_rows(address, len(value), stage_call):
            return value
        if channels_last is None:
            channels_last = site_hook.has_channels_last(value.shape)
        # The number of samples if branches are merged, else 0.
        merged_samples = next(iter(stage_call.rows.values())).stop if stage_call.merged else 0
        counts = self._visits.start(address)
        visit = _Visit(site_hook, stage_call, counts, merged_samples, channels_last)
        result = value
        for edit in self._edits_by_site.get(address, ()):
            if not _is_due(edit.steps, stage_call):
                continue
            for branch in edit.branches:
                if branch in stage_call.rows:
                    # Copied at the first edit only: an unedited run hands on the model's own
                    # tensors.
                    result = copy_layout(value) if result is value else result
                    part = visit.select(result, branch)
                    with self._note_error():
                        edit_in_place(edit.edit, part, merged_samples, channels_last)
        result = self._probe(visit, result)
        # After all edits, so that a site is read as edited.
        for tap in self._taps_by_site.get(address, ()):
            if self._replays and not tap.in_graph:
                continue
            if tap.branch in stage_call.rows and _is_due(tap.steps, stage_call):
                part = visit.rows(result, tap.branch)
                # The model goes on with its own memory, which a callback may write to or keep.
                with self._note_error():
                    tap.callback(part.clone() if tap.copies else part, visit.step(tap.branch))
        self._visits.count(address, stage_call)
        return result

    def _probe(self, visit: _Visit, value: Tensor) -> Tensor:
        """The value as a node of its own in autograd's graph, whose gradient goes to the probes."""
        call, address = visit.stage_call, visit.site_hook.site.address
        probes = [
            probe
            for probe in self._probes_by_site.get(address, ())
            if probe.branch in call.rows and _is_due(probe.steps, call)
        ]
        if not probes:
            return value
        check_recordable(address)
        if not torch.is_grad_enabled():
            return value
        # A copy: what else the tensor is used for, as the input of another module, is not the
        # site's, and an edit would not reach it.
        node, anchor = make_node(value)
        if self._replays:
            return node
        self.anchors.append(anchor)
        steps = [visit.step(probe.branch) for probe in probes]

        def receive(gradient: Tensor) -> None:
            for probe, step in zip(probes, steps, strict=True):
                with self._note_error():
                    probe.callback(visit.rows(gradient, probe.branch), step)

        node.register_hook(receive)
        return node

    def _has_branch_rows(self, address: str, rows: int, stage_call: StageCall) -> bool:
        """Whether a value has the rows of the branches; False where it has the other rows alone.

        Perturbed attention takes them one after the other, the branches first.
        """
        others = stage_call.other_rows
        if rows == stage_call.count:
            return True
        comes_first = not self._visits.is_visited(address)
        if others and rows == (stage_call.count - others if comes_first else others):
            return comes_first
        raise SiteError(
            f"{address} has {rows} rows in a call, and the batch has {stage_call.count}: "
            f"its module {self._site_hooks[address].site.path} is given parts of the batch, as "
            "chunked feed-forward layers are, so that rows cannot be assigned to samples."
        )


def _parse_edit(edit: Edit) -> _ParsedEdit:
    address = parse(edit.site)
    if not address.is_whole:
        raise EditError(f"An edit changes a whole site; write {address.site!r}, not {edit.site!r}.")
    # Edits are any callables with a `site`; `branch` is optional.
    branch = getattr(edit, "branch", "cond")
    if branch not in ("cond", "uncond", "both"):
        raise EditError(f"An edit's branch is {branch!r}; it must be cond, uncond or both.")
    both: tuple[Branch, ...] = ("cond", "uncond")
    return _ParsedEdit(
        edit, address.site, address.steps, tuple(name for name in both if branch in (name, "both"))
    )


def _group_by_site(entries: Sequence[_AtSite]) -> dict[str, list[_AtSite]]:
    groups: dict[str, list[_AtSite]] = {}
    for entry in entries:
        groups.setdefault(entry.site, []).append(entry)
    return groups


def _is_due(steps: tuple[int, ...] | None, stage_call: StageCall) -> bool:
    return steps is None or stage_call.index in steps


@dataclass(frozen=True)
class _Visit:
    """One visit of a site: how its value is split into rows of branches."""

    site_hook: SiteHook
    stage_call: StageCall
    counts: Mapping[tuple[int, Branch], int]
    merged_samples: int
    channels_last: bool

    def select(self, value: Tensor, branch: Branch) -> Tensor:
        """The part of a value that an edit in a branch may change, a view."""
        return _select(self.site_hook, value, self.stage_call, branch, self.merged_samples)

    def rows(self, value: Tensor, branch: Branch) -> Tensor:
        """That part as `[sample, position, unit]`."""
        part = flatten_positions(self.select(value, branch), self.channels_last)
        return merge_branches(part, self.merged_samples) if self.merged_samples else part

    def step(self, branch: Branch) -> Step:
        """The labels of the visit, before it is counted."""
        call = self.stage_call
        number = self.counts[call.index, branch]
        return Step(call.index, branch, call.timestep, call.sigma, number)


def _select(
    site_hook: SiteHook, value: Tensor, stage_call: StageCall, branch: Branch, merged_samples: int
) -> Tensor:
    """A branch's rows, and the site's positions and units; all rows where branches are merged."""
    # Basic slices on purpose: they are views, and an edit of a part writes into the copy.
    selected = value if merged_samples else value[stage_call.rows[branch]]
    if site_hook.stream:
        selected = selected[:, stage_call.streams[site_hook.stream]]
    if site_hook.first_unit is not None and (units := site_hook.site.shape[1]) is not None:
        selected = selected[..., site_hook.first_unit : site_hook.first_unit + units]
    channels = site_hook.channels
    return selected[:, :channels] if value.ndim == 4 and channels else selected
