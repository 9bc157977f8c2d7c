"""`[group.NAME]`: which units tell the pictures of one label from those of others."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
from clerestory.studies.tasks.find import ALPHA, CHANCE
from clerestory.studies.tasks.record import Record

if TYPE_CHECKING:
    from clerestory.contrasts import Groups
    from clerestory.recordings import Recording

__all__ = ["Group"]

SHOWN, UNITS = 8, 4


@tasks.register("group")
class Group(Task):
    """`group` of a recording with pictures.

    `labels` are compared, all of the classifier's by default; claims are made of `claim_labels`, by
    default of each.
    """

    record: str
    classifier: str
    labels: tuple[str, ...] = ()
    claim_labels: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    min_confidence: float = 0.0
    top: int = 20
    flips: int = 200

    def needs(self) -> tuple[str, ...]:
        """Its recording."""
        return task_keys("record", self.record)

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        """What sorts the pictures, into which groups."""
        return tuple(
            (self.classifier, name) for name in (*self.labels, *self.claim_labels) or ("",)
        )

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """Which control is neither a factor of the recording nor a classifier."""
        record = plan[f"record.{self.record}"]
        factors = record.prompts.levels if isinstance(record, Record) else {}
        for name in self.control:
            if name not in factors and name not in classifiers and ":" not in name:
                return f"control: {name!r} is no factor of {self.record} and no classifier"
        return ""

    def method(self) -> str:
        """What sorted them, and within what they were compared."""
        control = (
            f", compared within levels of {' and '.join(self.control)}" if self.control else ""
        )
        return (
            f"Pictures were sorted by {self.classifier}{control}; half of the prompts select "
            "units, the others evaluate; "
            f"{self.flips} data sets with flipped sides say what chance finds."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """Nothing is run in the model."""
        return Cost(disk=20_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Group, and save groups and findings in `groups`."""
        from clerestory.contrasts import group
        from clerestory.recordings import Recording

        recording = Recording.open(context.folders[f"record.{self.record}"] / "recording")
        classes = tuple(context.label(self.classifier, one) for one in self.labels)
        about = tuple(
            context.label(self.classifier, one) for one in self.claim_labels or self.labels
        )
        found = group(
            recording,
            classifier=context.classifier(self.classifier),
            classes=classes,
            control=[context.classifier(one) for one in self.control],
            min_confidence=self.min_confidence,
            top=self.top,
            flips=self.flips,
            progress=lambda _, completed, total: context.progress("grouping", completed, total),
        )
        found.save(folder / "groups")
        return TaskResult(
            claims=tuple(_claim(found, name) for name in about or found.groups)
            or (_none(self.classifier),),
            figures=found.to_dict(),
            tables=(_table(found),) if found.groups else (),
            pictures=(_pictures(found, recording, folder),) if found.groups else (),
            warnings=found.warnings,
        )


def _none(classifier: str) -> Claim:
    text = f"No label of {classifier} is drawn often enough to be compared."
    return Claim("groups", text, "not supported", "a label with enough prompts")


def _claim(found: Groups, name: str) -> Claim:
    """For the unit that ranked first in the selection."""
    if name not in found.groups or not found[name].units:
        text = f"There are too few pictures that are {name} to tell what they share."
        return Claim(name, text, "not supported", "enough prompts, and a unit")
    own = found[name]
    first, null = own.findings.top_ranked("direction"), own.findings.null
    shared = next((unit for unit in own.units if unit.unit == first.unit), None)
    told, chance = first.detects, null.any_found / max(null.flips, 1)
    supported = told.q <= ALPHA and told.low > 0.5 and chance <= CHANCE
    separates = "separates" if supported else "is not shown to separate"
    between = (
        "" if shared is None else f"; {shared.omega2:.0%} of its variance lies between the groups"
    )
    won = f"{told.win_rate:.0%} of {told.pairs} pairs won"
    text = (
        f"{first.unit}, the direction ranked first, {separates} pictures that are {name} from "
        f"others: AUROC {told.auroc:.3f} ({told.low:.3f} to {told.high:.3f}) on prompts that did "
        f"not select it, {won} ({told.win_low:.0%} to {told.win_high:.0%}), "
        f"q {told.q:.2g}{between}."
    )
    criterion = (
        f"q at most .05, the interval above .5, and something found in at most {CHANCE:.0%} of "
        f"data sets with flipped sides (here {chance:.0%})"
    )
    return Claim(name, text, to_status(supported), criterion, told.auroc, told.low, told.high)


def _table(found: Groups) -> Table:
    rows = []
    for name, own in found.groups.items():
        for unit in own.units[:UNITS]:
            auroc = format_interval(unit.auroc, unit.low, unit.high, ".3f")
            counted = (f"{unit.q:.1g}", f"{unit.omega2:.0%}", f"{unit.prevalence:.0%}")
            rows.append((name, str(own.prompts), unit.unit, auroc, *counted))
    head = ("group", "prompts", "unit", "AUROC, held out", "q", "ω² between groups", "common in it")
    return Table("What is higher in one group than in the others", head, tuple(rows))


def _pictures(found: Groups, recording: Recording, folder: Path) -> PictureRows:
    """The first pictures of each group, of the evaluation half."""
    table = found.samples.reset_index(drop=True)
    rows = {}
    for name in found.groups:
        mine = table[(table["group"] == name) & (table["half"] == "evaluation")]
        first = mine.drop_duplicates("prompt")["sample"].to_numpy(np.int64)[:SHOWN]
        rows[name] = list(recording.pictures(first))
    return save_pictures(folder, "The first pictures of each group, none picked by hand", rows)
