"""`[verify.NAME]`: do the units of findings control the picture?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator

from clerestory.errors import EvidenceError, TableError
from clerestory.io.reading import path_inside, read_json
from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    PictureRows,
    Table,
    Task,
    TaskContext,
    TaskResult,
    format_interval,
    save_pictures,
    task_keys,
    tasks,
    to_status,
)

if TYPE_CHECKING:
    from clerestory.causal import UnitEffect, VerificationResult
    from clerestory.contrasts import Findings

__all__ = ["Verify", "findings_of"]

SHOWN = 8


@tasks.register("verify")
class Verify(Task):
    """`verify` of the findings of `find`, or of a label of `group`, by a classifier and its label.

    `units` are addresses; those that neither the model nor the findings have are left out.
    """

    find: str = ""
    group: str = ""
    classifier: str
    label: str
    units: tuple[str, ...] = ()
    items: int = Field(default=24, ge=1)
    directions: int = Field(default=20, ge=20)
    maps: bool = False

    @model_validator(mode="after")
    def _check_source(self) -> Verify:
        if bool(self.find) == bool(self.group):
            raise ValueError("say either find or group")
        return self

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        return task_keys("find", self.find) if self.find else task_keys("group", self.group)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """The concept."""
        return ((self.classifier, self.label),)

    def method(self) -> str:
        """What was changed, beside what."""
        return (
            f"Units were added, ablated and patched in {self.items} items that did not "
            "select them, with a seed "
            f"that was not recorded, each beside {self.directions} directions from shuffled pairs; "
            f"{self.classifier} counts {self.label}."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """Each of the units added, ablated, patched, and beside shuffled directions.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        sites = context.model.sites
        listed = [one for one in self.units if one.partition("[")[0] in sites]
        units = len(listed) or 2 * len({site.stage for site in sites.values()}) + 1
        # Added, ablated, patched both ways; shuffled directions are drawn with 12 items.
        each = 4 * self.items + self.directions * min(self.items, 12)
        return Cost(pictures=2 * self.items + units * each)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Verify, and save the causes in `causes`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.causal import verify

        label = context.label(self.classifier, self.label)
        findings = findings_of(context, self.find, self.group, label)
        known = {one.unit for one in findings.findings}
        causes = verify(
            findings,
            context.model,
            classifier=context.classifier(self.classifier),
            label=label,
            units=[one for one in self.units if one in known],
            items=self.items,
            baselines=self.directions,
            maps=self.maps,
            cache=context.cache,
            progress=context.progress,
        )
        causes.save(folder / "causes")
        chosen = self._chosen(causes, findings, context.model.conditioning_site)
        return TaskResult(
            claims=(self._claim(causes, chosen),),
            figures=causes.to_dict(),
            tables=(_table(causes, chosen, self._comparison),),
            pictures=self._pictures(findings, context, chosen, folder),
            warnings=tuple(causes.warnings),
        )

    def _chosen(
        self, causes: VerificationResult, findings: Findings, conditioning: str
    ) -> UnitEffect:
        """The unit that the claim is about, by what was known before any was changed.

        The first of `units`; else the direction at the conditioning site, or that which
        ranked first.
        """
        first = findings.top_ranked("direction").unit
        units = [control.unit for control in causes.effects if control.unit in findings.directions]
        there = [unit for unit in units if unit.partition("[")[0] == conditioning]
        # In the order of preference; none of it depends on what changing a unit did.
        wanted = [*self.units, *there, first]
        changed = {one.unit: one for one in causes.effects}
        return next((changed[one] for one in wanted if one in changed), causes.effects[0])

    @property
    def _comparison(self) -> str:
        """What the unit is compared with."""
        return "saying it does" if self.find else "the group's own prompts do"

    def _claim(self, causes: VerificationResult, one: UnitEffect) -> Claim:
        does = one.addition
        how = "controls" if one.controls else "is not shown to control"
        text = (
            f"{one.unit} {how} {self.label}: added where no prompt says it, it changes the rate "
            f"by {format_interval(does.effect, does.low, does.high)}{_baseline_note(one)}; "
            f"{self._comparison} by {causes.prompting.effect:+.2f}{_preservation(one)}."
        )
        criterion = "the interval above 0, and more than every shuffled direction"
        return Claim(
            "controls", text, to_status(one.controls), criterion, does.effect, does.low, does.high
        )

    def _pictures(
        self, findings: Findings, context: TaskContext, best: UnitEffect, folder: Path
    ) -> tuple[PictureRows, ...]:
        """What the unit does in items that did not select it, where it is a direction."""
        from clerestory import Add
        from clerestory.causal.trials import matched_prompts

        if best.unit not in findings.directions:
            return ()
        prompts = list(matched_prompts(findings, context.model, "evaluation", SHOWN)["negative"])[
            :SHOWN
        ]
        site = next(one.site for one in findings.findings if one.unit == best.unit)
        # The seed after the recorded ones, as in `verify`: this noise selected nothing.
        seed = 1 + max(
            [] if findings.samples is None else findings.samples["seed"].tolist(), default=-1
        )
        runs = context.model.sweep(prompts, seed, [[], [Add(site, findings.direction(best.unit))]])
        title = f"Prompts that do not ask for it, and with {best.unit} added"
        rows = {
            name: [] if run.pictures is None else list(run.pictures)
            for name, run in zip(("as they are", "with it added"), runs, strict=True)
        }
        return (save_pictures(folder, title, rows, prompts),)


def findings_of(context: TaskContext, find: str, group: str, label: str) -> Findings:
    """The findings of a `find` task, or of a label of a `group` task.

    Args:
        context: The folders.
        find: Name of a `find` task; "" for a group's.
        group: Name of a `group` task.
        label: The group, as the classifier in use calls it.

    Returns:
        The findings that the task saved.

    Raises:
        EvidenceError: There is no such group, or the findings cannot be read.
    """
    from clerestory.contrasts import Findings
    from clerestory.contrasts.groups import findings_folder

    if find:
        return Findings.load(context.folders[f"find.{find}"] / "findings")
    folder = context.folders[f"group.{group}"] / "groups"
    names = list(read_json(path_inside(folder, "groups.json", TableError), TableError)["groups"])
    if label not in names:
        raise EvidenceError(f"Too few prompts came out {label}: there is no such group.")
    return Findings.load(findings_folder(folder, names, label))


def _table(causes: VerificationResult, best: UnitEffect, comparison: str) -> Table:
    rows = []
    for one in causes.effects:
        shuffled = (
            "–"
            if one.baselines is None
            else f"{one.baselines.low:+.2f} to {one.baselines.high:+.2f}"
        )
        effects_of_unit = (one.addition, one.ablation, one.patching)
        effects = (
            "–" if own is None else format_interval(own.effect, own.low, own.high)
            for own in effects_of_unit
        )
        worst = _worst(one)
        least = "–" if worst is None else f"{worst[0]} {worst[1]:.0%}"
        rows.append((one.unit, f"{one.detects:.3f}", *effects, shuffled, least))
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
        f"Detecting, and controlling: changes of the rate of {causes.label}, "
        f"{causes.negative_rate:.0%} without; {comparison} by "
        f"{format_interval(causes.prompting.effect, causes.prompting.low, causes.prompting.high)}"
    )
    return Table(title, head, tuple(rows), (causes.effects.index(best),))


def _worst(one: UnitEffect) -> tuple[str, float] | None:
    """The classifier that sees least often with the unit added what it saw without, and how often.

    None where no other looked.
    """
    if not one.preservation:
        return None
    name = min(one.preservation, key=lambda key: one.preservation[key])
    return name.rpartition(":")[2], one.preservation[name]


def _preservation(one: UnitEffect) -> str:
    worst = _worst(one)
    return (
        ""
        if worst is None
        else f"; of the other classifiers {worst[0]} changes most, preserved in {worst[1]:.0%}"
    )


def _baseline_note(one: UnitEffect) -> str:
    if one.baselines is None:
        return ""
    return f", {one.baselines.directions} shuffled directions by at most {one.baselines.high:+.2f}"
