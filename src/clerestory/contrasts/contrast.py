"""Contrast: which neurons and which directions detect a concept.

A direction is treated as one more unit and has the same statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts.direction_methods import cross_fit, direction_methods, fit_sparse_probe
from clerestory.contrasts.findings import (
    RECOMMENDED_PAIRS,
    CurvePoint,
    Detection,
    Finding,
    Findings,
    FlipTest,
    UnitKind,
    unit_address,
)
from clerestory.contrasts.pairs import ArmValues, Pairing, pair_samples
from clerestory.errors import EvidenceError
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
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
from clerestory.types import Floats, ProgressOption

__all__ = ["contrast", "provenance"]

RECOMMENDED_TEMPLATES = 6
CURVE_COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of neurons at which sparse-probe curves are evaluated."""
CURVE_SITES = 20
"""Sites that have a curve: those of the best directions."""

Direction = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Site:
    """One site's units and, as last columns, its directions.

    `rank_auroc` and `effect_size` rank a unit in the selection half, with its `sign`; `evaluation`
    has the columns of directions, `selection` has not. `labels` are the units of the columns.
    """

    address: str
    directions: Mapping[str, Direction]
    sign: NDArray[np.int64]
    rank_auroc: NDArray[np.float64]
    effect_size: NDArray[np.float64]
    evaluation: ArmValues
    selection: ArmValues
    labels: Sequence[int] | None

    @property
    def units(self) -> int:
        return len(self.rank_auroc) - len(self.directions)

    def unit_address(self, unit: int) -> str:
        if unit >= self.units:
            return unit_address(self.address, list(self.directions)[unit - self.units])
        return unit_address(self.address, unit if self.labels is None else self.labels[unit])

    def kind(self, unit: int) -> UnitKind:
        return "direction" if unit >= self.units else "neuron"


def contrast(
    activations: Mapping[str, Floats],
    samples: pd.DataFrame,
    *,
    pairing: Pairing | None = None,
    units: Mapping[str, Sequence[int]] | None = None,
    methods: Sequence[str] = ("difference",),
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    progress: ProgressOption = True,
) -> Findings:
    """Rank all units of all sites on the selection half, and evaluate them on the other.

    The selection half ranks by the lower one of two AUROCs, against negatives and against hard
    negatives; ties by the smaller mean difference in standard deviations. Directions are ranked by
    readings of items that they were not fitted on.

    Args:
        activations: `[sample, unit]` by site, rows as in `samples`.
        samples: A row for each sample, see `clerestory.contrasts.pairs`.
        pairing: How samples are paired; by default made from `samples`.
        units: The units that the columns of a site are, where not all were recorded.
        methods: Names of direction methods; none for neurons alone. `sparse` adds the curves.
        top: Number of neurons to report, in addition to the first of each site.
        flips: Number of sign-flip replicates used to count false discoveries under the null.
        seed: Random seed of bootstraps, shuffles and flips.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The `top` neurons, the first neuron of each site and each site's directions. q is over every
        unit that was tested.

    Raises:
        EvidenceError: There is no site, an array does not fit the samples or is not finite, or the
            samples cannot be paired.
    """
    pairs = pair_samples(samples) if pairing is None else pairing
    sites = []
    with progress_bars(progress) as report:
        # One site at a time: a lazy mapping reads each as it is asked for.
        for completed, (address, values) in enumerate(activations.items(), 1):
            labels = (units or {}).get(address)
            sites.append(_site(address, np.asarray(values), pairs, len(samples), methods, labels))
            report("finding", completed, len(activations))
    if not sites:
        raise EvidenceError("No site was read, so there is no unit to rank: read at least one.")
    # One generator for bootstraps, shuffles and flips: their order is part of the figures.
    rng = np.random.default_rng(seed)
    # Over all sites at once: q has to count every unit that was tested.
    differences = np.hstack([site.evaluation.differences for site in sites])
    findings = _findings(sites, benjamini_hochberg(signed_rank(differences)), top, rng)
    return Findings(
        findings=findings,
        tested=differences.shape[1],
        null=FlipTest(flips, count_flips_with_findings(differences, rng, flips=flips)),
        warnings=_warnings(pairs),
        items={half: weights.items for half, weights in pairs},
        directions={
            unit_address(site.address, method): direction
            for site in sites
            for method, direction in site.directions.items()
        },
        curves=_curves(sites, findings) if "sparse" in methods else {},
        samples=samples,
        provenance=provenance(methods=list(methods), top=top, flips=flips, seed=seed),
    )


def provenance(model: str = "", digest: str = "", **options: object) -> Provenance:
    """Provenance of a contrast, with this version and the options that were given.

    Args:
        model: Name of the recorded model.
        digest: Digest of its weights.
        **options: Options of the call; those that are None are left out.

    Returns:
        The provenance.
    """
    options = {name: value for name, value in options.items() if value is not None}
    return Provenance(version=version("clerestory"), model=model, digest=digest, options=options)


def _findings(
    sites: list[_Site], q: NDArray[np.float64], top: int, rng: np.random.Generator
) -> tuple[Finding, ...]:
    """Reported units, the best on the evaluation half first; `q` is of all sites in their order."""
    reported = _reported_units(sites, q, top)
    columns = (reported[name].tolist() for name in ("site", "unit", "rank", "q"))
    findings = [
        Finding(
            unit=sites[site].unit_address(unit),
            kind=sites[site].kind(unit),
            sign=1 if sites[site].sign[unit] > 0 else -1,
            rank=rank,
            detects=_detection(sites[site], unit, unit_q, rng),
        )
        for site, unit, rank, unit_q in zip(*columns, strict=True)
    ]
    # Kind and rank break ties, so that equal figures always come in one order.
    findings.sort(key=lambda finding: (-finding.detects.worst_auroc, finding.kind, finding.rank))
    return tuple(findings)


def _reported_units(sites: list[_Site], q: NDArray[np.float64], top: int) -> pd.DataFrame:
    """The `top` neurons and the first one of each site, then all directions, with their ranks."""
    units = pd.concat(
        pd.DataFrame(
            {
                "site": number,
                "unit": np.arange(len(site.rank_auroc)),
                "is_direction": np.arange(len(site.rank_auroc)) >= site.units,
                "rank_auroc": site.rank_auroc,
                "effect_size": site.effect_size,
            }
        )
        for number, site in enumerate(sites)
    ).assign(q=q)
    ranked = units.sort_values(
        ["is_direction", "rank_auroc", "effect_size"], ascending=[True, False, False]
    )
    # Neurons and directions are ranked apart: a fitted direction may outrank all neurons.
    ranked["rank"] = ranked.groupby("is_direction").cumcount() + 1
    first_of_site = ~ranked.duplicated(["is_direction", "site"])
    return ranked[ranked["is_direction"] | (ranked["rank"] <= top) | first_of_site]


def _site(
    address: str,
    values: Floats,
    pairing: Pairing,
    rows: int,
    methods: Sequence[str],
    labels: Sequence[int] | None,
) -> _Site:
    if values.ndim != 2 or len(values) != rows:
        raise EvidenceError(
            f"{address} was read as {list(values.shape)}; [sample, unit] with {rows} samples is"
            " expected: average steps and positions first."
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(1).sum())
        raise EvidenceError(f"{address} is not finite in {bad} of {rows} samples: omit them.")
    selection, evaluation = pairing.selection.average(values), pairing.evaluation.average(values)
    directions = {method: direction_methods[method](selection) for method in methods}
    ranked, read = selection, evaluation
    # Ranked by cross-fitting, evaluated by the direction of all selection items.
    for method, direction in directions.items():
        ranked = ranked.append_units(cross_fit(selection, direction_methods[method]))
        read = read.append_units(evaluation.project(direction))
    return _Site(address, directions, *_rank_statistics(ranked), read, selection, labels)


def _curves(sites: list[_Site], findings: Sequence[Finding]) -> dict[str, tuple[CurvePoint, ...]]:
    """Sparse-probe AUROC curves for the sites of the best directions."""
    directions = [finding.site for finding in findings if finding.kind == "direction"]
    best = list(dict.fromkeys(directions))[:CURVE_SITES]
    return {
        site.address: tuple(
            _curve_point(site, count) for count in CURVE_COUNTS if count <= site.units
        )
        for site in sites
        if site.address in best
    }


def _curve_point(site: _Site, count: int) -> CurvePoint:
    direction = fit_sparse_probe(site.selection, count)
    # The last columns are the site's directions, not neurons.
    read = site.evaluation.project(np.append(direction, np.zeros(len(site.directions))))
    hard = None if read.hard_negative is None else auroc(read.positive, read.hard_negative)
    return (
        count,
        float(auroc(read.positive, read.negative)[0]),
        None if hard is None else float(hard[0]),
    )


def _rank_statistics(
    arms: ArmValues,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Each unit's sign, and how well it does with that sign on its worse contrast.

    First as 2·AUROC − 1, then as the mean paired difference in standard deviations; negative where
    a unit goes up against negatives and down against hard negatives, or the reverse.
    """
    contrasts = [arm for arm in (arms.negative, arms.hard_negative) if arm is not None]
    figures = np.stack([2 * auroc(arms.positive, arm) - 1 for arm in contrasts])
    shifts = np.stack([_standardised(arms.positive - arm) for arm in contrasts])
    # The worse of the contrasts with sign +1, and with sign −1.
    up, down = figures.min(0), -figures.max(0)
    effect_size = np.where(up >= down, shifts.min(0), -shifts.max(0))
    return np.where(up >= down, 1, -1), np.maximum(up, down), effect_size


def _standardised(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean paired difference over its standard deviation; 0 where nothing differs."""
    several = len(differences) > 1
    deviation = differences.std(0, ddof=1) if several else np.ones(differences.shape[1])
    # Rounding errors of differences that are all alike would otherwise count as a deviation.
    floor = np.finfo(np.float64).tiny + 1e-9 * np.abs(differences).max(0)
    return np.asarray(differences.mean(0) / np.maximum(deviation, floor))


def _detection(site: _Site, unit: int, q: float, rng: np.random.Generator) -> Detection:
    sign, arms = site.sign[unit], site.evaluation
    positive, negative = sign * arms.positive[:, [unit]], sign * arms.negative[:, [unit]]
    # One after the other: negatives draw from the generator before hard negatives.
    low, high = bootstrap_auroc(positive[:, 0], negative[:, 0], rng=rng)
    win_share = float(win_rate(positive, negative)[0])
    # Exact, since a bootstrap's interval has no width where every pair is won.
    win_low, win_high = clopper_pearson(win_share * len(positive), len(positive))
    hard: tuple[float | None, float | None, float | None] = (None, None, None)
    if arms.hard_negative is not None:
        values = sign * arms.hard_negative[:, [unit]]
        interval = bootstrap_auroc(positive[:, 0], values[:, 0], rng=rng)
        hard = (float(auroc(positive, values)[0]), *interval)
    return Detection(
        auroc=float(auroc(positive, negative)[0]),
        low=low,
        high=high,
        win_rate=win_share,
        win_low=win_low,
        win_high=win_high,
        difference=float(_standardised(positive - negative)[0]),
        q=q,
        hard_negative_auroc=hard[0],
        hard_negative_low=hard[1],
        hard_negative_high=hard[2],
        pairs=len(positive),
        shuffled_aurocs=_shuffled_aurocs(site, rng) if site.kind(unit) == "direction" else (),
    )


def _shuffled_aurocs(site: _Site, rng: np.random.Generator) -> tuple[float, ...]:
    """AUROCs of directions from shuffled pairs; empty if no pairs differ."""
    try:
        # Of length 1: an AUROC does not depend on the length.
        directions = shuffled_directions(site.selection.differences, 1.0, rng)
    except EvidenceError:
        return ()
    positive, negative = (
        # The last columns are readings of the true directions.
        values[:, : site.units] @ directions.T
        for values in (site.evaluation.positive, site.evaluation.negative)
    )
    figures = auroc(positive, negative)
    # A shuffled direction has no sign of its own: it gets the better one.
    return tuple(np.maximum(figures, 1 - figures).tolist())


def _warnings(pairing: Pairing) -> tuple[str, ...]:
    warnings = []
    pairs = len(pairing.evaluation.items)
    if pairs < RECOMMENDED_PAIRS:
        warnings.append(
            f"Only {pairs} items to evaluate on; figures are reliable from {RECOMMENDED_PAIRS} on."
        )
    for arm, count in pairing.template_counts.items():
        if count < RECOMMENDED_TEMPLATES:
            warnings.append(
                f"Only {count} templates of the {arm} arm; with fewer than "
                f"{RECOMMENDED_TEMPLATES}, a unit that responds to one word can be mistaken for "
                "the concept."
            )
    return tuple(warnings)
