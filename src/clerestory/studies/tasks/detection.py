"""What `find` and `group` share: both read a recording, and claim that a unit detects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Cost, Task, TaskContext
from clerestory.studies.tasks.record import Record
from clerestory.studies.tasks.results import Claim, Status

if TYPE_CHECKING:
    from clerestory.contrasts import Detection, Finding, FlipTest
    from clerestory.recordings import Recording

__all__ = ["DetectionTask", "detection_claim"]

ALPHA = 0.05
"""The highest q of a unit that detects."""
NO_DIFFERENCE = 0.5
"""The AUROC of a unit that does not tell the sides apart."""
MAX_CHANCE = 0.1
"""In how many of the data sets with flipped sides a unit may be found."""


class DetectionTask(Task):
    """A task that looks for units in the recording of a `record` task."""

    record: str
    top: int = 20
    flips: int = 200

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
    null: FlipTest,
    statement: Callable[[Status], str],
    *,
    hard_negative: bool = False,
    remark: str = "",
) -> Claim:
    """The claim that a unit detects, by its figures on the evaluation half.

    Args:
        claim_id: The claim's id.
        finding: The unit.
        null: What data sets with flipped sides find.
        statement: The beginning of the sentence for a status, without its figures.
        hard_negative: Whether the unit has to tell the positives from hard negatives as well.
        remark: What follows the figures.

    Returns:
        The claim.
    """
    detection = finding.detects
    # 0 without flips, of which there were none that found anything.
    chance = null.any_found / max(null.flips, 1)
    status = _status(detection, chance, hard_negative=hard_negative)
    auroc = format_interval(detection.auroc, detection.low, detection.high, ".3f")
    if detection.hard_negative_auroc is not None:
        auroc += f", and against the hard negative {detection.hard_negative_auroc:.3f}"
    text = (
        f"{statement(status)}: AUROC {auroc}, {detection.win_rate:.0%} of {detection.pairs} pairs "
        f"won ({detection.win_low:.0%} to {detection.win_high:.0%}), q {detection.q:.2g}{remark}."
    )
    against = ", also against the hard negative" if hard_negative else ""
    criterion = (
        f"q at most .05, the interval of the AUROC above .5{against}, and something found in at "
        f"most {MAX_CHANCE:.0%} of data sets with flipped sides (here {chance:.0%})"
    )
    return Claim(claim_id, text, status, criterion, detection.auroc, detection.low, detection.high)


def _status(detection: Detection, chance: float, *, hard_negative: bool) -> Status:
    """Not supported where an interval of the AUROC is below .5: the unit tells the reverse."""
    lows, highs = [detection.low], [detection.high]
    if hard_negative:
        # Without a figure the comparison is missing, which neither supports nor refutes.
        low, high = detection.hard_negative_low, detection.hard_negative_high
        lows.append(0.0 if low is None else low)
        highs.append(1.0 if high is None else high)
    if min(highs) < NO_DIFFERENCE:
        return "not supported"
    # A large q and frequent findings by chance are a lack of evidence: they refute nothing.
    significant = detection.q <= ALPHA and chance <= MAX_CHANCE
    return "supported" if significant and min(lows) > NO_DIFFERENCE else "undecided"
