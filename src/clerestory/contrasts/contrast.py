"""Contrast: which neurons and which directions detect a concept.

A fitted direction is treated as one more unit, with the same statistics.
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
"""Templates per arm below which the findings carry a warning."""
CURVE_COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of neurons at which sparse-probe curves are evaluated."""
CURVE_SITES = 20
"""Number of sites with a curve, those of the best directions."""

Direction = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Site:
    """The columns of one site: its neurons, then its fitted directions.

    Attributes:
        address: Address of the site, with the step if it has one.
        directions: Directions `[neuron]` by method, fitted on the selection half.
        sign: `[column]`, 1 or -1; the sign with which a unit detects the concept.
        rank_auroc: `[column]`, the first key of the ranking; see `_rank_statistics`.
        effect_size: `[column]`, the second key of the ranking.
        evaluation: Values of all columns in the evaluation half.
        selection: Values of the neurons alone in the selection half.
        neurons: Number of the neuron in each column; None if all were recorded.
    """

    address: str
    directions: Mapping[str, Direction]
    sign: NDArray[np.int64]
    rank_auroc: NDArray[np.float64]
    effect_size: NDArray[np.float64]
    evaluation: ArmValues
    selection: ArmValues
    neurons: Sequence[int] | None

    @property
    def neuron_count(self) -> int:
        return len(self.rank_auroc) - len(self.directions)

    def unit_address(self, column: int) -> str:
        if column >= self.neuron_count:
            return unit_address(self.address, list(self.directions)[column - self.neuron_count])
        return unit_address(self.address, column if self.neurons is None else self.neurons[column])

    def kind(self, column: int) -> UnitKind:
        return "direction" if column >= self.neuron_count else "neuron"


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
    """Rank all units of all sites on the selection half, and evaluate them on the other half.

    Units are ranked by the lower of two AUROCs, against negatives and against hard negatives; ties
    by the lower of the two mean differences in standard deviations. Directions are ranked by
    cross-fitting, on items that they were not fitted on.

    Args:
        activations: `[sample, unit]` by site, with the rows of `samples`.
        samples: A row for each sample; `clerestory.contrasts.pairs` describes the columns.
        pairing: How samples are paired; by default made from `samples`.
        units: By site, the numbers of the units in the columns, if not all were recorded.
        methods: Names of direction methods; empty for neurons alone. `sparse` adds the curves.
        top: Number of neurons to report, in addition to the first of each site.
        flips: Number of sign-flip replicates used to count false discoveries under the null.
        seed: Random seed of bootstraps, shuffles and flips.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The `top` neurons, the first-ranked neuron of each site, and all directions. q is over all
        tested units.

    Raises:
        EvidenceError: There is no site, an array does not fit the samples or is not finite, or the
            samples cannot be paired.
    """
    pairs = pair_samples(samples) if pairing is None else pairing
    sites = []
    with progress_bars(progress) as report:
        # One site at a time, since a lazy mapping reads each on access.
        for completed, (address, values) in enumerate(activations.items(), 1):
            neurons = (units or {}).get(address)
            sites.append(_site(address, np.asarray(values), pairs, len(samples), methods, neurons))
            report("finding", completed, len(activations))
    if not sites:
        raise EvidenceError("No site was read, so there is no unit to rank: read at least one.")
    # One generator for bootstraps, shuffles and flips: their order determines the figures.
    rng = np.random.default_rng(seed)
    # Over all sites at once, since q has to count every tested unit.
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
    """Provenance of a contrast made by this version.

    Args:
        model: Name of the recorded model.
        digest: Digest of its weights.
        **options: Options of the call; options that are None are left out.

    Returns:
        The provenance.
    """
    options = {name: value for name, value in options.items() if value is not None}
    return Provenance(version=version("clerestory"), model=model, digest=digest, options=options)


def _findings(
    sites: list[_Site], q: NDArray[np.float64], top: int, rng: np.random.Generator
) -> tuple[Finding, ...]:
    """Findings, the best on the evaluation half first; `q` is over the columns of all sites."""
    reported = _reported_units(sites, q, top)
    fields = (reported[name].tolist() for name in ("site", "column", "rank", "q"))
    findings = [
        Finding(
            unit=sites[site].unit_address(column),
            kind=sites[site].kind(column),
            sign=1 if sites[site].sign[column] > 0 else -1,
            rank=rank,
            detects=_detection(sites[site], column, unit_q, rng),
        )
        for site, column, rank, unit_q in zip(*fields, strict=True)
    ]
    # Kind and rank break ties, so that the order of equal figures is fixed.
    findings.sort(key=lambda finding: (-finding.detects.worst_auroc, finding.kind, finding.rank))
    return tuple(findings)


def _reported_units(sites: list[_Site], q: NDArray[np.float64], top: int) -> pd.DataFrame:
    """The `top` neurons and the first-ranked one of each site, then all directions.

    Columns: `site` (index into `sites`), `column` (of the site), `rank` (from 1) and `q`.
    """
    units = pd.concat(
        pd.DataFrame(
            {
                "site": index,
                "column": np.arange(len(site.rank_auroc)),
                "is_direction": np.arange(len(site.rank_auroc)) >= site.neuron_count,
                "rank_auroc": site.rank_auroc,
                "effect_size": site.effect_size,
            }
        )
        for index, site in enumerate(sites)
    ).assign(q=q)
    ranked = units.sort_values(
        ["is_direction", "rank_auroc", "effect_size"], ascending=[True, False, False]
    )
    # Neurons and directions are ranked separately: fitted directions may outrank all neurons.
    ranked["rank"] = ranked.groupby("is_direction").cumcount() + 1
    first_of_site = ~ranked.duplicated(["is_direction", "site"])
    return ranked[ranked["is_direction"] | (ranked["rank"] <= top) | first_of_site]


def _site(
    address: str,
    values: Floats,
    pairing: Pairing,
    rows: int,
    methods: Sequence[str],
    neurons: Sequence[int] | None,
) -> _Site:
    """Fit the directions of a site, and compute what its units are ranked by."""
    if values.ndim != 2 or len(values) != rows:
        raise EvidenceError(
            f"{address} has shape {list(values.shape)}; expected [sample, unit] with {rows} "
            "samples: average steps and positions first."
        )
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).any(1).sum())
        raise EvidenceError(f"{address} is not finite in {count} of {rows} samples: omit them.")
    selection, evaluation = pairing.selection.average(values), pairing.evaluation.average(values)
    directions = {method: direction_methods[method](selection) for method in methods}
    ranked, evaluated = selection, evaluation
    # Ranked by cross-fitting, evaluated by the direction fitted on all selection items.
    for method, direction in directions.items():
        ranked = ranked.append_units(cross_fit(selection, direction_methods[method]))
        evaluated = evaluated.append_units(evaluation.project(direction))
    return _Site(address, directions, *_rank_statistics(ranked), evaluated, selection, neurons)


def _curves(sites: list[_Site], findings: Sequence[Finding]) -> dict[str, tuple[CurvePoint, ...]]:
    """Sparse-probe AUROC curves for the sites of the best directions."""
    addresses = [finding.site for finding in findings if finding.kind == "direction"]
    best = list(dict.fromkeys(addresses))[:CURVE_SITES]
    return {
        site.address: tuple(
            _curve_point(site, count) for count in CURVE_COUNTS if count <= site.neuron_count
        )
        for site in sites
        if site.address in best
    }


def _curve_point(site: _Site, count: int) -> CurvePoint:
    direction = fit_sparse_probe(site.selection, count)
    # The probe has no weights for the last columns, the directions of the site.
    arms = site.evaluation.project(np.append(direction, np.zeros(len(site.directions))))
    hard_negative_auroc = None
    if arms.hard_negative is not None:
        hard_negative_auroc = float(auroc(arms.positive, arms.hard_negative)[0])
    return count, float(auroc(arms.positive, arms.negative)[0]), hard_negative_auroc


def _rank_statistics(
    arms: ArmValues,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The sign of each unit, and two figures with that sign, each from its worse contrast.

    The figures are 2·AUROC − 1 and the mean paired difference in standard deviations. They are
    negative if a unit rises against negatives and falls against hard negatives, or the reverse.
    """
    baselines = [arm for arm in (arms.negative, arms.hard_negative) if arm is not None]
    aurocs = np.stack([2 * auroc(arms.positive, arm) - 1 for arm in baselines])
    differences = np.stack([_standardised_mean(arms.positive - arm) for arm in baselines])
    # The worse contrast of a unit that rises with the concept, and of one that falls.
    rising, falling = aurocs.min(0), -aurocs.max(0)
    rises = rising >= falling
    effect_size = np.where(rises, differences.min(0), -differences.max(0))
    return np.where(rises, 1, -1), np.maximum(rising, falling), effect_size


def _standardised_mean(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean difference divided by the standard deviation; 0 if all differences are 0."""
    # A single difference has no standard deviation.
    several = len(differences) > 1
    deviation = differences.std(0, ddof=1) if several else np.ones(differences.shape[1])
    # A floor, since equal differences have a deviation of rounding errors.
    floor = np.finfo(np.float64).tiny + 1e-9 * np.abs(differences).max(0)
    return np.asarray(differences.mean(0) / np.maximum(deviation, floor))


def _detection(site: _Site, column: int, q: float, rng: np.random.Generator) -> Detection:
    sign, arms = site.sign[column], site.evaluation
    positive, negative = sign * arms.positive[:, [column]], sign * arms.negative[:, [column]]
    # In this order: negatives draw from the generator before hard negatives.
    low, high = bootstrap_auroc(positive[:, 0], negative[:, 0], rng=rng)
    win_share = float(win_rate(positive, negative)[0])
    # Exact, since a bootstrap interval has no width if every pair is won.
    win_low, win_high = clopper_pearson(win_share * len(positive), len(positive))
    hard_auroc = hard_low = hard_high = None
    if arms.hard_negative is not None:
        hard_negative = sign * arms.hard_negative[:, [column]]
        hard_low, hard_high = bootstrap_auroc(positive[:, 0], hard_negative[:, 0], rng=rng)
        hard_auroc = float(auroc(positive, hard_negative)[0])
    return Detection(
        auroc=float(auroc(positive, negative)[0]),
        low=low,
        high=high,
        win_rate=win_share,
        win_low=win_low,
        win_high=win_high,
        difference=float(_standardised_mean(positive - negative)[0]),
        q=q,
        hard_negative_auroc=hard_auroc,
        hard_negative_low=hard_low,
        hard_negative_high=hard_high,
        pairs=len(positive),
        shuffled_aurocs=_shuffled_aurocs(site, rng) if site.kind(column) == "direction" else (),
    )


def _shuffled_aurocs(site: _Site, rng: np.random.Generator) -> tuple[float, ...]:
    """AUROCs of directions from shuffled pairs; empty if the pairs cannot be shuffled."""
    try:
        # The norm is arbitrary: an AUROC does not depend on it.
        directions = shuffled_directions(site.selection.differences, 1.0, rng)
    except EvidenceError:
        return ()
    positive, negative = (
        # Neurons alone: the last columns are projections on the fitted directions.
        values[:, : site.neuron_count] @ directions.T
        for values in (site.evaluation.positive, site.evaluation.negative)
    )
    aurocs = auroc(positive, negative)
    # The sign of a shuffled direction is arbitrary: the better one counts.
    return tuple(np.maximum(aurocs, 1 - aurocs).tolist())


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
