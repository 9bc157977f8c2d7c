"""`[find.NAME]`: which units tell a concept, by evidence that was held out."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clerestory.registry import suggest
from clerestory.studies.tasks.base import (
    Came,
    Claim,
    Cost,
    Step,
    Table,
    Work,
    chart,
    named,
    span,
    steps,
)
from clerestory.studies.tasks.record import Record

if TYPE_CHECKING:
    from clerestory.contrasts import Finding, Findings

__all__ = ["Find"]

CHANCE = 0.1
"""Of data sets with flipped sides, in how many anything may be found."""
ALPHA = 0.05
COLUMNS = ("prompt", "phrasing", "group", "seed")
"""Of every recording, besides its factors."""
SHOWN = 6
"""Units of each kind in the table: the first of discovery, whatever the report half says."""


@steps.register("find")
class Find(Step):
    """`find` over a recording: what is higher where `shown`, and not for the `decoy`."""

    record: str
    concept: str
    shown: str
    absent: str
    decoy: str | None = None
    match: tuple[str, ...] = ()
    by: Literal["neuron", "direction", "both"] = "both"
    top: int = 20
    flips: int = 200

    def needs(self) -> tuple[str, ...]:
        """Its recording."""
        return named("record", self.record)

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """Which column of `match` or of a condition the recording will not have."""
        record = plan[f"record.{self.record}"]
        factors: tuple[str, ...] = (
            tuple(record.prompts.levels) if isinstance(record, Record) else ()
        )
        asked = " ".join(filter(None, (self.shown, self.absent, self.decoy)))
        named = [*self.match, *re.findall(r"([A-Za-z_]\w*)\s*(?:==|!=|\bin\b|\bnot in\b)", asked)]
        for name in named:
            if factors and name not in (*factors, *COLUMNS) and name not in classifiers:
                return f"there is no factor {name!r} in {self.record}.{suggest(name, factors)}"[:-1]
        return ""

    def method(self) -> str:
        """What was compared with what, and how chance was counted."""
        decoy = f", with {self.decoy} as the decoy" if self.decoy else ""
        match = f", matched by {', '.join(self.match)}" if self.match else ""
        return (
            f"Units were compared where {self.shown} and where {self.absent}{decoy}{match}: half "
            "of the contents and phrasings pick, the others report; "
            f"{self.flips} data sets with flipped sides say what chance finds."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """Nothing is run in the model."""
        return Cost(disk=20_000_000)

    def run(self, work: Work, folder: Path) -> Came:
        """Find, and save the findings in `findings`."""
        from clerestory.contrasts import find
        from clerestory.contrasts.charts import site_map
        from clerestory.recordings import Recording

        asked = " ".join(filter(None, (self.shown, self.absent, self.decoy)))
        found = find(
            Recording.open(work.folders[f"record.{self.record}"] / "recording"),
            positive=self.shown,
            negative=self.absent,
            hard_negative=self.decoy,
            match=list(self.match),
            kind=self.by,
            top=self.top,
            flips=self.flips,
            classifiers={
                name: one for name, one in work.classifiers.items() if f"predicted.{name}" in asked
            },
            progress=lambda _, completed, total: work.tell(
                f"finding {self.concept}", completed, total
            ),
        )
        found.save(folder / "findings")
        kinds: list[Literal["direction", "neuron"]] = [
            kind for kind in ("direction", "neuron") if found.by_kind(kind)
        ]
        return Came(
            claims=tuple(self._claim(found, kind) for kind in kinds),
            figures=found.to_dict(),
            tables=(_table(found, kinds),),
            charts=tuple(
                chart(folder, f"Where a {kind} tells it", kind, site_map(found, kind))
                for kind in kinds
            ),
            warnings=found.warnings,
        )

    def _claim(self, found: Findings, kind: Literal["direction", "neuron"]) -> Claim:
        """Of the one that discovery put first, whatever the report half says of it."""
        first = found.top_ranked(kind)
        told = first.detects
        chance = found.null.any_found / max(found.null.flips, 1)
        holds = _holds(first, self.decoy is not None) and chance <= CHANCE
        against = (
            ""
            if told.hard_negative_auroc is None
            else f", and from the decoy with {told.hard_negative_auroc:.3f}"
        )
        tells = "tells it" if holds else "does not tell it well enough"
        text = (
            f"The {kind} that discovery put first for {self.concept}, {first.unit}, {tells} on "
            f"contents that it was not found on: AUROC {told.auroc:.3f} ({told.low:.3f} to "
            f"{told.high:.3f}){against}, {told.win_rate:.0%} of {told.pairs} pairs won "
            f"({told.win_low:.0%} to {told.win_high:.0%}), q {told.q:.2g}."
        )
        bar = (
            "q at most .05, the interval of the AUROC above .5, also against the decoy, and "
            f"something found in at most {CHANCE:.0%} of data sets with flipped sides (here "
            f"{chance:.0%})"
        )
        return Claim(f"{kind} detects", text, holds, bar, told.auroc, told.low, told.high)


def _holds(first: Finding, decoy: bool) -> bool:
    told = first.detects
    against = not decoy or (told.hard_negative_low is not None and told.hard_negative_low > 0.5)
    return told.q <= ALPHA and told.low > 0.5 and against


def _table(found: Findings, kinds: list[Literal["direction", "neuron"]]) -> Table:
    rows: list[tuple[str, ...]] = []
    key = []
    for kind in kinds:
        first = found.top_ranked(kind)
        ranked = sorted(found.by_kind(kind), key=lambda one: one.rank)
        for one in dict.fromkeys([first, *ranked[:SHOWN]]):
            told = one.detects
            decoy = "–" if told.hard_negative_auroc is None else f"{told.hard_negative_auroc:.3f}"
            if one is first:
                key.append(len(rows))
            auroc = span(told.auroc, told.low, told.high, ".3f")
            rows.append((one.unit, kind, auroc, decoy, f"{told.difference:.2f}", f"{told.q:.1g}"))
    head = ("unit", "kind", "AUROC, held out", "against the decoy", "difference, SD", "q")
    title = f"The first of {found.tested:,} units by discovery, on contents that did not pick them"
    return Table(title, head, tuple(rows), tuple(key))
