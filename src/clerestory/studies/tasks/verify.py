"""`[verify.NAME]`: do the units of findings control the picture?"""

from __future__ import annotations

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
    Status,
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
"""Items that each shuffled direction is drawn with, at most."""
VERBS = by_status("controls", "is not shown to control", "does not control")


@tasks.register("verify")
class Verify(FindingsTask):
    """`verify` of the findings of `find`, or of a label of `group`, by a classifier and its label.

    `units` are addresses; those that neither the model nor the findings have are left out. Each
    unit is compared with `baselines` directions from shuffled pairs.
    """

    classifier: str
    label: str
    units: tuple[str, ...] = ()
    items: int = Field(default=24, ge=1)
    baselines: int = Field(default=20, ge=20)
    maps: bool = False

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        return ((self.classifier, self.label),)

    def method(self) -> str:
        return (
            f"Units were added, ablated and patched in {self.items} items that did not "
            "select them, with a seed "
            f"that was not recorded, each beside {self.baselines} directions from shuffled pairs; "
            f"{self.classifier} counts {self.label}."
        )

    def cost(self, context: TaskContext) -> Cost:
        sites = context.model.sites
        listed = [unit for unit in self._units(context) if unit.partition("[")[0] in sites]
        # By default the first neuron and direction of each stage, and the conditioning site.
        units = len(listed) or 2 * len({site.stage for site in sites.values()}) + 1
        # Added, ablated, patched both ways.
        each = 4 * self.items + self.baselines * min(self.items, BASELINE_ITEMS)
        return Cost(pictures=2 * self.items + units * each)

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
            units=[unit for unit in units if unit in known],
            items=self.items,
            baselines=self.baselines,
            maps=self.maps,
            cache=context.cache,
            progress=context.progress,
        )
        effects.save(folder / "causes")
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
        added, status = unit.addition, _status(unit)
        text = (
            f"{unit.unit} {VERBS[status]} {self.label}: added where no prompt says it, it changes "
            f"the rate by {_interval(added)}{_baseline_note(unit)}; "
            f"{self._comparison} by {effects.prompting.effect:+.2f}{_preservation_note(unit)}."
        )
        criterion = "the interval above 0, and more than every shuffled direction"
        return Claim("controls", text, status, criterion, added.effect, added.low, added.high)


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
    # In the order of preference; none of it depends on what changing a unit did.
    preferred = [*units, *at_conditioning, findings.top_ranked("direction").unit]
    return next((by_unit[unit] for unit in preferred if unit in by_unit), effects.effects[0])


def _status(unit: UnitEffect) -> Status:
    if unit.controls:
        return "supported"
    # A shuffled direction that does as much leaves it undecided: it has no interval of its own, and
    # the largest of many is large by chance.
    return "not supported" if unit.addition.high < 0 else "undecided"


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
        baselines, worst = unit.baselines, unit.least_preserved
        changes = (unit.addition, unit.ablation, unit.patching)
        rows.append(
            (
                unit.unit,
                f"{unit.detects:.3f}",
                *("–" if change is None else _interval(change) for change in changes),
                "–" if baselines is None else f"{baselines.low:+.2f} to {baselines.high:+.2f}",
                "–" if worst is None else f"{_short_name(worst[0])} {worst[1]:.0%}",
            )
        )
    head = (
        "unit",
        "detects, AUROC",
        "added",
        "lost when ablated",
        "patched",
        "shuffled directions",
        "preserved, at worst",
    )
    title = (
        f"Detecting, and controlling: changes of the rate of {effects.label}, "
        f"{effects.negative_rate:.0%} without; {comparison} by {_interval(effects.prompting)}"
    )
    return Table(title, head, tuple(rows), (effects.effects.index(claimed),))


def _interval(effect: Effect) -> str:
    return format_interval(effect.effect, effect.low, effect.high)


def _short_name(classifier: str) -> str:
    """A classifier's name without its kind: `style` of `lancet:style`."""
    return classifier.rpartition(":")[2]


def _preservation_note(unit: UnitEffect) -> str:
    if unit.least_preserved is None:
        return ""
    name, share = unit.least_preserved
    return f"; of the other classifiers {_short_name(name)} changes most, preserved in {share:.0%}"


def _baseline_note(unit: UnitEffect) -> str:
    baselines = unit.baselines
    if baselines is None:
        return ""
    return f", {baselines.directions} shuffled directions by at most {baselines.high:+.2f}"
