"""Contrast: which neurons and which directions tell a concept from its absence.

A direction is read like one unit more: every figure of a neuron is also its figure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts.direction_methods import crossed, first, ways
from clerestory.contrasts.findings import (
    ENOUGH_PAIRS,
    Detects,
    Finding,
    Findings,
    Kind,
    Null,
    unit_name,
)
from clerestory.contrasts.matching import Halves, Matrix, Sides, halves
from clerestory.errors import EvidenceError
from clerestory.stats import (
    auroc,
    benjamini_hochberg,
    bootstrap_auroc,
    clopper_pearson,
    count_flips_with_findings,
    shuffled_directions,
    signed_rank,
    win_rate,
)

__all__ = ["contrast"]

ENOUGH_PHRASINGS = 6
COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Neurons on the curves of how few together reach a direction."""
CURVES = 20
"""Sites that have one: those of the best directions."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class _Site:
    """One site, paired: its units and, as last columns, its directions."""

    address: str
    directions: Mapping[str, Matrix]
    sign: NDArray[np.int64]
    merit: Matrix
    spread: Matrix
    report: Sides
    discovery: Sides
    labels: Sequence[int] | None

    @property
    def units(self) -> int:
        return len(self.merit) - len(self.directions)

    def name(self, unit: int) -> str:
        if unit >= self.units:
            return unit_name(self.address, list(self.directions)[unit - self.units])
        return unit_name(self.address, unit if self.labels is None else self.labels[unit])

    def kind(self, unit: int) -> Kind:
        return "direction" if unit >= self.units else "neuron"


def contrast(
    activations: Mapping[str, NDArray[np.floating]],
    samples: pd.DataFrame,
    *,
    matched: Halves | None = None,
    units: Mapping[str, Sequence[int]] | None = None,
    by: Sequence[str] = ("difference",),
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Findings:
    """Rank all units of all sites on the discovery half, and report on them on the other.

    `activations` are `[sample, unit]` by site, rows as in `samples` (see `pairing`, which makes
    `matched` of them); `units` says which units the columns of a site are, where not all. Discovery
    ranks by the worse of two AUROCs, against absence and against the decoy, ties by the worse mean
    difference in standard deviations; directions, fitted in these ways (`by`), by readings of
    contents that they were not fitted on. Reported are the `top`
    neurons, the first neuron of each site and each site's directions; q is over every unit tested.
    Curves of few neurons come with sparse probes.
    """
    pairs = halves(samples) if matched is None else matched
    sites = []
    for done, (address, values) in enumerate(activations.items(), 1):
        own = (units or {}).get(address)
        sites.append(_site(address, np.asarray(values), pairs, len(samples), by, own))
        if progress is not None:
            progress(done, len(activations))
    if not sites:
        raise EvidenceError("No site was read, so there is no unit to rank: read at least one.")
    rng = np.random.default_rng(seed)
    differences = np.hstack([site.report.differences for site in sites])
    findings = _findings(sites, benjamini_hochberg(signed_rank(differences)), top, rng)
    return Findings(
        findings=findings,
        tested=differences.shape[1],
        null=Null(flips, count_flips_with_findings(differences, rng, flips=flips)),
        warnings=_warnings(pairs),
        contents={half: side.contents for half, side in pairs},
        directions={
            unit_name(site.address, way): direction
            for site in sites
            for way, direction in site.directions.items()
        },
        curves=_curves(sites, findings) if "sparse" in by else {},
        samples=samples,
    )


def _findings(
    sites: list[_Site], q: Matrix, top: int, rng: np.random.Generator
) -> tuple[Finding, ...]:
    """What is reported, the best on the report half first; `q` is of all sites in their order."""
    starts = np.cumsum([0, *(len(site.merit) for site in sites)])
    findings = [
        Finding(
            unit=sites[place].name(unit),
            kind=sites[place].kind(unit),
            sign=1 if sites[place].sign[unit] > 0 else -1,
            rank=rank,
            detects=_detects(sites[place], unit, float(q[starts[place] + unit]), rng),
        )
        for rank, place, unit in _reported(sites, top)
    ]
    findings.sort(key=lambda finding: (-finding.detects.least, finding.kind, finding.rank))
    return tuple(findings)


def _site(
    address: str,
    values: NDArray[np.floating],
    matched: Halves,
    rows: int,
    by: Sequence[str],
    labels: Sequence[int] | None,
) -> _Site:
    if values.ndim != 2 or len(values) != rows:
        raise EvidenceError(
            f"{address} was read as {list(values.shape)}; [sample, unit] with {rows} samples is"
            " expected: average steps and positions first."
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(1).sum())
        raise EvidenceError(f"{address} is not finite in {bad} of {rows} samples: leave them out.")
    discovery, report = matched.discovery.sides(values), matched.report.sides(values)
    directions = {way: ways[way](discovery) for way in by}
    ranked, read = discovery, report
    for way, direction in directions.items():
        ranked = ranked.beside(crossed(discovery, ways[way]))
        read = read.beside(report.along(direction))
    return _Site(address, directions, *_merit(ranked), read, discovery, labels)


def _curves(
    sites: list[_Site], findings: Sequence[Finding]
) -> dict[str, tuple[tuple[int, float, float | None], ...]]:
    """Of the sites of the best directions: how well few neurons do together."""
    best = list(dict.fromkeys(one.site for one in findings if one.kind == "direction"))[:CURVES]
    return {
        site.address: tuple(_point(site, count) for count in COUNTS if count <= site.units)
        for site in sites
        if site.address in best
    }


def _point(site: _Site, count: int) -> tuple[int, float, float | None]:
    direction = np.append(first(site.discovery, count), np.zeros(len(site.directions)))
    read = site.report.along(direction)
    decoy = None if read.decoy is None else float(auroc(read.shown, read.decoy)[0])
    return count, float(auroc(read.shown, read.absent)[0]), decoy


def _merit(sides: Sides) -> tuple[NDArray[np.int64], Matrix, Matrix]:
    """Each unit's way (1 up, −1 down), and how well it does that way on its worse contrast.

    First as 2·AUROC − 1, then as the mean paired difference in deviations; negative where a unit
    goes one way against absence and the other against the decoy.
    """
    others = [other for other in (sides.absent, sides.decoy) if other is not None]
    figures = np.stack([2 * auroc(sides.shown, other) - 1 for other in others])
    shifts = np.stack([_in_deviations(sides.shown - other) for other in others])
    up, down = figures.min(0), -figures.max(0)
    spread = np.where(up >= down, shifts.min(0), -shifts.max(0))
    return np.where(up >= down, 1, -1), np.maximum(up, down), spread


def _in_deviations(differences: Matrix) -> Matrix:
    """Mean paired difference over its standard deviation; 0 where nothing differs."""
    spread = differences.std(0, ddof=1) if len(differences) > 1 else np.ones(differences.shape[1])
    floor = np.finfo(np.float64).tiny + 1e-9 * np.abs(differences).max(0)
    return np.asarray(differences.mean(0) / np.maximum(spread, floor))


def _reported(sites: list[_Site], top: int) -> list[tuple[int, int, int]]:
    """(rank, site, unit) of what is reported: ranks are among units of the same kind."""
    place = np.concatenate([np.full(len(site.merit), at) for at, site in enumerate(sites)])
    unit = np.concatenate([np.arange(len(site.merit)) for site in sites])
    merit = np.concatenate([site.merit for site in sites])
    spread = np.concatenate([site.spread for site in sites])
    is_direction = np.concatenate([np.arange(len(s.merit)) >= s.units for s in sites])
    chosen = []
    for kind in (False, True):
        members = np.flatnonzero(is_direction == kind)
        order = members[np.lexsort((-spread[members], -merit[members]))]
        seen: set[int] = set()
        for rank, at in enumerate(order.tolist(), 1):
            if kind or rank <= top or place[at] not in seen:
                chosen.append((rank, int(place[at]), int(unit[at])))
            seen.add(int(place[at]))
    return chosen


def _detects(site: _Site, unit: int, q: float, rng: np.random.Generator) -> Detects:
    sign = site.sign[unit]
    shown, absent = sign * site.report.shown[:, [unit]], sign * site.report.absent[:, [unit]]
    low, high = bootstrap_auroc(shown[:, 0], absent[:, 0], rng=rng)
    won = float(win_rate(shown, absent)[0])
    win_low, win_high = clopper_pearson(won * len(shown), len(shown))
    decoy: tuple[float | None, float | None, float | None] = (None, None, None)
    if site.report.decoy is not None:
        other = sign * site.report.decoy[:, [unit]]
        interval = bootstrap_auroc(shown[:, 0], other[:, 0], rng=rng)
        decoy = (float(auroc(shown, other)[0]), *interval)
    return Detects(
        auroc=float(auroc(shown, absent)[0]),
        low=low,
        high=high,
        win_rate=won,
        win_low=win_low,
        win_high=win_high,
        difference=float(_in_deviations(shown - absent)[0]),
        q=q,
        decoy_auroc=decoy[0],
        decoy_low=decoy[1],
        decoy_high=decoy[2],
        pairs=len(shown),
        shuffled=_shuffled(site, rng) if site.kind(unit) == "direction" else (),
    )


def _shuffled(site: _Site, rng: np.random.Generator) -> tuple[float, ...]:
    """What directions from shuffled pairs detect; none where nothing is left to shuffle."""
    try:
        made = shuffled_directions(site.discovery.differences, 1.0, rng)
    except EvidenceError:
        return ()
    units = site.units
    shown, absent = (side[:, :units] @ made.T for side in (site.report.shown, site.report.absent))
    found = auroc(shown, absent)
    return tuple(np.maximum(found, 1 - found).tolist())


def _warnings(matched: Halves) -> tuple[str, ...]:
    said = []
    pairs = len(matched.report.contents)
    if pairs < ENOUGH_PAIRS:
        said.append(
            f"Only {pairs} contents to report on; {ENOUGH_PAIRS} are needed for figures to rely on."
        )
    for arm, count in matched.phrasings.items():
        if count < ENOUGH_PHRASINGS:
            said.append(
                f"Only {count} phrasings of arm {arm!r}; with fewer than {ENOUGH_PHRASINGS} a unit"
                " for one word may pass for the concept."
            )
    return tuple(said)
