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
from clerestory.studies.tasks.rendering import FIRST, count_noun, save_pictures
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
    default of each. Pictures are compared within cells of equal levels of the factors of `control`
    and equal predictions of its classifiers; without factors within each prompt. A claim is
    supported where the direction that the selection half ranks first is found, with the lower limit
    of its AUROC above `smallest_auroc`.
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
        control = f"{' and '.join(self.control)}, " if self.control else "prompt, and thus "
        return (
            f"Pictures were sorted by {self.classifier} and compared within cells of equal "
            f"{control}wording; half of the items and wordings select at most 50 units of each "
            "group, the others test these alone, with items and wordings as random factors."
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
            progress=context.report_as("grouping"),
        )
        groups.save(folder / "groups")
        claimed = [translate[label] for label in self.claim_labels or self.labels]
        claims = [_claim(groups, name, self.smallest_auroc) for name in claimed or groups.groups]
        return TaskResult(
            claims=tuple(claims),
            figures=groups.to_dict(),
            tables=(_table(groups),),
            pictures=(_pictures(groups, recording, folder),),
            warnings=groups.warnings,
        )


def _claim(groups: Groups, name: str, smallest_auroc: float) -> Claim:
    if name not in groups.groups:
        text = f"Too few cells hold pictures that are {name}, and others, to compare them."
        return Claim(name, text, "undecided", "enough cells that hold both")
    group = groups[name]
    # Ranked by the selection half: the evaluation half must not choose the unit it evaluates.
    first = group.findings.top_ranked("direction")
    return detection_claim(
        name,
        first,
        group.findings,
        lambda status: (
            f"{first.unit}, the direction ranked first, {VERBS[status]} pictures that are {name} "
            "from others in cells that did not select it"
        ),
        smallest_auroc,
        remark=f"; {count_noun(group.cells, 'cell')} hold both",
    )


def _table(groups: Groups) -> Table:
    rows = [
        (
            name,
            str(group.cells),
            unit.unit,
            format_interval(unit.auroc, unit.low, unit.high, ".3f"),
            f"{unit.q:.1g}",
            unit.status,
        )
        for name, group in groups.groups.items()
        for unit in group.units[:ROWS]
    ]
    head = ("group", "cells", "unit", "AUROC, held out", "q", "status")
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
