"""What conditions ask of the pictures: columns `drawn.NAME`, by whom they are seen, how well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clerestory.classifying import Check, Classifier, checked, classifier, label
from clerestory.finding.pairing import HALVES

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recording import Recording

__all__ = ["DOTTED", "Eyes"]

DOTTED = re.compile(r"(?<![\w`.])drawn(?:\.\w+)+")
SETS = ("a", "b")
"""Which set of classifiers the half that discovers goes by, and which the half that reports."""


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
        """Those of the columns `drawn.NAME` that conditions name; else `lancet:NAME`."""
        named = [name.split(".")[1] for each in conditions for name in DOTTED.findall(each)]
        by = {name: classifiers.get(name, f"lancet:{name}") for name in dict.fromkeys(named)}
        return cls(recording, by, gate if by else None)

    def labels(self) -> Mapping[str, pd.DataFrame] | None:
        """The columns, by half; None where there are none."""
        import pandas as pd

        if not self.by:
            return None
        found = {}
        for half, which in zip(HALVES, SETS, strict=True):
            columns = [
                label(self.recording, of, column=name, which=which, gate=self.gate)
                for name, of in self.by.items()
            ]
            found[half] = pd.concat(columns, axis=1).reset_index(drop=True)
        return found

    def checks(self) -> dict[str, Check | None]:
        """Of each that the reporting half goes by, a person's check; None without one."""
        return {judge.source: checked(self.recording, judge) for judge in self._judges()}

    def kin(self) -> list[str]:
        """A warning for each that has weights of the model that was recorded."""
        recorded = set(self.recording.manifest.get("encoders", ()))
        said = []
        for judge in self._judges():
            own = set(getattr(judge, "weights", ()))
            if own & recorded:
                share = len(own & recorded) / len(own)
                said.append(
                    f"{judge.source} has {share:.0%} of its weight matrices from the model that "
                    "was recorded: it may see what the model meant for that reason."
                )
        return said

    def _judges(self) -> list[Classifier]:
        gate = [self.gate.rpartition("=")[0]] if self.gate else []
        names = dict.fromkeys([*self.by.values(), *gate])
        return [classifier(name, which=SETS[1]) for name in names]
