"""What conditions ask of the pictures: columns `drawn.NAME`, by whom they are seen, how well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clerestory.classifiers import Check, Classifier, checked, classifier, label, passes
from clerestory.contrasts.matching import HALVES
from clerestory.errors import EvidenceError
from clerestory.types import Role

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["DOTTED", "PASSED", "Eyes"]

DOTTED = re.compile(r"(?<![\w`.])drawn(?:\.\w+)+")
PASSED = "gate.passed"
"""The column that says which pictures the gate lets through."""
ROLES: tuple[Role, Role] = ("selection", "evaluation")
"""Which classifiers the half that discovers goes by, and which the half that reports."""


@dataclass(frozen=True)
class Eyes:
    """The classifiers that see a recording's pictures: by column, and the gate before them."""

    recording: Recording
    by: Mapping[str, str]
    gate: str | None = None

    @classmethod
    def of(
        cls,
        recording: Recording,
        conditions: Iterable[str],
        classifiers: Mapping[str, str],
        gate: str | None,
    ) -> Eyes:
        """Those of the columns `drawn.NAME` that conditions name; else `lancet:NAME`.

        EvidenceError where a classifier is given for a column that no condition names.
        """
        named = [name.split(".")[1] for each in conditions for name in DOTTED.findall(each)]
        idle = sorted(set(classifiers) - set(named))
        if idle:
            raise EvidenceError(
                f"A classifier is given for drawn.{idle[0]}, and no condition asks for that. They "
                f"ask for: {', '.join(f'drawn.{name}' for name in dict.fromkeys(named)) or 'none'}."
            )
        by = {name: classifiers.get(name, f"lancet:{name}") for name in dict.fromkeys(named)}
        return cls(recording, by, gate)

    def labels(self, made: Mapping[str, pd.DataFrame] | None = None) -> dict[str, pd.DataFrame]:
        """The columns, by half, a row a good sample; beside them those that were `made` elsewhere.

        EvidenceError where those lack a sample.
        """
        import pandas as pd

        found = {}
        for half, role in zip(HALVES, ROLES, strict=True):
            columns = [
                label(self.recording, of, column=name, role=role) for name, of in self.by.items()
            ]
            columns += [] if made is None else [self._whole(made[half])]
            table = pd.concat([pd.DataFrame(index=self.recording.rows), *columns], axis=1)
            if self.gate is not None:
                table[PASSED] = passes(self.recording, self.gate, role=role)
            found[half] = table
        return found

    def _whole(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = sorted(set(self.recording.rows.tolist()) - set(table.index))
        if missing:
            raise EvidenceError(f"The labels have no row of sample {missing[0]}.")
        return table.loc[self.recording.rows]

    def checks(self) -> dict[str, Check | None]:
        """Of each that the reporting half goes by, a person's check; None without one."""
        return {judge.source: checked(self.recording, judge) for judge in self._judges(ROLES[1])}

    def warnings(self) -> list[str]:
        """What stands against their word: weights of the model in them, one set for both halves."""
        recorded = set(self.recording.manifest.get("encoders", ()))
        said = []
        pairs = zip(self._judges(ROLES[0]), self._judges(ROLES[1]), strict=True)
        for discovers, reports in pairs:
            own = set(getattr(reports, "weights", ()))
            if own & recorded:
                share = len(own & recorded) / len(own)
                said.append(
                    f"{reports.source} has {share:.0%} of its weight matrices from the model that "
                    "was recorded: it may see what the model meant for that reason."
                )
            if discovers.source == reports.source and not getattr(reports, "measured", False):
                said.append(f"{reports.source} has one set of eyes for discovery and report.")
        return said

    def _judges(self, role: Role) -> list[Classifier]:
        gate = [self.gate.rpartition("=")[0]] if self.gate else []
        names = dict.fromkeys([*self.by.values(), *gate])
        return [classifier(name, role=role) for name in names]
