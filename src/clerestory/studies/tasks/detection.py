"""What `find` and `group` share: both read a recording, and claim that a unit detects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.studies.tasks.base import Cost, Task, TaskContext
from clerestory.studies.tasks.record import Record
from clerestory.studies.tasks.results import Claim
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    from clerestory.contrasts import Detection, Finding, Findings
    from clerestory.recordings import Recording

__all__ = ["DetectionTask", "detection_claim"]

SLOTS = re.compile("{[^{}]*}")
SHORTAGES = ("few-items", "few-templates", "one-phrase")
"""Kinds of warnings that make every unit undecided."""
VARIED = {
    "nested": ("phrases",),
    "nested in crossed frames": ("phrases", "sentence frames"),
    "crossed": ("sentence frames",),
    "cells": ("wordings",),
}
"""What of the wording varies in a design; the number of templates counts the first."""


class DetectionTask(Task):
    """A task that looks for units in the recording of a `record` task."""

    record: str
    top: int = 20
    smallest_auroc: float = Field(default=0.5, ge=0.5, lt=1)

    def needs(self) -> tuple[str, ...]:
        return (f"record.{self.record}",)

    def cost(self, context: TaskContext) -> Cost:
        # The model is not run.
        return Cost(disk=20_000_000)

    def open_recording(self, context: TaskContext) -> Recording:
        """The recording that the `record` task made.

        Args:
            context: The folders.

        Returns:
            The recording.
        """
        from clerestory.recordings import Recording

        return Recording.open(context.folders[f"record.{self.record}"] / "recording")

    def factors(self, plan: Mapping[str, Task]) -> tuple[str, ...]:
        """The factors of the recording's prompts.

        Args:
            plan: All tasks of the study, by key.

        Returns:
            Their names.
        """
        record = plan[f"record.{self.record}"]
        assert isinstance(record, Record)
        return tuple(record.prompts.levels)


def detection_claim(
    claim_id: str,
    finding: Finding,
    findings: Findings,
    statement: Callable[[ClaimStatus], str],
    smallest_auroc: float,
    *,
    remark: str = "",
) -> Claim:
    """The claim that a unit detects, by its figures on the evaluation half.

    Args:
        claim_id: The claim's id.
        finding: The unit.
        findings: The findings that it is of.
        statement: The beginning of the sentence for a status, without its figures.
        smallest_auroc: The smallest AUROC that counts as detecting.
        remark: What follows the design.

    Returns:
        The claim.
    """
    detection = finding.detects
    status = _status(finding, smallest_auroc)
    text = (
        f"{statement(status)}: AUROC {_aurocs(detection)}, {_probability('p', detection.p)}, "
        f"{_probability('q', detection.q)}; {_design(findings, detection)}{remark}. "
        f"{_scope(findings, finding)}{_shortage(findings, finding)}"
    )
    criterion = (
        "one-sided q at most .05 over the units that were tested, with items and wordings as "
        f"random factors, and the lower limit of every AUROC above {smallest_auroc:g}; not "
        "supported where an upper limit is below it"
    )
    return Claim(claim_id, text, status, criterion, detection.auroc, detection.low, detection.high)


def _status(finding: Finding, smallest_auroc: float) -> ClaimStatus:
    """Supported or not by the interval alone, where the design is large enough and q small."""
    detection = finding.detects
    if finding.status == "undecided":
        return "undecided"
    if finding.status == "found" and detection.worst_low > smallest_auroc:
        return "supported"
    highs = (detection.high, detection.hard_negative_high)
    below = any(high is not None and high < smallest_auroc for high in highs)
    return "not supported" if below else "undecided"


def _probability(name: str, value: float) -> str:
    return f"{name} {value:.2g}" if value >= 1e-4 else f"{name} < 0.0001"


def _shortage(findings: Findings, finding: Finding) -> str:
    """Why a unit is undecided: what the design has too few of."""
    if finding.status != "undecided":
        return ""
    texts = [each.text for each in findings.warnings if each.kind in SHORTAGES]
    return "".join(f" {text}" for text in texts)


def _aurocs(detection: Detection) -> str:
    text = f"{detection.auroc:.3f} ({detection.low:.3f} to {detection.high:.3f})"
    if detection.hard_negative_auroc is not None:
        text += (
            f", and against the hard negative {detection.hard_negative_auroc:.3f} "
            f"({detection.hard_negative_low:.3f} to {detection.hard_negative_high:.3f})"
        )
    # Three digits: the intervals of found units are wider than 95%, by how many were tested.
    return f"{text}, {100 * detection.level:.3g}% intervals"


def _design(findings: Findings, detection: Detection) -> str:
    """Levels of the random factors, degrees of freedom and power."""
    # `templates` names its design beside the counts of the arms.
    counts = {arm: count for arm, count in findings.templates.items() if arm != "design"}
    wording = VARIED[str(findings.templates["design"])][0]
    if len(set(counts.values())) == 1:
        templates = f"{next(iter(counts.values()))} {wording} in each arm"
    else:
        arms = [f"{count} {arm.replace('_', ' ')}" for arm, count in counts.items()]
        templates = f"{_listed(arms)} {wording}"
    return f"{detection.items} items, {templates}, df {detection.df:.1f}{detection.power_text}"


def _scope(findings: Findings, finding: Finding) -> str:
    """What the claim generalises over, and over what it does not."""
    varied, fixed = ["items"], list[str]()
    design = str(findings.templates["design"])
    if design == "cells" and findings.templates["positive"] == 1:
        fixed += VARIED[design]
    else:
        varied += VARIED[design]
    if design == "crossed":
        fixed.append("phrases")
    if findings.samples is not None:
        # A frame of slots alone, such as `{style}`, has no words.
        if design == "nested" and SLOTS.sub("", findings.samples["template"].iloc[0]).strip():
            fixed.append("sentence frames")
        # What a text encoder computes depends on no seed.
        if not finding.site.startswith("text"):
            by_item = findings.samples.groupby("item")["seed"].agg(frozenset)
            (fixed if len(set(by_item)) == 1 else varied).append("seeds")
    but = f", not over {_listed(fixed)}" if fixed else ""
    return f"The test generalises over {_listed(varied)}{but}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
