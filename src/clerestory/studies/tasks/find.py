"""`[find.NAME]`: which units detect a concept, by evidence that was held out."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from clerestory.errors import TableError
from clerestory.registry import suggest
from clerestory.reporting.intervals import format_interval
from clerestory.studies.tasks.base import Task, TaskContext, tasks
from clerestory.studies.tasks.detection import DetectionTask, detection_claim
from clerestory.studies.tasks.rendering import save_chart
from clerestory.studies.tasks.results import Claim, Table, TaskResult, by_status

if TYPE_CHECKING:
    from clerestory.contrasts import Findings

__all__ = ["Find"]

Kind: TypeAlias = Literal["direction", "neuron"]
COLUMNS = ("prompt", "template", "group", "seed")
"""The columns of every recording, besides its factors."""
COMPARED = re.compile(r"([A-Za-z_]\w*)\s*(?:==|!=|\bin\b|\bnot in\b)")
"""A name before a comparison of a query; other words are values."""
ROWS = 6
"""Units of each kind in the table: those ranked first, whatever the evaluation half says."""
VERBS = by_status("detects it", "is not shown to detect it", "does not detect it")


@tasks.register("find")
class Find(DetectionTask):
    """`find` in a recording: what is higher for `positive` than for the two negatives."""

    concept: str
    positive: str
    negative: str
    hard_negative: str | None = None
    match: tuple[str, ...] = ()
    kind: Literal["neuron", "direction", "both"] = "both"

    @property
    def _queries(self) -> dict[str, str]:
        queries = {
            "positive": self.positive,
            "negative": self.negative,
            "hard_negative": self.hard_negative,
        }
        return {field: query for field, query in queries.items() if query}

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        factors = self.factors(plan)
        names = {field: COMPARED.findall(query) for field, query in self._queries.items()}
        for field, columns in {"match": self.match, **names}.items():
            for name in columns:
                if name not in (*factors, *COLUMNS) and name not in classifiers:
                    raise TableError(
                        f"{field}: there is no factor {name!r} in {self.record}."
                        f"{suggest(name, factors)}"
                    )

    def method(self) -> str:
        hard = f" or {self.hard_negative}" if self.hard_negative else ""
        match = f", matched by {', '.join(self.match)}" if self.match else ""
        return (
            f"Units were compared between {self.positive} and {self.negative}{hard}{match}: one "
            "half of the items and templates selects, the other evaluates; "
            f"{self.flips} data sets with flipped sides say what chance finds."
        )

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.contrasts import find
        from clerestory.contrasts.charts import site_map

        queries = " ".join(self._queries.values())
        findings = find(
            self.open_recording(context),
            positive=self.positive,
            negative=self.negative,
            hard_negative=self.hard_negative,
            match=list(self.match),
            kind=self.kind,
            top=self.top,
            flips=self.flips,
            classifiers={
                name: classifier
                for name, classifier in context.classifiers.items()
                if f"predicted.{name}" in queries
            },
            progress=context.report_as(f"finding {self.concept}"),
        )
        findings.save(folder / "findings")
        possible: tuple[Kind, Kind] = ("direction", "neuron")
        kinds = [kind for kind in possible if findings.by_kind(kind)]
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

    def _claim(self, findings: Findings, kind: Kind) -> Claim:
        # Ranked by the selection half: the evaluation half must not choose the unit it evaluates.
        first = findings.top_ranked(kind)
        return detection_claim(
            f"{kind} detects",
            first,
            findings.null,
            lambda status: (
                f"The {kind} ranked first for {self.concept}, {first.unit}, {VERBS[status]} on "
                "items that did not select it"
            ),
            hard_negative=self.hard_negative is not None,
        )


def _table(findings: Findings, kinds: Sequence[Kind]) -> Table:
    rows: list[tuple[str, ...]] = []
    highlighted = []
    for kind in kinds:
        first = findings.top_ranked(kind)
        ranked = sorted(findings.by_kind(kind), key=lambda finding: finding.rank)
        # The claim's unit first, and not a second time among those ranked first.
        for finding in dict.fromkeys([first, *ranked[:ROWS]]):
            detection = finding.detects
            hard = detection.hard_negative_auroc
            if finding is first:
                highlighted.append(len(rows))
            rows.append(
                (
                    finding.unit,
                    kind,
                    format_interval(detection.auroc, detection.low, detection.high, ".3f"),
                    "–" if hard is None else f"{hard:.3f}",
                    f"{detection.difference:.2f}",
                    f"{detection.q:.1g}",
                )
            )
    head = ("unit", "kind", "AUROC, held out", "against the hard negative", "difference, SD", "q")
    title = (
        f"The first of {findings.tested:,} units by selection, on items that did not select them"
    )
    return Table(title, head, tuple(rows), tuple(highlighted))
