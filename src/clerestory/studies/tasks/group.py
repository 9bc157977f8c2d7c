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
        """Which control is neither a factor of the recording nor a classifier.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            What is wrong, without a full stop; "" where everything fits.
        """
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
        """Nothing is run in the model.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        return Cost(disk=20_000_000)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Group, and save groups and findings in `groups`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.contrasts import group
        from clerestory.recordings import Recording

        recording = Recording.open(context.folders[f"record.{self.record}"] / "recording")
        classes = tuple(context.label(self.classifier, one) for one in self.labels)
        about = tuple(
            context.label(self.classifier, one) for one in self.claim_labels or self.labels
        )
        groups = group(
            recording,
            classifier=context.classifier(self.classifier),
            classes=classes,
            control=[context.classifier(one) for one in self.control],
            min_confidence=self.min_confidence,
            top=self.top,
            flips=self.flips,
            progress=lambda _, completed, total: context.progress("grouping", completed, total),
        )
        groups.save(folder / "groups")
        return TaskResult(
            claims=tuple(_claim(groups, name) for name in about or groups.groups)
            or (_none(self.classifier),),
            figures=groups.to_dict(),
            tables=(_table(groups),) if groups.groups else (),
            pictures=(_pictures(groups, recording, folder),) if groups.groups else (),
            warnings=groups.warnings,
        )


def _none(classifier: str) -> Claim:
    text = f"No label of {classifier} is drawn often enough to be compared."
    return Claim("groups", text, "not supported", "a label with enough prompts")


def _claim(groups: Groups, name: str) -> Claim:
    """For the unit that ranked first in the selection."""
    if name not in groups.groups or not groups[name].units:
        text = f"There are too few pictures that are {name} to tell what they share."
        return Claim(name, text, "not supported", "enough prompts, and a unit")
    own = groups[name]
    # The direction that was ranked first, whatever the evaluation says of it.
    first, null = own.findings.top_ranked("direction"), own.findings.null
    shared = next((unit for unit in own.units if unit.unit == first.unit), None)
    detection, chance = first.detects, null.any_found / max(null.flips, 1)
    supported = detection.q <= ALPHA and detection.low > 0.5 and chance <= CHANCE
    separates = "separates" if supported else "is not shown to separate"
    between = (
        "" if shared is None else f"; {shared.omega2:.0%} of its variance lies between the groups"
    )
    won = f"{detection.win_rate:.0%} of {detection.pairs} pairs won"
    text = (
        f"{first.unit}, the direction ranked first, {separates} pictures that are {name} from "
        f"others: AUROC {detection.auroc:.3f} ({detection.low:.3f} to {detection.high:.3f}) "
        f"on prompts that did not select it, {won} ({detection.win_low:.0%} to "
        f"{detection.win_high:.0%}), q {detection.q:.2g}{between}."
    )
    criterion = (
        f"q at most .05, the interval above .5, and something found in at most {CHANCE:.0%} of "
        f"data sets with flipped sides (here {chance:.0%})"
    )
    return Claim(
        name, text, to_status(supported), criterion, detection.auroc, detection.low, detection.high
    )


def _table(groups: Groups) -> Table:
    rows = []
    for name, own in groups.groups.items():
        for unit in own.units[:UNITS]:
            auroc = format_interval(unit.auroc, unit.low, unit.high, ".3f")
            counted = (f"{unit.q:.1g}", f"{unit.omega2:.0%}", f"{unit.prevalence:.0%}")
            rows.append((name, str(own.prompts), unit.unit, auroc, *counted))
    head = ("group", "prompts", "unit", "AUROC, held out", "q", "ω² between groups", "common in it")
    return Table("What is higher in one group than in the others", head, tuple(rows))


def _pictures(groups: Groups, recording: Recording, folder: Path) -> PictureRows:
    """The first pictures of each group, of the evaluation half."""
    table = groups.samples.reset_index(drop=True)
    rows = {}
    for name in groups.groups:
        mine = table[(table["group"] == name) & (table["half"] == "evaluation")]
        # One picture of each prompt: its seeds look alike.
        first = mine.drop_duplicates("prompt")["sample"].to_numpy(np.int64)[:SHOWN]
        rows[name] = list(recording.pictures(first))
    return save_pictures(folder, "The first pictures of each group, none picked by hand", rows)
