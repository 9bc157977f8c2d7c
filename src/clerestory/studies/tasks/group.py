"""`[group.NAME]`: what pictures of one class share inside, and others have not."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clerestory.studies.tasks.base import (
    Came,
    Claim,
    Cost,
    Step,
    Strip,
    Table,
    Work,
    named,
    span,
    steps,
    strip,
)
from clerestory.studies.tasks.find import ALPHA, CHANCE
from clerestory.studies.tasks.record import Record

if TYPE_CHECKING:
    from clerestory.contrasts import Groups
    from clerestory.recordings import Recording

__all__ = ["Group"]

SHOWN, UNITS = 8, 4


@steps.register("group")
class Group(Step):
    """`group` over a recording with pictures.

    `classes` are those that are compared, all by default; claims are made of those in `about`, by
    default of each of these.
    """

    record: str
    classifier: str
    classes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    min_confidence: float = 0.0
    top: int = 20
    flips: int = 200

    def needs(self) -> tuple[str, ...]:
        """Its recording."""
        return named("record", self.record)

    def sees(self) -> tuple[tuple[str, str], ...]:
        """Who sorts the pictures, into what."""
        return tuple((self.classifier, name) for name in (*self.classes, *self.about) or ("",))

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """Which control is neither a factor of the recording nor a classifier."""
        record = plan[f"record.{self.record}"]
        factors = record.prompts.levels if isinstance(record, Record) else {}
        for name in self.control:
            if name not in factors and name not in classifiers and ":" not in name:
                return f"control: {name!r} is no factor of {self.record} and no classifier"
        return ""

    def method(self) -> str:
        """What sorted them, and within what they were compared."""
        control = f", compared within what {' and '.join(self.control)} say" if self.control else ""
        return (
            f"Pictures were sorted by {self.classifier}{control}; half of the prompts pick "
            "units, the others report; "
            f"{self.flips} data sets with flipped sides say what chance finds."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """Nothing is run in the model."""
        return Cost(disk=20_000_000)

    def run(self, work: Work, folder: Path) -> Came:
        """Group, and save groups and findings in `groups`."""
        from clerestory.contrasts import group
        from clerestory.recordings import Recording

        recording = Recording.open(work.folders[f"record.{self.record}"] / "recording")
        classes = tuple(work.shown(self.classifier, one) for one in self.classes)
        about = tuple(work.shown(self.classifier, one) for one in self.about or self.classes)
        found = group(
            recording,
            classifier=work.classifier(self.classifier),
            classes=classes,
            control=[work.classifier(one) for one in self.control],
            min_confidence=self.min_confidence,
            top=self.top,
            flips=self.flips,
            progress=lambda _, completed, total: work.tell("grouping", completed, total),
        )
        found.save(folder / "groups")
        return Came(
            claims=tuple(_claim(found, name) for name in about or found.groups)
            or (_none(self.classifier),),
            figures=found.to_dict(),
            tables=(_table(found),) if found.groups else (),
            strips=(_strip(found, recording, folder),) if found.groups else (),
            warnings=found.warnings,
        )


def _none(classifier: str) -> Claim:
    text = f"No class of {classifier} is drawn often enough to be compared."
    return Claim("groups", text, False, "a class with prompts enough")


def _claim(found: Groups, name: str) -> Claim:
    """Of the unit that discovery put first."""
    if name not in found.groups or not found[name].units:
        text = f"Nothing is known of what sets pictures that are {name} apart: there are too few."
        return Claim(name, text, False, "prompts enough, and a unit")
    own = found[name]
    first, null = own.findings.top_ranked("direction"), own.findings.null
    shared = next((unit for unit in own.units if unit.unit == first.unit), None)
    told, chance = first.detects, null.any_found / max(null.flips, 1)
    holds = told.q <= ALPHA and told.low > 0.5 and chance <= CHANCE
    how = "sets" if holds else "does not surely set"
    between = (
        "" if shared is None else f"; {shared.omega2:.0%} of its variance lies between the groups"
    )
    won = f"{told.win_rate:.0%} of {told.pairs} pairs won"
    text = (
        f"{first.unit}, the direction that discovery put first, {how} pictures that are {name} "
        f"apart: AUROC {told.auroc:.3f} ({told.low:.3f} to {told.high:.3f}) on prompts that it was "
        f"not found on, {won} ({told.win_low:.0%} to {told.win_high:.0%}), q {told.q:.2g}{between}."
    )
    bar = (
        f"q at most .05, the interval above .5, and something found in at most {CHANCE:.0%} of "
        f"data sets with flipped sides (here {chance:.0%})"
    )
    return Claim(name, text, holds, bar, told.auroc, told.low, told.high)


def _table(found: Groups) -> Table:
    rows = []
    for name, own in found.groups.items():
        for unit in own.units[:UNITS]:
            auroc = span(unit.auroc, unit.low, unit.high, ".3f")
            counted = (f"{unit.q:.1g}", f"{unit.omega2:.0%}", f"{unit.prevalence:.0%}")
            rows.append((name, str(own.prompts), unit.unit, auroc, *counted))
    head = ("group", "prompts", "unit", "AUROC, held out", "q", "ω² between groups", "common in it")
    return Table("What is excited in one group and not in the others", head, tuple(rows))


def _strip(found: Groups, recording: Recording, folder: Path) -> Strip:
    """The first pictures of each group, of the half that reports."""
    table = found.samples.reset_index(drop=True)
    rows = {}
    for name in found.groups:
        mine = table[(table["group"] == name) & (table["half"] == "evaluation")]
        first = mine.drop_duplicates("prompt")["sample"].to_numpy(np.int64)[:SHOWN]
        rows[name] = list(recording.pictures(first))
    return strip(folder, "The first pictures of each group, none picked by hand", rows)
