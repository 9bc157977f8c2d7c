"""What pictures of one class have in common inside the model, and what separates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from clerestory.contrasts.clusters import ClusterFields
from clerestory.contrasts.evidence import Status, UnitKind
from clerestory.contrasts.findings import Findings, read_samples
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.parquet import write_parquet
from clerestory.io.reading import path_inside
from clerestory.io.validation import load_json, to_jsonable
from clerestory.registry import suggest
from clerestory.reporting.results import Provenance, Result

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.contrasts.clusters import Clusters

__all__ = ["FILE", "Group", "GroupUnit", "Groups", "findings_folder"]

FILE, SAMPLES = "groups.json", "samples.parquet"
COLUMNS = ("sample", "prompt", "seed", "group", "half")


@dataclass(frozen=True)
class GroupUnit:
    """A unit that separates a group's samples from the others, held out.

    Attributes:
        unit: The unit's address.
        kind: A neuron or a direction.
        sign: −1 for a unit that is lower in the group.
        status: As in `Finding`.
        auroc: Mean over cells of the AUROC within each, the group against all others, with the
            unit's sign.
        low: Lower limit of its interval over items and templates.
        high: Upper limit.
        q: Benjamini–Hochberg over the picks.
        auroc_against: The same AUROC against each other group; without the groups that never share
            a cell with this one.
    """

    unit: str
    kind: UnitKind
    sign: int
    status: Status
    auroc: float
    low: float
    high: float
    q: float
    auroc_against: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Group:
    """One class.

    Attributes:
        cells: How many cells of the evaluation half hold it and another class.
        units: In the order of the findings.
        findings: The findings that the units come from.
    """

    cells: int
    units: tuple[GroupUnit, ...]
    findings: Findings


@dataclass(frozen=True, eq=False, repr=False)
class Groups(Result):
    """The groups of a recording's pictures by predicted class.

    Attributes:
        classifier: The name of the classifier.
        groups: The groups by class.
        excluded: How many samples were left out: another class, too little confidence, or the
            picture filter.
        controlled: What samples are alike in where they are compared; without columns the prompt.
        warnings: Limitations of the evidence of any group, each once.
        samples: A row for each sample: its `group`, its `half`, its number as `sample`; the index
            is its position among the good samples.
        provenance: Version, recorded model and options.
        clusters: The clusters, as a classifier of pictures; None where the groups are classes. In
            groups that were loaded, `clusters.open(model)` gives them the model.
    """

    figures_file = FILE
    classifier: str
    groups: Mapping[str, Group]
    excluded: int
    controlled: tuple[str, ...]
    warnings: tuple[EvidenceWarning, ...]
    samples: pd.DataFrame
    provenance: Provenance
    clusters: Clusters | None = None

    def __getitem__(self, name: str) -> Group:
        if name not in self.groups:
            raise EvidenceError(f"There is no group {name!r}.{suggest(name, self.groups)}")
        return self.groups[name]

    def findings(self, name: str) -> Findings:
        """Findings of a group, for `verify`, edits and searches.

        Args:
            name: The class.

        Returns:
            What separates the group from the others.

        Raises:
            EvidenceError: There is no such group.
        """
        return self[name].findings

    def summary(self) -> str:
        """The groups with their cells."""
        sizes = ", ".join(f"{name} ({group.cells})" for name, group in self.groups.items())
        return f"{len(self.groups)} groups by {self.classifier}, with cells to evaluate on: {sizes}"

    def table(self, top: int | None = None) -> pd.DataFrame:
        """A row for each group's unit.

        Args:
            top: How many of each kind in each group; by default all.

        Returns:
            Directions, then neurons of each group, in the order of their selection.
        """
        import pandas as pd

        rows = [
            {"group": name, "cells": group.cells, **_row(unit)}
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
            name: _GroupFields(group.cells, group.units, group.findings.tested)
            for name, group in self.groups.items()
        }
        content = {entry.name: getattr(self, entry.name) for entry in fields(_Fields)}
        clusters = None if self.clusters is None else self.clusters.to_fields()
        return to_jsonable(_Fields(**{**content, "groups": groups, "clusters": clusters}))

    @override
    def write(self, folder: Path) -> None:
        """Write `groups.json`, the samples, clusters, and findings of each group in a folder."""
        super().write(folder)
        if self.clusters is not None:
            self.clusters.write(folder)
        write_parquet(self.samples, folder / SAMPLES)
        for name, group in self.groups.items():
            group.findings.write(findings_folder(folder, list(self.groups), name))

    @classmethod
    @override
    def load(cls, folder: Path) -> Groups:
        read = load_json(_Fields, folder, FILE, EvidenceError)
        groups = {
            name: Group(
                group.cells,
                group.units,
                Findings.load(
                    path_inside(
                        folder,
                        # Built from the index alone, but checked all the same: a
                        # symbolic link may lead outside.
                        findings_folder(Path(), list(read.groups), name).as_posix(),
                        EvidenceError,
                    )
                ),
            )
            for name, group in read.groups.items()
        }
        samples = read_samples(path_inside(folder, SAMPLES, EvidenceError), COLUMNS)
        clusters = None if read.clusters is None else read.clusters.read(folder)
        return cls(**{**vars(read), "groups": groups, "clusters": clusters}, samples=samples)


def findings_folder(folder: Path, names: list[str], name: str) -> Path:
    """Where a folder of groups has the findings of one; named by number, as classes are any text.

    Args:
        folder: The folder of the groups.
        names: All classes, in the order of `groups.json`.
        name: One of them.

    Returns:
        The folder.
    """
    return folder / "findings" / f"{names.index(name):02}"


@dataclass(frozen=True)
class _GroupFields:
    """A group of `groups.json`; `tested` is the findings' own."""

    cells: int
    units: tuple[GroupUnit, ...]
    tested: int


@dataclass(frozen=True)
class _Fields:
    """The fields of `groups.json`."""

    provenance: Provenance
    classifier: str
    groups: Mapping[str, _GroupFields]
    excluded: int
    controlled: tuple[str, ...]
    warnings: tuple[EvidenceWarning, ...]
    clusters: ClusterFields | None = None


def _row(unit: GroupUnit) -> dict[str, Any]:
    columns = {name: value for name, value in vars(unit).items() if name != "auroc_against"}
    # The group that the unit separates least.
    worst = min(unit.auroc_against.values(), default=None)
    return {**columns, "worst_auroc_against": worst}
