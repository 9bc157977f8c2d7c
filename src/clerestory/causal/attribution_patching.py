"""Attribution patching: every unit's effect of patching, estimated from one gradient.

    found = attribution_patching(model, cats, moose, "lancet:style=stained glass", "text.*/mlp")
    found.table()                       # address, estimate, low, high
    found.table("head")

What patching a unit of a corrupted run into the clean one would add to an objective is estimated by
(corrupted - clean value) · gradient, for all units at once. With integrated gradients the gradient
is averaged along the way from the one to the other, site by site; estimates of a site then sum to
the effect of patching it as a whole. `patch_parts` measures effects by patching.

Sources: Nanda 2023; Syed et al. 2023; integrated gradients: Sundararajan et al. 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from clerestory.causal.paired_runs import (
    BatchRunner,
    PairedSamples,
    Parts,
    Reading,
    Visit,
    check_calls,
    objective_of,
)
from clerestory.causal.patched_sites import PartPatch, split_part
from clerestory.causal.patching_results import AttributionPatching, PatchedParts, SiteEstimates
from clerestory.checks import check_minimum
from clerestory.edits import Patch
from clerestory.errors import EvidenceError, OptionError, SiteError
from clerestory.evaluation.objectives import Objective
from clerestory.models import Model
from clerestory.models.core.addresses import SiteSelection
from clerestory.models.core.finiteness import check_gradient
from clerestory.models.core.gradient_checks import check_sites
from clerestory.models.core.types import Sample, Step
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Floats, ProgressOption, Role

__all__ = ["attribution_patching", "patch_parts"]


def attribution_patching(
    model: Model,
    clean_prompts: Sequence[str],
    corrupted_prompts: Sequence[str],
    objective: Objective | str | Callable[..., Any],
    sites: str | Sequence[str],
    *,
    read: str | Sequence[str] = (),
    seeds_per_item: int = 1,
    seeds: int | Sequence[int] | None = None,
    ig_steps: int = 0,
    last_steps: int | None = None,
    checkpoint: bool = True,
    role: Role = "evaluation",
    batch: int = 4,
    progress: ProgressOption = True,
    **options: Any,
) -> AttributionPatching:
    """Estimate what patching each unit, head, position or step of sites would do to an objective.

    Args:
        model: The model.
        clean_prompts: Prompts whose objective is measured.
        corrupted_prompts: As many others, matched by their place in the list: what their runs have
            at a site is patched into the runs of the clean ones. At sites with tokens both must
            have as many tokens.
        objective: As for `Model.gradients`, or the text of an objective.
        sites: Sites as in `Model.run`, before the objective.
        read: What a function as objective reads.
        seeds_per_item: Number of seeds of each pair, which no other pair has.
        seeds: Seeds of every pair instead.
        ig_steps: Points of integrated gradients on the way from clean to corrupted, for each site
            a backward pass each; 0 takes the gradient of the clean run alone, one pass for all.
        last_steps: As for `Model.gradients`; effects through earlier steps are left out.
        checkpoint: As for `Model.gradients`.
        role: Which of two classifiers of a name predicts labels.
        batch: How many samples are differentiated together; their activations at all of the sites
            are in memory meanwhile.
        progress: As for `Model.run`.
        **options: As for `Model.run`.

    Returns:
        Estimates of every unit, with intervals over pairs.

    Raises:
        EvidenceError: The lists do not match, or positions do not.
        SiteError: The objective depends on none of the sites, or one is not reached.
        ClerestoryError: As for `Model.gradients`.
    """
    check_minimum(OptionError, 0, ig_steps=ig_steps)
    pairs = PairedSamples.of(
        model, clean_prompts, corrupted_prompts, seeds_per_item, seeds, options
    )
    how = BatchRunner(
        model,
        objective_of(objective, read, role),
        model.sites.select(sites),
        last_steps=last_steps,
        checkpoint=checkpoint,
    )
    check_sites(how.sites)
    pairs.check_positions(how)
    collected = _Collected()
    with progress_bars(progress) as report:
        for rows in pairs.batches(batch, how):
            corrupted = how.read(pairs.samples(rows, corrupted=True))
            if ig_steps:
                _integrate(how, pairs.samples(rows), corrupted, ig_steps, collected)
            else:
                _multiply(how, pairs.samples(rows), corrupted, collected)
            report("attributing", rows.stop, len(pairs.items))
    if not collected.connected:
        raise SiteError(
            f"{how.objective.name} depends on none of {', '.join(list(how.sites)[:6])}."
        )
    return AttributionPatching(
        objective=how.objective.name,
        clean_prompts=tuple(pairs.clean),
        corrupted_prompts=tuple(pairs.corrupted),
        items=tuple(pairs.items),
        seeds=tuple(pairs.seeds),
        clean_values=np.concatenate(collected.clean),
        corrupted_values=np.concatenate(collected.other),
        estimates=collected.estimates(how),
        independent=tuple(site for site in how.sites if site not in collected.connected),
        ig_steps=ig_steps,
        last_steps=last_steps,
        imprecise=tuple(site for site in how.sites if site in collected.imprecise),
        provenance=provenance_of(
            model,
            {
                "sites": list(how.sites),
                "seeds_per_item": seeds_per_item,
                "role": role,
                "options": {name: str(value) for name, value in options.items()},
            },
        ),
    )


def patch_parts(
    model: Model,
    clean_prompts: Sequence[str],
    corrupted_prompts: Sequence[str],
    objective: Objective | str | Callable[..., Any],
    parts: str | Sequence[str],
    *,
    read: str | Sequence[str] = (),
    seeds_per_item: int = 1,
    seeds: int | Sequence[int] | None = None,
    role: Role = "evaluation",
    batch: int = 4,
    progress: ProgressOption = True,
    **options: Any,
) -> PatchedParts:
    """Measure what patching parts of sites does to an objective, one run for each part.

    Args:
        model: The model.
        clean_prompts: As for `attribution_patching`.
        corrupted_prompts: As for `attribution_patching`.
        objective: As for `attribution_patching`.
        parts: Addresses of units, heads or whole sites, with steps or at all steps:
            `text.blocks.2/mlp[311]`, `text.blocks.1/z[h2]`, `denoiser.mid.res.0/out@5`.
        read: As for `attribution_patching`.
        seeds_per_item: As for `attribution_patching`.
        seeds: As for `attribution_patching`.
        role: As for `attribution_patching`.
        batch: As for `attribution_patching`.
        progress: As for `Model.run`.
        **options: As for `Model.run`.

    Returns:
        The effect of each part in each sample, with intervals over pairs.

    Raises:
        ClerestoryError: As for `attribution_patching`.
    """
    pairs = PairedSamples.of(
        model, clean_prompts, corrupted_prompts, seeds_per_item, seeds, options
    )
    # A part that is given twice is measured once.
    parts = list(dict.fromkeys([parts] if isinstance(parts, str) else parts))
    if not parts:
        raise OptionError("There is no part to patch.")
    chosen = {part: split_part(model, part) for part in parts}
    sites: dict[str, SiteSelection] = {}
    for site, _, steps in chosen.values():
        selection = SiteSelection(steps=steps)
        sites[site] = selection.union(sites.get(site, selection))
    how = BatchRunner(model, objective_of(objective, read, role), sites)
    pairs.check_positions(how)
    effects: list[list[Floats]] = [[] for _ in parts]
    clean: list[Floats] = []
    total = len(pairs.items) * len(parts)
    with progress_bars(progress) as report:
        for rows in pairs.batches(batch, how):
            samples = pairs.samples(rows)
            corrupted = how.read(pairs.samples(rows, corrupted=True))
            check_calls(corrupted.parts)
            before = how.read(samples, keeps=False).objective
            clean.append(before)
            for number, (site, units, steps) in enumerate(chosen.values()):
                edits = [
                    PartPatch(f"{site}@{step}", value.numpy(), units)
                    for (address, step, _), value in corrupted.parts.items()
                    if address == site and (steps is None or step in steps)
                ]
                effects[number].append(how.read(samples, edits, keeps=False).objective - before)
                report("patching", rows.start * len(parts) + number + 1, total)
    values = np.array([np.concatenate(each) for each in effects])
    return PatchedParts(
        how.objective.name, tuple(parts), tuple(pairs.items), values, np.concatenate(clean)
    )


class _ProductSink:
    """Multiplies gradients by changes.

    Args:
        corrupted: What the values are to become.
        sites: The units of each site that are summed over.
        changes: The changes, where they are known; otherwise taken from the values that come.
        weight: A factor of every product.
    """

    def __init__(
        self,
        corrupted: Parts,
        sites: Mapping[str, SiteSelection],
        changes: dict[Visit, Tensor] | None = None,
        weight: float = 1.0,
    ) -> None:
        self._corrupted, self._sites, self._weight = corrupted, sites, weight
        self._is_fixed = changes is not None
        self._changes = {} if changes is None else changes
        self.products: dict[Visit, tuple[Floats, Floats]] = {}

    def value(self, address: str, value: Tensor, step: Step) -> None:
        if self._is_fixed:
            return
        visit = address, step.index, step.call
        other = self._corrupted.get(visit)
        if other is None or other.shape != value.shape:
            found = "none" if other is None else str(list(other.shape))
            raise EvidenceError(
                f"{address} is {list(value.shape)} in a clean run and {found} in its corrupted one,"
                " so that they cannot be patched: choose prompts of as many tokens."
            )
        # In the CPU's memory until its gradient comes, which may be many steps later.
        self._changes[visit] = other - value.float().cpu()

    def gradient(self, address: str, gradient: Tensor, step: Step) -> None:
        visit = address, step.index, step.call
        change = self._changes[visit] if self._is_fixed else self._changes.pop(visit)
        product = gradient.float() * change.to(gradient.device) * self._weight
        units = self._sites[address].units
        chosen = product if units is None else product[..., list(units)]
        # By unit and by position: the table of both at once is as large as the activations.
        sums = product.sum(1).cpu().numpy(), chosen.sum(2).cpu().numpy()
        check_gradient(address, sums[0])
        self.products[visit] = sums


class _Collected:
    """Estimates batch by batch."""

    def __init__(self) -> None:
        self.clean: list[Floats] = []
        self.other: list[Floats] = []
        self.connected: set[str] = set()
        self.imprecise: set[str] = set()
        self._batches: list[dict[Visit, tuple[Floats, Floats]]] = []
        self._visits: dict[Visit, None] = {}

    def add(
        self,
        clean: Floats,
        corrupted: Reading,
        products: Mapping[Visit, tuple[Floats, Floats]],
    ) -> None:
        """Add a batch.

        Args:
            clean: The objective of the clean samples.
            corrupted: What the corrupted ones gave.
            products: Sums of products by unit and by position.
        """
        self.clean.append(clean)
        self.other.append(corrupted.objective)
        self.connected |= {address for address, _, _ in products}
        full = {}
        for visit, value in corrupted.parts.items():
            samples, positions, units = value.shape
            zeros = np.zeros((samples, units), "f4"), np.zeros((samples, positions), "f4")
            full[visit] = products.get(visit, zeros)
        self._visits |= dict.fromkeys(full)
        self._batches.append(full)

    def estimates(self, how: BatchRunner) -> dict[str, SiteEstimates]:
        """The estimates of each site.

        Args:
            how: Knows the sites.

        Returns:
            By address.
        """
        found = {}
        for address, selection in how.sites.items():
            visits = sorted(visit for visit in self._visits if visit[0] == address)
            by_unit, by_position = (
                [np.stack([batch[visit][part] for visit in visits], 1) for batch in self._batches]
                for part in (0, 1)
            )
            units = np.concatenate(by_unit)
            chosen = range(units.shape[2]) if selection.units is None else selection.units
            found[address] = SiteEstimates(
                tuple(step for _, step, _ in visits),
                tuple(chosen),
                how.model.sites[address].heads if selection.units is None else None,
                units[:, :, list(chosen)],
                _padded(by_position),
            )
        return found


def _padded(batches: Sequence[Floats]) -> Floats:
    """`[sample, step, position]` joined; zeros beyond the positions of a batch."""
    most = max(batch.shape[2] for batch in batches)
    return np.concatenate(
        [np.pad(batch, ((0, 0), (0, 0), (0, most - batch.shape[2]))) for batch in batches]
    )


def _multiply(
    how: BatchRunner, samples: Sequence[Sample], corrupted: Reading, collected: _Collected
) -> None:
    """The gradient of the clean run times the change, for all sites at once."""
    sink = _ProductSink(corrupted.parts, how.sites)
    batch = how.differentiate(samples, how.sites, sink)
    collected.imprecise |= {*batch.imprecise}
    collected.add(batch.objective, corrupted, sink.products)


def _integrate(
    how: BatchRunner,
    samples: Sequence[Sample],
    corrupted: Reading,
    points: int,
    collected: _Collected,
) -> None:
    """The mean gradient between clean and corrupted values times the change, site by site."""
    clean = how.read(samples)
    check_calls(clean.parts)
    products: dict[Visit, tuple[Floats, Floats]] = {}
    for address, selection in how.sites.items():
        visits = [visit for visit in clean.parts if visit[0] == address]
        changes = {
            visit: _change(clean.parts[visit], corrupted.parts.get(visit), address)
            for visit in visits
        }
        for point in range(points):
            # Midpoints, whose error falls with the square of their number.
            weight = (point + 0.5) / points
            edits = [
                Patch(
                    f"{address}@{visit[1]}", (clean.parts[visit] + weight * changes[visit]).numpy()
                )
                for visit in visits
            ]
            sink = _ProductSink(corrupted.parts, how.sites, changes, 1 / points)
            batch = how.differentiate(samples, {address: selection}, sink, edits)
            collected.imprecise |= {*batch.imprecise}
            for visit, (by_unit, by_position) in sink.products.items():
                before = products.get(visit, (0, 0))
                products[visit] = (before[0] + by_unit, before[1] + by_position)
    collected.add(clean.objective, corrupted, products)


def _change(clean: Tensor, corrupted: Tensor | None, address: str) -> Tensor:
    if corrupted is None or corrupted.shape != clean.shape:
        raise EvidenceError(
            f"{address} has other positions in a clean run than in its corrupted one."
        )
    return corrupted - clean
