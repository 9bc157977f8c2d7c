"""`[group.NAME]`: which units tell the pictures of one label from those of others."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clerestory.errors import TableError
from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Task, TaskContext, tasks
from clerestory.studies.tasks.detection import DetectionTask, detection_claim
from clerestory.studies.tasks.rendering import FIRST, save_pictures
from clerestory.studies.tasks.results import Claim, PictureRows, Table, TaskResult, by_status

if TYPE_CHECKING:
    from clerestory.contrasts import Groups
    from clerestory.recordings import Recording

__all__ = ["Group"]

ROWS = 4
"""Units of each group in the table."""
VERBS = by_status("separates", "is not shown to separate", "does not separate")


@tasks.register("group")
class Group(DetectionTask):
    """`group` of a recording with pictures.

    `labels` are compared, all of the classifier's by default; claims are made of `claim_labels`, by
    default of each.
    """

    classifier: str
    labels: tuple[str, ...] = ()
    claim_labels: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    min_confidence: float = 0.0

    def predicted_labels(self) -> tuple[tuple[str, str], ...]:
        labels = (*self.labels, *self.claim_labels) or ("",)
        return tuple((self.classifier, label) for label in labels)

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        factors = self.factors(plan)
        for name in self.control:
            if name not in factors and name not in classifiers and ":" not in name:
                raise TableError(
                    f"control: {name!r} is no factor of {self.record} and no classifier."
                )

    def method(self) -> str:
        control = (
            f", compared within levels of {' and '.join(self.control)}" if self.control else ""
        )
        return (
            f"Pictures were sorted by {self.classifier}{control}; half of the prompts select "
            "units, the others evaluate; "
            f"{self.flips} data sets with flipped sides say what chance finds."
        )

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.contrasts import group

        recording = self.open_recording(context)
        translate = {
            label: context.label(self.classifier, label)
            for label in (*self.labels, *self.claim_labels)
        }
        groups = group(
            recording,
            classifier=context.classifier(self.classifier),
            classes=tuple(translate[label] for label in self.labels),
            control=[context.classifier(name) for name in self.control],
            min_confidence=self.min_confidence,
            top=self.top,
            flips=self.flips,
            progress=context.report_as("grouping"),
        )
        groups.save(folder / "groups")
        claimed = [translate[label] for label in self.claim_labels or self.labels]
        claims = [_claim(groups, name) for name in claimed or groups.groups]
        return TaskResult(
            claims=tuple(claims) or (_claim_without_groups(self.classifier),),
            figures=groups.to_dict(),
            tables=(_table(groups),) if groups.groups else (),
            pictures=(_pictures(groups, recording, folder),) if groups.groups else (),
            warnings=groups.warnings,
        )


def _claim_without_groups(classifier: str) -> Claim:
    text = f"No label of {classifier} is drawn often enough to be compared."
    return Claim("groups", text, "undecided", "a label with enough prompts")


def _claim(groups: Groups, name: str) -> Claim:
    if name not in groups.groups or not groups[name].units:
        text = f"There are too few pictures that are {name} to tell what they share."
        return Claim(name, text, "undecided", "enough prompts, and a unit")
    group = groups[name]
    # Ranked by the selection half: the evaluation half must not choose the unit it evaluates.
    first = group.findings.top_ranked("direction")
    row = next((unit for unit in group.units if unit.unit == first.unit), None)
    return detection_claim(
        name,
        first,
        group.findings.null,
        lambda status: (
            f"{first.unit}, the direction ranked first, {VERBS[status]} pictures that are {name} "
            "from others on prompts that did not select it"
        ),
        remark=(
            "" if row is None else f"; {row.omega2:.0%} of its variance lies between the groups"
        ),
    )


def _table(groups: Groups) -> Table:
    rows = [
        (
            name,
            str(group.prompts),
            unit.unit,
            format_interval(unit.auroc, unit.low, unit.high, ".3f"),
            f"{unit.q:.1g}",
            f"{unit.omega2:.0%}",
            f"{unit.prevalence:.0%}",
        )
        for name, group in groups.groups.items()
        for unit in group.units[:ROWS]
    ]
    head = ("group", "prompts", "unit", "AUROC, held out", "q", "ω² between groups", "common in it")
    return Table("What is higher in one group than in the others", head, tuple(rows))


def _pictures(groups: Groups, recording: Recording, folder: Path) -> PictureRows:
    """The first pictures of each group, of the evaluation half."""
    table = groups.samples.reset_index(drop=True)
    rows = {}
    for name in groups.groups:
        members = table[(table["group"] == name) & (table["half"] == "evaluation")]
        # One picture of each prompt: its seeds look alike.
        first = members.drop_duplicates("prompt")["sample"].to_numpy(np.int64)[:FIRST]
        rows[name] = list(recording.pictures(first))
    return save_pictures(folder, "The first pictures of each group, none picked by hand", rows)
