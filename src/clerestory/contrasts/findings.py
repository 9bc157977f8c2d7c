"""The findings of one contrast, and how they are saved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.contrasts.arms import ARMS
from clerestory.contrasts.evidence import Finding, SiteFigure, UnitKind, unit_address
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.parquet import write_parquet
from clerestory.io.reading import path_inside, read_json, read_table, wrap_errors
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.io.validation import to_jsonable, validate_sealed
from clerestory.registry import suggest
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.results import Provenance, Result

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.classifiers import HumanCheck

__all__ = ["Findings", "design_sentence", "read_samples"]

SAMPLE_COLUMNS = ("prompt", "item", "phrase", "template", "arm", "half", "seed")
FILE, DIRECTIONS, SAMPLES = "findings.json", "directions.safetensors", "samples.parquet"
MAX_BYTES = 2**28
"""Size of `findings.json`: a hundred sites at a hundred steps have many findings."""

CurvePoint = tuple[int, float, float | None]
"""How many neurons, their AUROC, and the same against hard negatives."""


@dataclass(frozen=True, eq=False, repr=False)
class Findings(Result):
    """Units that detect a concept, and what the findings rest on.

    Attributes:
        findings: The picks that were tested, directions first, each kind in the order of its
            selection. Picks of one contrast share its templates: seventeen found units are one
            result, not seventeen.
        tested: How many picks were tested.
        units: How many units the selection half ranked.
        templates: How many templates the evaluation half has by arm, and the `design`.
        warnings: Limitations of the evidence; shown in every report.
        items: The items by half.
        directions: Directions `[unit]` fitted on the selection half, by unit, in the units of the
            activations.
        provenance: Version, recorded model and options.
        sites: Descriptive figures of every site, for maps.
        curves: By site, how well few neurons do together on the evaluation half.
        classifiers: Sources of the evaluation half's predictions, with a person's check of each;
            None where nobody has checked it on these pictures.
        contrasts: How many different contrasts were run on the recording, this one included.
        samples: The samples, with the columns of `clerestory.contrasts.samples.COLUMNS`.
    """

    figures_file = FILE
    findings: tuple[Finding, ...]
    tested: int
    units: int
    templates: Mapping[str, int | str]
    warnings: tuple[EvidenceWarning, ...]
    items: Mapping[str, tuple[str, ...]]
    directions: Mapping[str, NDArray[np.float64]]
    provenance: Provenance
    sites: tuple[SiteFigure, ...] = ()
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    classifiers: Mapping[str, HumanCheck | None] = field(default_factory=dict)
    contrasts: int = 1
    samples: pd.DataFrame | None = None

    def direction(self, unit: str, method: str = "difference") -> NDArray[np.float64]:
        """The direction of a unit.

        Args:
            unit: The unit's address, or that of its site.
            method: How the direction of a site was fitted.

        Returns:
            The direction `[unit]`, in the units of the activations.

        Raises:
            EvidenceError: None was fitted there.
        """
        name = unit if unit in self.directions else unit_address(unit, method)
        if name not in self.directions:
            known = suggest(name, self.directions)
            raise EvidenceError(f"No direction is called {name!r} here.{known}")
        return self.directions[name]

    def __len__(self) -> int:
        return len(self.findings)

    def by_kind(self, kind: UnitKind, site: str | None = None) -> tuple[Finding, ...]:
        """Findings of a kind (and of a site), in the order of their selection.

        Args:
            kind: Neurons or directions.
            site: Address of one site, with its step where it has one; by default all.

        Returns:
            The findings; empty where there are none.
        """
        return tuple(
            finding
            for finding in self.findings
            if finding.kind == kind and site in (None, finding.site)
        )

    def top_ranked(self, kind: UnitKind, site: str | None = None) -> Finding:
        """The finding that the selection half ranked first, whatever its held-out figure.

        Args:
            kind: Neurons or directions.
            site: Of one site only.

        Returns:
            The finding.

        Raises:
            EvidenceError: There is none.
        """
        findings = self.by_kind(kind, site)
        if not findings:
            where = f" at {site}" if site else ""
            raise EvidenceError(f"No {kind} was reported{where}: run `find` with that site.")
        # Not the best held-out figure, which would be too high by selection.
        return min(findings, key=lambda finding: finding.selection_rank)

    def classifier_notes(self) -> tuple[str, ...]:
        """How far each classifier can be trusted: a person's agreement, corrected shares."""
        options = self.provenance.options
        queries = [str(options[name]) for name in (*ARMS, "picture_filter") if name in options]
        return tuple(
            f"{source} was not checked by a person on these pictures."
            if check is None
            else f"{check.sentence} {check.shares(queries)}".strip()
            for source, check in self.classifiers.items()
        )

    def found(self) -> tuple[Finding, ...]:
        """The findings whose status is `found`."""
        return tuple(finding for finding in self.findings if finding.status == "found")

    def summary(self) -> str:
        """How many picks were found, and the first-ranked direction or neuron with its AUROC."""
        text = f"{len(self.found())} of {self.tested} picks found, {self.units:,} units ranked"
        # Directions first: where there are any, the best one stands for the findings.
        for kind in ("direction", "neuron"):
            if self.by_kind(kind):
                first = self.top_ranked(kind)
                detects = first.detects
                return (
                    f"{text}; ranked first: {first.unit}, {first.status}, AUROC "
                    f"{format_interval(detects.auroc, detects.low, detects.high, '.3f')}"
                )
        return text

    def table(self, top: int | None = None) -> pd.DataFrame:
        """A row for each finding.

        Args:
            top: How many of each kind; by default all.

        Returns:
            Directions, then neurons, each in the order of its selection.
        """
        import pandas as pd

        rows = [
            {
                "unit": finding.unit,
                "kind": finding.kind,
                "sign": finding.sign,
                "status": finding.status,
                "selection_rank": finding.selection_rank,
                **{name: getattr(finding.detects, name) for name in TABLE_COLUMNS},
            }
            for kind in ("direction", "neuron")
            for finding in self.by_kind(kind)[:top]
        ]
        return pd.DataFrame(
            rows, columns=["unit", "kind", "sign", "status", "selection_rank", *TABLE_COLUMNS]
        )

    def plot(self, kind: UnitKind | None = None) -> Any:
        """The map of sites and steps as an Altair chart.

        Args:
            kind: Neurons or directions; by default directions where there are any.

        Returns:
            The chart.
        """
        from clerestory.contrasts.charts import site_map

        return site_map(self, kind or ("direction" if self.by_kind("direction") else "neuron"))

    def to_dict(self) -> dict[str, Any]:
        """Everything but directions and samples, ready for JSON."""
        checks = {
            source: None if check is None else check.to_dict()
            for source, check in self.classifiers.items()
        }
        # Directions and samples are large and go to files of their own.
        content = {name: value for name, value in vars(self).items() if name in _FIELDS}
        files = (DIRECTIONS,) if self.samples is None else (DIRECTIONS, SAMPLES)
        return to_jsonable(_Fields(**{**content, "classifiers": checks, "files": files}))

    @override
    def write(self, folder: Path) -> None:
        """Write JSON, directions (safetensors) and samples (Parquet)."""
        super().write(folder)
        # safetensors writes the buffer as it lies in memory and refuses strided arrays.
        directions = {unit: np.ascontiguousarray(d) for unit, d in self.directions.items()}
        write_tensors(folder / DIRECTIONS, directions, framework="np")
        if self.samples is not None:
            write_parquet(self.samples, folder / SAMPLES)

    @classmethod
    @override
    def load(cls, folder: Path) -> Findings:
        if not (Path(folder) / FILE).exists():
            raise EvidenceError(
                f"{folder} holds no findings: it has no {FILE}; give the folder of a `find --out`."
            )
        try:
            path = path_inside(folder, FILE, EvidenceError)
            content = read_json(path, EvidenceError, max_bytes=MAX_BYTES)
            read = validate_sealed(_Fields, content, FILE, EvidenceError)
            content = {name: value for name, value in vars(read).items() if name != "files"}
            samples = None
            # By the list and not by what is there: a file that was deleted is an error.
            if SAMPLES in read.files:
                path = path_inside(folder, SAMPLES, EvidenceError)
                samples = read_samples(path, SAMPLE_COLUMNS)
            return cls(
                **{**content, "classifiers": _read_checks(read.classifiers)},
                directions=_read_directions(path_inside(folder, DIRECTIONS, EvidenceError)),
                samples=samples,
            )
        except EvidenceError as error:
            raise EvidenceError(f"{folder} holds no findings that can be read: {error}") from error


def design_sentence(findings: Findings) -> str:
    """What the evaluation half has, and what a test of it can find.

    Args:
        findings: The findings.

    Returns:
        A sentence with the numbers of items and templates, the degrees of freedom and the AUROC
        that is found with 80% power.
    """
    counts = {arm: count for arm, count in findings.templates.items() if arm != "design"}
    templates = ", ".join(f"{count} {arm.replace('_', ' ')}" for arm, count in counts.items())
    text = f"{findings.units:,} units ranked, {findings.tested} tested"
    if not findings.findings:
        return f"{text}."
    detects = findings.top_ranked(findings.findings[0].kind).detects
    return (
        f"{text} on {detects.items} items and templates of each arm ({templates}; "
        f"{findings.templates['design']}); df {detects.df:.1f}{detects.power_text}."
    )


TABLE_COLUMNS = (
    "auroc",
    "low",
    "high",
    "p",
    "q",
    "hard_negative_auroc",
    "hard_negative_low",
    "hard_negative_high",
)


@dataclass(frozen=True)
class _Fields:
    """The fields of `findings.json`."""

    provenance: Provenance
    findings: tuple[Finding, ...]
    tested: int
    units: int
    templates: Mapping[str, int | str]
    warnings: tuple[EvidenceWarning, ...]
    items: Mapping[str, tuple[str, ...]]
    sites: tuple[SiteFigure, ...]
    contrasts: int
    curves: Mapping[str, tuple[CurvePoint, ...]]
    classifiers: Mapping[str, Any]
    files: tuple[str, ...]


_FIELDS = {entry.name for entry in fields(_Fields)}


def _read_checks(checks: Mapping[str, Any]) -> dict[str, HumanCheck | None]:
    from clerestory.classifiers import HumanCheck

    with wrap_errors(FILE, EvidenceError):
        return {
            source: None if check is None else HumanCheck.from_dict(check)
            for source, check in checks.items()
        }


def _read_directions(path: Path) -> dict[str, NDArray[np.float64]]:
    directions = read_tensors(path, EvidenceError, "np")
    for name, direction in directions.items():
        if direction.ndim != 1 or direction.dtype.kind != "f" or not np.isfinite(direction).all():
            raise EvidenceError(
                f"the direction {name[:80]!r} is {direction.dtype} {list(direction.shape)} or not "
                "finite; expected a finite number for each unit."
            )
    return directions


def read_samples(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a table of samples; EvidenceError where it lacks a column.

    Args:
        path: A Parquet file.
        columns: Columns that it must have.

    Returns:
        The table.

    Raises:
        EvidenceError: The file cannot be read or lacks a column.
    """
    samples = read_table(path, EvidenceError)
    missing = sorted(set(columns) - set(samples))
    if missing:
        raise EvidenceError(f"{path} has no column {missing[0]!r}: save it again.")
    return samples
