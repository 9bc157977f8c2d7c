"""`[find.NAME]`: which units detect a concept, by evidence that was held out."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clerestory.registry import suggest
from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    Table,
    Task,
    TaskContext,
    TaskResult,
    format_interval,
    save_chart,
    task_keys,
    tasks,
    to_status,
)
from clerestory.studies.tasks.record import Record

if TYPE_CHECKING:
    from clerestory.contrasts import Finding, Findings

__all__ = ["Find"]

CHANCE = 0.1
"""In how many of the data sets with flipped sides a unit may be found."""
ALPHA = 0.05
COLUMNS = ("prompt", "template", "group", "seed")
"""The columns of every recording, besides its factors."""
SHOWN = 6
"""Units of each kind in the table: those ranked first, whatever the evaluation half says."""


@tasks.register("find")
class Find(Task):
    """`find` in a recording: what is higher for `positive` than for the two negatives."""

    record: str
    concept: str
    positive: str
    negative: str
    hard_negative: str | None = None
    match: tuple[str, ...] = ()
    kind: Literal["neuron", "direction", "both"] = "both"
    top: int = 20
    flips: int = 200

    def needs(self) -> tuple[str, ...]:
        """Its recording."""
        return task_keys("record", self.record)

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """Which column of `match` or of a query the recording will not have.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            What is wrong, without a full stop; "" where everything fits.
        """
        record = plan[f"record.{self.record}"]
        factors: tuple[str, ...] = (
            tuple(record.prompts.levels) if isinstance(record, Record) else ()
        )
        queries = " ".join(filter(None, (self.positive, self.negative, self.hard_negative)))
        # Only names before a comparison: others are values.
        named = [*self.match, *re.findall(r"([A-Za-z_]\w*)\s*(?:==|!=|\bin\b|\bnot in\b)", queries)]
        for name in named:
            if factors and name not in (*factors, *COLUMNS) and name not in classifiers:
                # `suggest` ends with a full stop, which the caller adds.
                return f"there is no factor {name!r} in {self.record}.{suggest(name, factors)}"[:-1]
        return ""

    def method(self) -> str:
        """What was compared with what, and how chance was counted."""
        hard = f" or {self.hard_negative}" if self.hard_negative else ""
        match = f", matched by {', '.join(self.match)}" if self.match else ""
        return (
            f"Units were compared between {self.positive} and {self.negative}{hard}{match}: one "
            "half of the items and templates selects, the other evaluates; "
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
        """Find, and save the findings in `findings`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.contrasts import find
        from clerestory.contrasts.charts import site_map
        from clerestory.recordings import Recording

        queries = " ".join(filter(None, (self.positive, self.negative, self.hard_negative)))
        findings = find(
            Recording.open(context.folders[f"record.{self.record}"] / "recording"),
            positive=self.positive,
            negative=self.negative,
            hard_negative=self.hard_negative,
            match=list(self.match),
            kind=self.kind,
            top=self.top,
            flips=self.flips,
            classifiers={
                name: one
                for name, one in context.classifiers.items()
                if f"predicted.{name}" in queries
            },
            progress=lambda _, completed, total: context.progress(
                f"finding {self.concept}", completed, total
            ),
        )
        findings.save(folder / "findings")
        kinds: list[Literal["direction", "neuron"]] = [
            kind for kind in ("direction", "neuron") if findings.by_kind(kind)
        ]
        return TaskResult(
            claims=tuple(self._claim(findings, kind) for kind in kinds),
            figures=findings.to_dict(),
            tables=(_table(findings, kinds),),
            charts=tuple(
                save_chart(folder, f"Where a {kind} detects it", kind, site_map(findings, kind))
                for kind in kinds
            ),
            warnings=findings.warnings,
        )

    def _claim(self, findings: Findings, kind: Literal["direction", "neuron"]) -> Claim:
        """For the unit that ranked first in the selection, whatever the evaluation says of it."""
        first = findings.top_ranked(kind)
        detection = first.detects
        # Also 0 where no flips were made: nothing was found in none.
        chance = findings.null.any_found / max(findings.null.flips, 1)
        supported = _supported(first, self.hard_negative is not None) and chance <= CHANCE
        against = (
            ""
            if detection.hard_negative_auroc is None
            else f", and against the hard negative {detection.hard_negative_auroc:.3f}"
        )
        detects = "detects it" if supported else "does not detect it well enough"
        text = (
            f"The {kind} ranked first for {self.concept}, {first.unit}, {detects} on "
            f"items that did not select it: AUROC {detection.auroc:.3f} ({detection.low:.3f} to "
            f"{detection.high:.3f}){against}, {detection.win_rate:.0%} of {detection.pairs} pairs "
            f"won ({detection.win_low:.0%} to {detection.win_high:.0%}), q {detection.q:.2g}."
        )
        criterion = (
            "q at most .05, the interval of the AUROC above .5, also against the hard negative, "
            f"and something found in at most {CHANCE:.0%} of data sets with flipped sides (here "
            f"{chance:.0%})"
        )
        return Claim(
            f"{kind} detects",
            text,
            to_status(supported),
            criterion,
            detection.auroc,
            detection.low,
            detection.high,
        )


def _supported(first: Finding, hard_negative: bool) -> bool:
    detection = first.detects
    against = not hard_negative or (
        detection.hard_negative_low is not None and detection.hard_negative_low > 0.5
    )
    return detection.q <= ALPHA and detection.low > 0.5 and against


def _table(findings: Findings, kinds: list[Literal["direction", "neuron"]]) -> Table:
    rows: list[tuple[str, ...]] = []
    highlighted = []
    for kind in kinds:
        first = findings.top_ranked(kind)
        ranked = sorted(findings.by_kind(kind), key=lambda finding: finding.rank)
        # The claim's unit first, and not a second time among those ranked first.
        for finding in dict.fromkeys([first, *ranked[:SHOWN]]):
            detection = finding.detects
            hard = (
                "–"
                if detection.hard_negative_auroc is None
                else f"{detection.hard_negative_auroc:.3f}"
            )
            if finding is first:
                highlighted.append(len(rows))
            auroc = format_interval(detection.auroc, detection.low, detection.high, ".3f")
            rows.append(
                (
                    finding.unit,
                    kind,
                    auroc,
                    hard,
                    f"{detection.difference:.2f}",
                    f"{detection.q:.1g}",
                )
            )
    head = ("unit", "kind", "AUROC, held out", "against the hard negative", "difference, SD", "q")
    title = (
        f"The first of {findings.tested:,} units by selection, on items that did not select them"
    )
    return Table(title, head, tuple(rows), tuple(highlighted))
