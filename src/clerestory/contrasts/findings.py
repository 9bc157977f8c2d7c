"""What a finding is: a claim about a unit, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import EvidenceError
from clerestory.registry import suggest

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.classifiers import Check

__all__ = ["ENOUGH_PAIRS", "Detects", "Finding", "Findings", "Kind", "Null", "unit_name"]

ENOUGH_PAIRS = 24
"""Report pairs below which a finding carries a warning."""

Kind = Literal["neuron", "direction"]


def unit_name(site: str, unit: str | int) -> str:
    """A unit's address: its site's, with the unit before the step.

    >>> unit_name("denoiser.mid.res.0/out@5", 17)
    'denoiser.mid.res.0/out[17]@5'
    """
    place, at, step = site.partition("@")
    return f"{place}[{unit}]{at}{step}"


@dataclass(frozen=True)
class Detects:
    """How well a unit tells the concept from its absence, on the report half alone.

    `auroc` with its bootstrap interval over contents, and `win_rate`, the share of pairs won, with
    its Clopper–Pearson interval (near 1 the honest one). `difference` is the mean paired difference
    in standard deviations of the differences. `q` is over all units tested. `decoy_auroc` is
    against the decoy, None without one. All are turned the unit's way, so more is better.

    `shuffled` are the AUROCs against absence of 20 directions at the same site from shuffled pairs
    of discovery, each turned the way that is better for it; empty for neurons.
    """

    auroc: float
    low: float
    high: float
    win_rate: float
    win_low: float
    win_high: float
    difference: float
    q: float
    decoy_auroc: float | None
    decoy_low: float | None
    decoy_high: float | None
    pairs: int
    shuffled: tuple[float, ...] = ()

    @property
    def least(self) -> float:
        """The worse of the two: against absence and against the decoy."""
        return self.auroc if self.decoy_auroc is None else min(self.auroc, self.decoy_auroc)


@dataclass(frozen=True)
class Finding:
    """One unit and what it detects.

    `unit` is its address, `site[17]` for a neuron, `site[difference]` for a difference of means,
    `site[probe]` and `site[sparse]` for logistic probes, with `@5` where it is of a step;
    `sign` is −1 for a unit that is *lower* where the concept is shown; `rank` is its place among
    its kind in discovery, 1 for the first.
    """

    unit: str
    kind: Kind
    sign: Literal[1, -1]
    rank: int
    detects: Detects

    @property
    def site(self) -> str:
        """The address of its site, with the step where it has one."""
        place, _, rest = self.unit.rpartition("[")
        return place + rest.partition("]")[2]


@dataclass(frozen=True)
class Null:
    """In how many of `flips` data sets with sides flipped at random anything was found at all."""

    flips: int
    any_found: int


@dataclass(frozen=True, eq=False)
class Findings:
    """Findings in the order of the held-out figure, and what they rest on.

    `directions` are those fitted on the discovery half by unit, in the activations' own measure.
    `curves` say of some sites how well so many of their neurons do together on the report half:
    (neurons, AUROC, AUROC against the decoy). `warnings` stand in every report of them.
    `classifiers` are those that said on the report half what is drawn, with a person's check of
    each, None where nobody has checked it on these pictures. `asked` are the conditions of the
    sides, and the gate; `samples` the samples themselves, as `pairing` takes them; `model` the
    name and revision of the recorded one.
    """

    findings: tuple[Finding, ...]
    tested: int
    null: Null
    warnings: tuple[str, ...]
    contents: Mapping[str, tuple[str, ...]]
    directions: Mapping[str, NDArray[np.float64]] = field(repr=False)
    curves: Mapping[str, tuple[tuple[int, float, float | None], ...]] = field(default_factory=dict)
    classifiers: Mapping[str, Check | None] = field(default_factory=dict)
    asked: Mapping[str, str] = field(default_factory=dict)
    samples: pd.DataFrame | None = field(default=None, repr=False)
    model: Mapping[str, str] = field(default_factory=dict)

    def direction(self, unit: str, way: str = "difference") -> NDArray[np.float64]:
        """The direction `[unit]` of a finding's unit, or of a site by one of the ways.

        EvidenceError where none was fitted there.
        """
        named = unit if unit in self.directions else unit_name(unit, way)
        if named not in self.directions:
            known = suggest(named, self.directions)
            raise EvidenceError(f"No direction is called {named!r} here.{known}")
        return self.directions[named]

    def __len__(self) -> int:
        return len(self.findings)

    def of(self, kind: Kind, site: str | None = None) -> tuple[Finding, ...]:
        """Those of a kind (and of a site), the best on the report half first."""
        return tuple(
            finding
            for finding in self.findings
            if finding.kind == kind and site in (None, finding.site)
        )

    def picked(self, kind: Kind, site: str | None = None) -> Finding:
        """The one that discovery put first, whatever the report half says of it."""
        found = self.of(kind, site)
        if not found:
            where = f" at {site}" if site else ""
            raise EvidenceError(f"No {kind} was reported{where}: run `find` with that site.")
        return min(found, key=lambda finding: finding.rank)

    @property
    def warning(self) -> str:
        """All warnings in one line, empty if there is none."""
        return " ".join(self.warnings)

    def told(self) -> dict[str, Any]:
        """Everything but directions and samples, ready for JSON."""
        return {
            "model": dict(self.model),
            "findings": [asdict(finding) for finding in self.findings],
            "tested": self.tested,
            "null": asdict(self.null),
            "warnings": list(self.warnings),
            "contents": {half: list(names) for half, names in self.contents.items()},
            "curves": {
                site: [list(point) for point in curve] for site, curve in self.curves.items()
            },
            "asked": dict(self.asked),
            "classifiers": {
                source: None if check is None else check.told()
                for source, check in self.classifiers.items()
            },
        }

    @property
    def eyes(self) -> tuple[str, ...]:
        """How far each classifier's word can be trusted: agreement, shares as a person has them."""
        return tuple(
            f"{source} was not checked by a person on these pictures."
            if check is None
            else f"{check.sentence} {check.shares(self.asked.values())}".strip()
            for source, check in self.classifiers.items()
        )

    def map(self, kind: Kind = "direction") -> Any:
        """Sites × steps as an Altair chart, shown by a notebook as it is."""
        from clerestory.contrasts import charts

        return charts.site_map(self, kind)

    def save(self, folder: Path) -> None:
        """Write JSON, directions and samples into a folder, new or empty."""
        from clerestory.contrasts import storage as files

        files.save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> Findings:
        """Read what `save` wrote."""
        from clerestory.contrasts import storage as files

        return files.load(folder)
