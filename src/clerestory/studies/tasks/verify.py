"""`[verify.NAME]`: do the units of findings control the picture?"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Cost, TaskContext, tasks
from clerestory.studies.tasks.findings import FindingsTask
from clerestory.studies.tasks.rendering import FIRST, save_pictures
from clerestory.studies.tasks.results import (
    Claim,
    PictureRows,
    Table,
    TaskResult,
    by_status,
    evidence_warnings,
)

if TYPE_CHECKING:
    from clerestory.causal import UnitEffect, VerificationResult
    from clerestory.contrasts import Findings
    from clerestory.evaluation import Effect

__all__ = ["Verify"]

BASELINE_ITEMS = 12
"""Items that each baseline is drawn with, at most."""
FEWEST_BASELINES = 99
FIRST_CHANGES = 3
"""Side effects that a claim names."""
VERBS = by_status("controls", "is not shown to control", "does not control")


@tasks.register("verify")
class Verify(FindingsTask):
    """`verify` of the findings of `find`, or of a label of `group`, by a classifier and its label.

    `units` are addresses; those that neither the model nor the findings have are left out. Each
    unit that has an effect is compared with `baselines` directions without the concept, by default
    as many as a claim takes. Items have `seeds_per_item` seeds of their own. Supported is what
    changes the rate by more than `smallest_effect`, and no other class by more than `bound`.
    """

    classifier: str
    label: str
    units: tuple[str, ...] = ()
    items: int = Field(default=24, ge=2)
    seeds_per_item: int = Field(default=4, ge=1)
    baselines: int | None = Field(default=None, ge=19)
    smallest_effect: float = Field(default=0.2, ge=0, lt=1)
    bound: float = Field(default=0.2, gt=0, lt=1)
    maps: bool = False

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return ((self.classifier, self.label),)

    def method(self) -> str:
        return (
            f"Units were added, ablated and patched in {self.items} items that did not select "
            f"them, {self.seeds_per_item} new seeds each. Those with an effect are held against "
            f"{self.baselines or f'{FEWEST_BASELINES} or more'} directions of the same length "
            "without the concept, and against what else they change; "
            f"{self.classifier} counts {self.label}."
        )

    def cost(self, context: TaskContext) -> Cost:
        sites = context.model.sites
        listed = [unit for unit in self._units(context) if unit.partition("[")[0] in sites]
        # By default the first neuron and direction of each stage, and the conditioning site.
        units = len(listed) or 2 * len({site.stage for site in sites.values()}) + 1
        # 20 for each unit: p after correction for that many can then still reach .05.
        baselines = self.baselines or max(FEWEST_BASELINES, 20 * units)
        # Added and ablated with all seeds, patched both ways with one.
        each = 2 * self.items * self.seeds_per_item + 2 * min(self.items, BASELINE_ITEMS)
        each += baselines * min(self.items, BASELINE_ITEMS)
        return Cost(pictures=2 * self.items * self.seeds_per_item + units * each)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.causal import verify

        label = context.label(self.classifier, self.label)
        findings = self.load_findings(context, label)
        known = {finding.unit for finding in findings.findings}
        units = self._units(context)
        effects = verify(
            findings,
            context.model,
            classifier=context.classifier(self.classifier),
            label=label,
            # A study for several models lists units that only some have found.
            units=[unit for unit in units if unit in known],
            items=self.items,
            seeds_per_item=self.seeds_per_item,
            baselines=self.baselines,
            smallest_effect=self.smallest_effect,
            bound=self.bound,
            maps=self.maps,
            parts=folder / "parts",
            cache=context.cache,
            progress=context.progress,
        )
        effects.save(folder / "causes")
        shutil.rmtree(folder / "parts", ignore_errors=True)
        unit = _claimed_unit(effects, findings, units, context.model.conditioning_site)
        return TaskResult(
            claims=(self._claim(effects, unit),),
            figures=effects.to_dict(),
            tables=(_table(effects, unit, self._comparison),),
            pictures=_pictures(findings, context, unit, folder),
            warnings=evidence_warnings(effects.warnings),
        )

    def _units(self, context: TaskContext) -> tuple[str, ...]:
        return tuple(map(context.address, self.units))

    @property
    def _comparison(self) -> str:
        """What the unit is compared with."""
        return "saying it does" if self.find else "the group's own prompts do"

    def _claim(self, effects: VerificationResult, unit: UnitEffect) -> Claim:
        added = unit.addition
        verb = VERBS[unit.status]
        if unit.together_with:
            # The claim is that it changes nothing else: what it changes is said in its place.
            changes = ", ".join(map(str, unit.together_with[:FIRST_CHANGES]))
            verb = f"changes {changes} together with"
        text = (
            f"{unit.unit} {verb} {self.label}: added where no prompt says it, it changes "
            f"the rate by {_interval(added)}{_baseline_note(unit)}; "
            f"{self._comparison} by {effects.prompting.effect:+.2f}{_side_effect_note(unit)}."
        )
        criterion = (
            f"its lower limit above {self.smallest_effect:.2f}, q ≤ 0.05 against edits without the "
            f"concept, and no other class changed by more than {self.bound:.2f}"
        )
        return Claim("controls", text, unit.status, criterion, added.effect, added.low, added.high)


def _claimed_unit(
    effects: VerificationResult, findings: Findings, units: Sequence[str], conditioning: str
) -> UnitEffect:
    """The unit that the claim is about, by what was known before any was changed.

    The first of `units`; else the direction at the conditioning site, or the one that ranked first.
    """
    by_unit = {effect.unit: effect for effect in effects.effects}
    at_conditioning = [
        unit
        for unit in by_unit
        if unit in findings.directions and unit.partition("[")[0] == conditioning
    ]
    # Where neurons alone were looked for there is no direction.
    ranked = [findings.top_ranked("direction").unit] if findings.by_kind("direction") else []
    # In the order of preference; none of it depends on what changing a unit did.
    preferred = [*units, *at_conditioning, *ranked]
    return next((by_unit[unit] for unit in preferred if unit in by_unit), effects.effects[0])


def _pictures(
    findings: Findings, context: TaskContext, unit: UnitEffect, folder: Path
) -> tuple[PictureRows, ...]:
    """What the unit does in items that did not select it, where it is a direction."""
    from clerestory import Add
    from clerestory.causal.trials import matched_prompts

    if unit.unit not in findings.directions:
        return ()
    matched = matched_prompts(findings, context.model, "evaluation", FIRST)
    prompts = list(matched["negative"])[:FIRST]
    site = next(finding.site for finding in findings.findings if finding.unit == unit.unit)
    recorded = [] if findings.samples is None else findings.samples["seed"].tolist()
    # The seed after the recorded ones, as in `verify`: this noise selected nothing.
    seed = 1 + max(recorded, default=-1)
    edits = [Add(site, findings.direction(unit.unit))]
    captions = ("as they are", "with it added")
    rows = {
        caption: [] if run.pictures is None else list(run.pictures)
        for caption, run in zip(
            captions, context.model.sweep(prompts, seed, [[], edits]), strict=True
        )
    }
    title = f"Prompts that do not ask for it, and with {unit.unit} added"
    return (save_pictures(folder, title, rows, prompts),)


def _table(effects: VerificationResult, claimed: UnitEffect, comparison: str) -> Table:
    rows = []
    for unit in effects.effects:
        baselines, largest = unit.baselines, unit.side_effects.largest
        changes = (unit.addition, unit.ablation, unit.patching)
        rows.append(
            (
                unit.unit,
                f"{unit.detects:.3f}",
                *("–" if change is None else _interval(change) for change in changes),
                "–" if baselines is None else f"{baselines.low:+.2f} to {baselines.high:+.2f}",
                "–" if unit.q is None else f"{unit.q:.3f}",
                "–" if largest is None else str(largest),
            )
        )
    head = (
        "unit",
        "detects, AUROC",
        "added",
        "lost when ablated",
        "patched",
        "directions without the concept",
        "q",
        "largest side effect",
    )
    title = (
        f"Detecting, and controlling: changes of the rate of {effects.label}, "
        f"{effects.negative_rate:.0%} without; {comparison} by {_interval(effects.prompting)}"
    )
    return Table(title, head, tuple(rows), (effects.effects.index(claimed),))


def _interval(effect: Effect) -> str:
    return format_interval(effect.effect, effect.low, effect.high)


def _side_effect_note(unit: UnitEffect) -> str:
    """How far the other classes are within their bound."""
    effects = unit.side_effects
    if not effects.changes or unit.together_with:
        return "" if effects.changes else "; nothing measures what else it changes"
    limit = max(change.limit for change in effects.changes)
    return f"; no other class changes by more than {limit:.2f} (upper limits)"


def _baseline_note(unit: UnitEffect) -> str:
    baselines = unit.baselines
    if baselines is None:
        return ""
    return (
        f", {baselines.directions} directions without the concept by at most {baselines.high:+.2f} "
        f"(p {baselines.p:.2g})"
    )
