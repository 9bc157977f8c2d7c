"""Findings: units that detect a concept, with their evidence, and the files they are saved in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from clerestory.contrasts.pairs import ARMS, COLUMNS
from clerestory.errors import EvidenceError
from clerestory.io.reading import path_inside, read_json, read_table, wrap_errors
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.io.validation import to_jsonable, validate
from clerestory.registry import suggest
from clerestory.reporting.intervals import format_interval
from clerestory.reporting.results import Provenance, Result

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.classifiers import HumanCheck

__all__ = [
    "RECOMMENDED_PAIRS",
    "Detection",
    "Finding",
    "Findings",
    "FlipTest",
    "UnitKind",
    "read_samples",
    "unit_address",
]

RECOMMENDED_PAIRS = 24
"""Evaluation pairs below which a finding carries a warning."""
FILE, DIRECTIONS, SAMPLES = "findings.json", "directions.safetensors", "samples.parquet"
MAX_BYTES = 2**28
"""Maximum size of `findings.json`: a hundred sites at a hundred steps have many findings."""

UnitKind = Literal["neuron", "direction"]
CurvePoint = tuple[int, float, float | None]
"""Number of neurons, AUROC against negatives, AUROC against hard negatives."""


def unit_address(site: str, unit: str | int) -> str:
    """The address of a unit: that of its site, with the unit before the step.

    Args:
        site: Address of the site, with a step (`@5`) or without.
        unit: Number of a neuron, or name of a direction method.

    Returns:
        The unit's address.

    >>> unit_address("denoiser.mid.res.0/out@5", 17)
    'denoiser.mid.res.0/out[17]@5'
    """
    path, at, step = site.partition("@")
    return f"{path}[{unit}]{at}{step}"


@dataclass(frozen=True)
class Detection:
    """How well a unit detects the concept in the evaluation half.

    Values are multiplied by the sign of the unit, so that higher figures are better.

    Attributes:
        auroc: Area under the ROC curve, positive against negative.
        low: Lower limit of its 95% bootstrap interval over items.
        high: Upper limit of that interval.
        win_rate: Share of pairs in which the positive value is higher.
        win_low: Lower limit of its 95% Clopper–Pearson interval, which is exact near 1 too.
        win_high: Upper limit of that interval.
        difference: Mean paired difference, in standard deviations of the differences.
        q: Benjamini–Hochberg over all tested units.
        hard_negative_auroc: Positive against hard negative; None without this arm.
        hard_negative_low: Lower limit of its 95% bootstrap interval over items.
        hard_negative_high: Upper limit of that interval.
        pairs: Number of evaluation items.
        shuffled_aurocs: For directions, the AUROCs of 20 directions at the same site from shuffled
            selection pairs, each as max(AUROC, 1 − AUROC); empty for neurons.
    """

    auroc: float
    low: float
    high: float
    win_rate: float
    win_low: float
    win_high: float
    difference: float
    q: float
    hard_negative_auroc: float | None
    hard_negative_low: float | None
    hard_negative_high: float | None
    pairs: int
    shuffled_aurocs: tuple[float, ...] = ()

    @property
    def worst_auroc(self) -> float:
        """The lower of the AUROCs against negatives and against hard negatives."""
        if self.hard_negative_auroc is None:
            return self.auroc
        return min(self.auroc, self.hard_negative_auroc)


@dataclass(frozen=True)
class Finding:
    """One unit, with its rank in the selection half and its figures in the evaluation half.

    Attributes:
        unit: Address: `site[17]` for a neuron, `site[difference]` for a difference of means,
            `site[probe]` and `site[sparse]` for logistic probes; followed by `@5` for a step.
        kind: Neuron or direction.
        sign: −1 for a unit that is *lower* with the concept.
        rank: Rank among units of its kind in the selection half, from 1.
        detects: How well it detects the concept in the evaluation half.
    """

    unit: str
    kind: UnitKind
    sign: Literal[1, -1]
    rank: int
    detects: Detection

    @property
    def site(self) -> str:
        """Address of its site, with the step if there is one."""
        path, _, unit_and_step = self.unit.rpartition("[")
        return path + unit_and_step.partition("]")[2]


@dataclass(frozen=True)
class FlipTest:
    """Findings under the null hypothesis: in data sets where the arms of random pairs are swapped.

    Attributes:
        flips: Number of such data sets.
        any_found: Number of data sets in which at least one unit has q ≤ 0.05.
    """

    flips: int
    any_found: int


@dataclass(frozen=True, eq=False, repr=False)
class Findings(Result):
    """Units that detect a concept, with their evidence.

    Attributes:
        findings: The findings, the best on the evaluation half first.
        tested: Number of tested units.
        null: Findings under the null hypothesis.
        warnings: Limitations of the evidence; shown in every report.
        items: The items by half.
        directions: Directions `[unit]` fitted on the selection half, by address, in the units of
            the activations.
        provenance: Version, recorded model and options.
        curves: By site, the AUROC of sparse probes with few neurons on the evaluation half.
        classifiers: The classifiers that labelled the evaluation half, by source, with a person's
            check of each; None for one that nobody has checked on these pictures.
        samples: The samples, as `pair_samples` takes them.
    """

    figures_file = FILE
    findings: tuple[Finding, ...]
    tested: int
    null: FlipTest
    warnings: tuple[str, ...]
    items: Mapping[str, tuple[str, ...]]
    directions: Mapping[str, NDArray[np.float64]]
    provenance: Provenance
    curves: Mapping[str, tuple[CurvePoint, ...]] = field(default_factory=dict)
    classifiers: Mapping[str, HumanCheck | None] = field(default_factory=dict)
    samples: pd.DataFrame | None = None

    def direction(self, unit: str, method: str = "difference") -> NDArray[np.float64]:
        """A fitted direction.

        Args:
            unit: Address of the direction, or of its site.
            method: Method that fitted the direction, if the address is that of a site.

        Returns:
            The direction `[unit]`, in the units of the activations.

        Raises:
            EvidenceError: There is no such direction.
        """
        name = unit if unit in self.directions else unit_address(unit, method)
        if name not in self.directions:
            known = suggest(name, self.directions)
            raise EvidenceError(f"No direction is called {name!r} here.{known}")
        return self.directions[name]

    def __len__(self) -> int:
        return len(self.findings)

    def by_kind(self, kind: UnitKind, site: str | None = None) -> tuple[Finding, ...]:
        """Findings of one kind, the best on the evaluation half first.

        Args:
            kind: Neurons or directions.
            site: Address of one site, with its step if it has one; by default all sites.

        Returns:
            The findings; empty if there are none.
        """
        return tuple(
            finding
            for finding in self.findings
            if finding.kind == kind and site in (None, finding.site)
        )

    def top_ranked(self, kind: UnitKind, site: str | None = None) -> Finding:
        """The finding that is ranked first by the selection half.

        Args:
            kind: Neurons or directions.
            site: Address of one site, with its step if it has one; by default all sites.

        Returns:
            The finding, which may not be the best on the evaluation half.

        Raises:
            EvidenceError: There is none.
        """
        findings = self.by_kind(kind, site)
        if not findings:
            at_site = f" at {site}" if site else ""
            raise EvidenceError(f"No {kind} was reported{at_site}: run `find` with that site.")
        return min(findings, key=lambda finding: finding.rank)

    def classifier_notes(self) -> tuple[str, ...]:
        """For each classifier, a person's agreement with it and corrected shares of classes."""
        options = self.provenance.options
        queries = [str(options[name]) for name in (*ARMS, "picture_filter") if name in options]
        return tuple(
            f"{source} was not checked by a person on these pictures."
            if check is None
            else f"{check.sentence} {check.shares(queries)}".strip()
            for source, check in self.classifiers.items()
        )

    def summary(self) -> str:
        """Number of findings, and the first-ranked direction or neuron with its AUROC."""
        text = f"{len(self)} findings of {self.tested:,} tested units"
        # A direction, if there is any: directions usually detect a concept better than neurons.
        for kind in ("direction", "neuron"):
            if self.by_kind(kind):
                first = self.top_ranked(kind)
                detects = first.detects
                return (
                    f"{text}; ranked first: {first.unit}, AUROC "
                    f"{format_interval(detects.auroc, detects.low, detects.high, '.3f')}"
                )
        return text

    def table(self, top: int | None = None) -> pd.DataFrame:
        """A row for each finding.

        Args:
            top: Maximum number of rows of each kind; by default all.

        Returns:
            Directions, then neurons, each the best on the evaluation half first.
        """
        import pandas as pd

        rows = [
            {
                "unit": finding.unit,
                "kind": finding.kind,
                "sign": finding.sign,
                "rank": finding.rank,
                **{name: getattr(finding.detects, name) for name in TABLE_COLUMNS},
            }
            for kind in ("direction", "neuron")
            for finding in self.by_kind(kind)[:top]
        ]
        return pd.DataFrame(rows, columns=["unit", "kind", "sign", "rank", *TABLE_COLUMNS])

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
        """Everything except directions and samples, ready for JSON."""
        checks = {
            source: None if check is None else check.to_dict()
            for source, check in self.classifiers.items()
        }
        content = {entry.name: getattr(self, entry.name) for entry in fields(_Fields)}
        return to_jsonable(_Fields(**{**content, "classifiers": checks}))

    def write(self, folder: Path) -> None:
        """Write JSON, directions (safetensors) and samples (Parquet).

        Args:
            folder: The folder; files of these names are overwritten.
        """
        super().write(folder)
        directions = {unit: np.ascontiguousarray(d) for unit, d in self.directions.items()}
        write_tensors(folder / DIRECTIONS, directions, framework="np")
        if self.samples is not None:
            self.samples.to_parquet(folder / SAMPLES)

    @classmethod
    @override
    def load(cls, folder: Path) -> Findings:
        try:
            path = path_inside(folder, FILE, EvidenceError)
            content = read_json(path, EvidenceError, max_bytes=MAX_BYTES)
            read = validate(_Fields, content, FILE, EvidenceError)
            samples = path_inside(folder, SAMPLES, EvidenceError)
            return cls(
                **{**vars(read), "classifiers": _read_checks(read.classifiers)},
                directions=_read_directions(path_inside(folder, DIRECTIONS, EvidenceError)),
                # `write` leaves the file out where there are no samples.
                samples=read_samples(samples, COLUMNS) if samples.exists() else None,
            )
        except EvidenceError as error:
            raise EvidenceError(f"{folder} holds no findings that can be read: {error}") from error


TABLE_COLUMNS = (
    "auroc",
    "low",
    "high",
    "hard_negative_auroc",
    "win_rate",
    "win_low",
    "win_high",
    "q",
)


@dataclass(frozen=True)
class _Fields:
    """The fields of `findings.json`; `classifiers` are validated by `HumanCheck.from_dict`."""

    provenance: Provenance
    findings: tuple[Finding, ...]
    tested: int
    null: FlipTest
    warnings: tuple[str, ...]
    items: Mapping[str, tuple[str, ...]]
    curves: Mapping[str, tuple[CurvePoint, ...]]
    classifiers: Mapping[str, Any]


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
    """Read a table of samples.

    Args:
        path: A Parquet file.
        columns: Names of required columns.

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
