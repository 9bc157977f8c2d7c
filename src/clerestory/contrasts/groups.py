"""What pictures of one class have in common inside the model, and what tells them from others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.io.outputs import empty_folder
from clerestory.registry import suggest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Group", "Groups", "Shared"]

FILE = "groups.json"


@dataclass(frozen=True)
class Shared:
    """A unit of a group: what sets the group's prompts apart from the others, held out.

    `auroc` is group against rest, turned the unit's way; `q` over all units. `omega2` is the share
    of the unit's variance that lies between all groups. `common`: in which share of the group's
    prompts the unit is beyond three quarters of the other groups' prompts. `against`: its AUROC
    against each other group. These three are of all prompts of the half that reports, each around
    the mean of those that are alike in what is controlled.
    """

    unit: str
    kind: str
    sign: int
    auroc: float
    low: float
    high: float
    q: float
    omega2: float
    common: float
    against: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Group:
    """One class: how many of its prompts report, each beside another's; units, the best first."""

    prompts: int
    units: tuple[Shared, ...]
    findings: Findings = field(repr=False)


@dataclass(frozen=True, eq=False)
class Groups:
    """The groups of a recording's pictures, as `classifier` sees them, by class.

    `split` has the prompts whose seeds came out in several classes, and which: they are in no
    group, and beside a group only where none of their seeds is in it. `unsure` counts the prompts
    that were left out: a class not asked for, too little confidence, the gate, seeds that differ in
    what is controlled. `controlled` are the columns within whose levels prompts were compared.
    `table` has a row for each sample: its `group`, its `half`, its number.
    """

    classifier: str
    groups: Mapping[str, Group]
    split: Mapping[str, tuple[str, ...]]
    unsure: int
    controlled: tuple[str, ...]
    within: str | None
    warnings: tuple[str, ...]
    table: pd.DataFrame = field(repr=False)

    def __getitem__(self, name: str) -> Group:
        """The group of a class; EvidenceError where there is none."""
        if name not in self.groups:
            raise EvidenceError(f"There is no group {name!r}.{suggest(name, self.groups)}")
        return self.groups[name]

    def findings(self, name: str) -> Findings:
        """A group's findings, for `verify`, edits and searches."""
        return self[name].findings

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "classifier": self.classifier,
            "groups": {
                name: {
                    "prompts": group.prompts,
                    "units": [asdict(unit) for unit in group.units],
                    "null": asdict(group.findings.null),
                    "tested": group.findings.tested,
                }
                for name, group in self.groups.items()
            },
            "split": {prompt: list(names) for prompt, names in self.split.items()},
            "unsure": self.unsure,
            "controlled": list(self.controlled),
            "within": self.within,
            "warnings": list(self.warnings),
        }

    def save(self, folder: Path) -> None:
        """Write `groups.json`, and a folder of findings for each group, into a new folder."""
        empty_folder(folder)
        (folder / FILE).write_text(json.dumps(self.told(), indent=1, allow_nan=False) + "\n")
        for place, group in enumerate(self.groups.values()):
            group.findings.save(folder / "findings" / f"{place:02}")
