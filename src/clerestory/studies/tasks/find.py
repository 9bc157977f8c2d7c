"""`[find.NAME]`: which units detect a concept, by evidence that was held out."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field

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
COLUMNS = ("prompt", "item", "phrase", "template", "seed")
"""The columns of every recording, besides its factors."""
COMPARED = re.compile(r"([A-Za-z_]\w*)\s*(?:==|!=|\bin\b|\bnot in\b)")
"""A name before a comparison of a query; other words are values."""
ROWS = 6
"""Units of each kind in the table: those ranked first, whatever the evaluation half says."""
VERBS = by_status("detects it", "is not shown to detect it", "does not detect it")


@tasks.register("find")
class Find(DetectionTask):
    """`find` in a recording: what is higher for `positive` than for the two negatives.

    `phrase` is the factor whose levels are phrases for the concept, where it is not called so;
    `splits` is how many random splits into halves the q takes into account. The claim is supported
    where the unit that the selection half ranks first is found, with lower limits of its AUROC
    above `smallest_auroc`.
    """

    concept: str
    positive: str
    negative: str
    hard_negative: str | None = None
    match: tuple[str, ...] = ()
    phrase: str | None = None
    kind: Literal["neuron", "direction", "both"] = "both"
    splits: int = Field(default=1, ge=1)

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
        # Only names: the query itself is parsed against the recording once there is one.
        names = {field: COMPARED.findall(query) for field, query in self._queries.items()}
        phrase = (self.phrase,) if self.phrase else ()
        for field, columns in {"match": self.match, "phrase": phrase, **names}.items():
            for name in columns:
                if name not in (*factors, *COLUMNS) and name not in classifiers:
                    raise TableError(
                        f"{field}: there is no factor {name!r} in {self.record}."
                        f"{suggest(name, factors)}"
                    )

    def method(self) -> str:
        hard = f" or {self.hard_negative}" if self.hard_negative else ""
        match = f", matched by {', '.join(self.match)}" if self.match else ""
        splits = (
            "" if self.splits == 1 else f" p is twice the median over {self.splits} random splits."
        )
        return (
            f"Units were compared between {self.positive} and {self.negative}{hard}{match}: one "
            "half of the items, phrases and sentence frames selects at most 50 units, the other "
            f"tests these alone, with items and wordings as random factors.{splits}"
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
            phrase=self.phrase,
            splits=self.splits,
            classifiers={
                name: classifier
                for name, classifier in context.classifiers.items()
                # `find` refuses a classifier that no query names.
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
            findings,
            lambda status: (
                f"The {kind} ranked first for {self.concept}, {first.unit}, {VERBS[status]} on "
                "items that did not select it"
            ),
            self.smallest_auroc,
        )


def _table(findings: Findings, kinds: Sequence[Kind]) -> Table:
    rows: list[tuple[str, ...]] = []
    highlighted = []
    for kind in kinds:
        # The claim is about the first row of each kind.
        highlighted.append(len(rows))
        for finding in findings.by_kind(kind)[:ROWS]:
            detection = finding.detects
            hard = detection.hard_negative_auroc
            rows.append(
                (
                    finding.unit,
                    kind,
                    format_interval(detection.auroc, detection.low, detection.high, ".3f"),
                    "–" if hard is None else f"{hard:.3f}",
                    f"{detection.q:.1g}",
                    finding.status,
                )
            )
    head = ("unit", "kind", "AUROC, held out", "against the hard negative", "q", "status")
    title = (
        f"The first of {findings.tested} units that were tested, of {findings.units:,} ranked, in "
        "the order of their selection"
    )
    return Table(title, head, tuple(rows), tuple(highlighted))
