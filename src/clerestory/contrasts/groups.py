"""Groups of pictures by predicted class, with the units that separate each from the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from clerestory.contrasts.findings import Findings, FlipTest, UnitKind, read_samples
from clerestory.errors import EvidenceError
from clerestory.io.reading import path_inside
from clerestory.io.validation import load_json, to_jsonable
from clerestory.registry import suggest
from clerestory.reporting.results import Provenance, Result

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FILE", "Group", "GroupUnit", "Groups", "findings_folder"]

FILE, SAMPLES = "groups.json", "samples.parquet"
COLUMNS = ("sample", "prompt", "seed", "group", "half")


@dataclass(frozen=True)
class GroupUnit:
    """A unit that separates the prompts of a group from other prompts, in the evaluation half.

    `omega2`, `prevalence` and `auroc_against` are computed over all prompts of the evaluation half,
    whose values are centred within the levels of the controlled columns.

    Attributes:
        unit: Address of the unit.
        kind: Neuron or direction.
        sign: −1 for a unit that is lower in the group.
        auroc: Group against the others, with the sign of the unit.
        low: Lower limit of its 95% bootstrap interval.
        high: Upper limit of that interval.
        q: Benjamini–Hochberg over all tested units.
        omega2: Share of the unit's variance between groups.
        prevalence: Share of the group's prompts in which the unit is above the upper quartile of
            the other groups' prompts.
        auroc_against: AUROC against each other group.
    """

    unit: str
    kind: UnitKind
    sign: int
    auroc: float
    low: float
    high: float
    q: float
    omega2: float
    prevalence: float
    auroc_against: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Group:
    """The prompts of one class.

    Attributes:
        prompts: Number of its prompts in the evaluation half that have a partner.
        units: Its units, the best on the evaluation half first.
        findings: The findings that the units come from.
    """

    prompts: int
    units: tuple[GroupUnit, ...]
    findings: Findings


@dataclass(frozen=True, eq=False, repr=False)
class Groups(Result):
    """The groups of a recording's pictures by predicted class.

    Attributes:
        classifier: The name of the classifier.
        groups: The groups by class.
        mixed: Prompts whose samples have several classes, with these classes. They belong to no
            group, but can be partners for the group of a class that none of their samples has.
        excluded: Number of prompts that were left out because of another class, low confidence, the
            picture filter, or seeds that differ in a controlled column.
        controlled: Columns within whose levels prompts were compared.
        within: `prompt` if the seeds of each prompt were contrasted.
        warnings: Limitations of the evidence.
        samples: A row for each sample, with its class as `group`, its `half`, and its number as
            `sample`.
        provenance: Version, recorded model and options.
    """

    figures_file = FILE
    classifier: str
    groups: Mapping[str, Group]
    mixed: Mapping[str, tuple[str, ...]]
    excluded: int
    controlled: tuple[str, ...]
    within: str | None
    warnings: tuple[str, ...]
    samples: pd.DataFrame
    provenance: Provenance

    def __getitem__(self, name: str) -> Group:
        if name not in self.groups:
            raise EvidenceError(f"There is no group {name!r}.{suggest(name, self.groups)}")
        return self.groups[name]

    def findings(self, name: str) -> Findings:
        """The findings of a group, for `verify`, edits and searches.

        Args:
            name: The class.

        Returns:
            The units that separate the group from the others.

        Raises:
            EvidenceError: There is no such group.
        """
        return self[name].findings

    def summary(self) -> str:
        """The groups with their numbers of evaluation prompts."""
        sizes = ", ".join(f"{name} ({group.prompts})" for name, group in self.groups.items())
        return f"{len(self.groups)} groups by {self.classifier}, with evaluation prompts: {sizes}"

    def table(self, top: int | None = None) -> pd.DataFrame:
        """A row for each unit of each group.

        Args:
            top: Maximum number of rows of each kind in each group; by default all.

        Returns:
            For each group directions, then neurons, each the best on the evaluation half first.
        """
        import pandas as pd

        rows = [
            {"group": name, "prompts": group.prompts, **_row(unit)}
            for name, group in self.groups.items()
            for kind in ("direction", "neuron")
            for unit in [unit for unit in group.units if unit.kind == kind][:top]
        ]
        return pd.DataFrame(rows)

    def plot(self) -> Any:
        """AUROCs of each group's first units with their intervals, as an Altair chart."""
        from clerestory.contrasts.charts import group_chart

        return group_chart(self)

    def to_dict(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        groups = {
            name: _GroupFields(
                group.prompts, group.units, group.findings.null, group.findings.tested
            )
            for name, group in self.groups.items()
        }
        content = {entry.name: getattr(self, entry.name) for entry in fields(_Fields)}
        return to_jsonable(_Fields(**{**content, "groups": groups}))

    def write(self, folder: Path) -> None:
        """Write `groups.json`, the samples, and a folder of findings for each group.

        Args:
            folder: The folder; files of these names are overwritten.
        """
        super().write(folder)
        self.samples.to_parquet(folder / SAMPLES)
        for name, group in self.groups.items():
            group.findings.write(findings_folder(folder, list(self.groups), name))

    @classmethod
    @override
    def load(cls, folder: Path) -> Groups:
        read = load_json(_Fields, folder, FILE, EvidenceError)
        groups = {}
        for name, group in read.groups.items():
            path = findings_folder(Path(), list(read.groups), name).as_posix()
            findings = Findings.load(path_inside(folder, path, EvidenceError))
            groups[name] = Group(group.prompts, group.units, findings)
        samples = read_samples(path_inside(folder, SAMPLES, EvidenceError), COLUMNS)
        return cls(**{**vars(read), "groups": groups}, samples=samples)


def findings_folder(folder: Path, names: list[str], name: str) -> Path:
    """The folder with the findings of one group.

    Args:
        folder: The folder of all groups.
        names: All classes, in the order of `groups.json`.
        name: One of the classes.

    Returns:
        The path of the folder.
    """
    # Numbered, since the name of a class may not be a valid file name.
    return folder / "findings" / f"{names.index(name):02}"


@dataclass(frozen=True)
class _GroupFields:
    """A group in `groups.json`; `null` and `tested` repeat those of its findings."""

    prompts: int
    units: tuple[GroupUnit, ...]
    null: FlipTest
    tested: int


@dataclass(frozen=True)
class _Fields:
    """The fields of `groups.json`."""

    provenance: Provenance
    classifier: str
    groups: Mapping[str, _GroupFields]
    mixed: Mapping[str, tuple[str, ...]]
    excluded: int
    controlled: tuple[str, ...]
    within: str | None
    warnings: tuple[str, ...]


def _row(unit: GroupUnit) -> dict[str, Any]:
    columns = {name: value for name, value in vars(unit).items() if name != "auroc_against"}
    # The group that the unit separates least.
    worst = min(unit.auroc_against.values(), default=None)
    return {**columns, "worst_auroc_against": worst}
