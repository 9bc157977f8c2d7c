"""Which sites a run reaches, at which steps and branches, and why a site is not reached.

What a run does not do is an error at its end, which names the cause: a module that is compiled,
fused, replaced, skipped or never called, or a step or branch that the run does not have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from clerestory.errors import SiteError
from clerestory.models.core.family import SiteHook, StageCall
from clerestory.models.core.types import Branch

__all__ = ["SiteVisits", "Visits"]


@dataclass
class SiteVisits:
    """What happened at a site during a run.

    Attributes:
        counts: How often the site was visited at each step and branch.
        first_skip: The first call of the stage without a visit of the site; None if there is none.
        unreadable: Why a call of the module could not be read, as the end of a sentence about it;
            "" if each could.
    """

    counts: Counter[tuple[int, Branch]] = field(default_factory=Counter)
    first_skip: int | None = None
    unreadable: str = ""


class Visits:
    """The visits of the sites that a run edits or reads.

    Args:
        site_hooks: The hooks of these sites, by address.
    """

    def __init__(self, site_hooks: Mapping[str, SiteHook]) -> None:
        self._site_hooks = site_hooks
        self._by_site = {address: SiteVisits() for address in site_hooks}
        # Sites whose modules were called since the stage's last return.
        self._current: set[str] = set()
        # Stages of which nothing is known: a module may belong to some of their calls only.
        self._merged_stages: set[str] = set()

    def is_visited(self, address: str) -> bool:
        """Whether a site was visited in the call of its stage that is going on.

        Args:
            address: The site.

        Returns:
            False before its first visit in this call.
        """
        return address in self._current

    def start(self, address: str) -> Mapping[tuple[int, Branch], int]:
        """Start a visit.

        Args:
            address: The site.

        Returns:
            How often the site was visited before, by step and branch.
        """
        self._current.add(address)
        return self._by_site[address].counts

    def count(self, address: str, stage_call: StageCall) -> None:
        """Count a visit, after its edits and taps.

        Args:
            address: The site.
            stage_call: The call of its stage.
        """
        counts = self._by_site[address].counts
        for branch in stage_call.rows:
            counts[stage_call.index, branch] += 1

    def end_stage_call(self, stage: str, number: int, stage_call: StageCall) -> None:
        """Note which sites of a stage were visited in a call of it.

        Args:
            stage: The stage whose module returned.
            number: The number of the call.
            stage_call: The call.
        """
        for address, visits in self._by_site.items():
            site_hook = self._site_hooks[address]
            if site_hook.site.stage == stage and site_hook.module is not None:
                if address not in self._current and visits.first_skip is None:
                    visits.first_skip = number
                self._current.discard(address)
        if stage_call.merged:
            self._merged_stages.add(stage)

    def set_unreadable(self, address: str, reason: str) -> None:
        """Note that a site's module was called and cannot be read.

        Args:
            address: The site.
            reason: Why, as the end of a sentence about its module.
        """
        self._by_site[address].unreadable = reason

    def check_sites(self, stage_modules: Mapping[str, nn.Module], *, expects_handoff: bool) -> None:
        """Check that every site was visited, in every call of its stage where that is certain.

        Args:
            stage_modules: The modules of stages, by stage.
            expects_handoff: Whether values without a module must have been handed over.

        Raises:
            SiteError: A site was not reached; the message names the cause.
        """
        for address, visits in self._by_site.items():
            site_hook = self._site_hooks[address]
            if site_hook.module is None and not expects_handoff:
                continue
            stage = site_hook.site.stage
            skipped = visits.first_skip is not None and stage not in self._merged_stages
            if not visits.counts or skipped:
                raise SiteError(_explain(site_hook, visits, stage_modules.get(stage)))

    def missing_step_or_branch(
        self, address: str, steps: Sequence[int] | None, branches: Sequence[Branch]
    ) -> str | None:
        """The step or branch that an edit or a tap asks for and its site does not have.

        Args:
            address: The site.
            steps: The steps that are asked for; None for all.
            branches: The branches that are asked for, of which one is enough.

        Returns:
            Such as `step 7` or `uncond branch`; None if nothing is missing or the site was not
            visited at all.
        """
        counts = self._by_site[address].counts
        if not counts:
            return None
        visited = {index for index, branch in counts if branch in branches}
        if not visited:
            return f"{' or '.join(branches)} branch"
        missing = set(steps or ()) - visited
        return f"step {min(missing)}" if missing else None


def _explain(site_hook: SiteHook, visits: SiteVisits, root: nn.Module | None) -> str:
    """Why a site was not reached, for an error message."""
    site, module = site_hook.site, site_hook.module
    start = f"{site.address} was not reached in this run: "
    if visits.unreadable:
        return f"{start}its module {visits.unreadable}."
    if module is None:
        return f"{start}its family does not hand it over."
    if isinstance(module, torch.jit.ScriptModule):
        return f"{start}its module {site.path} is compiled to TorchScript, which calls no hooks."
    if visits.counts:
        return (
            f"{site.address} was not reached at call {visits.first_skip} of its stage: its module "
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
