"""Contrast: which neurons and which directions detect a concept.

The selection half ranks all units and fixes at most fifty picks; the evaluation half tests the
picks alone, in the order of their selection. A direction is one more unit, tested as any other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.contrasts.arms import ARMS, HALVES, ArmValues
from clerestory.contrasts.designs import Design
from clerestory.contrasts.direction_methods import cross_fit, direction_methods, fit_sparse_probe
from clerestory.contrasts.evidence import (
    Detection,
    Finding,
    SiteFigure,
    Status,
    UnitKind,
    unit_address,
)
from clerestory.contrasts.findings import CurvePoint, Findings
from clerestory.contrasts.limitations import limitations
from clerestory.contrasts.samples import ContrastSamples
from clerestory.errors import EvidenceError
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
from clerestory.stats import benjamini_hochberg
from clerestory.stats.random_factors import power_effect
from clerestory.types import Floats, ProgressOption

__all__ = ["MAX_PICKS", "contrast", "provenance"]

MAX_PICKS = 50
"""Units that are tested: the more, the stricter the correction for testing them all."""
LEVEL = 0.05
"""q up to which a pick is found."""
CURVE_COUNTS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of neurons at which sparse-probe curves are evaluated."""
CURVE_SITES = 20
"""Sites that have a curve: those of the best directions."""

BLOCK = 2_048
"""Units ranked at a time."""
SMALLEST = 1e-12

Direction = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Site:
    """One site as the selection half ranks it; directions are its last columns.

    `score` ranks the units of a kind, with their `sign`; `labels` are the units of the columns,
    where not all were recorded.
    """

    address: str
    directions: Mapping[str, Direction]
    sign: NDArray[np.int64]
    score: NDArray[np.float64]
    labels: Sequence[int] | None

    @property
    def units(self) -> int:
        return len(self.score) - len(self.directions)

    def unit_address(self, unit: int) -> str:
        if unit >= self.units:
            return unit_address(self.address, list(self.directions)[unit - self.units])
        return unit_address(self.address, unit if self.labels is None else self.labels[unit])

    def kind(self, unit: int) -> UnitKind:
        return "direction" if unit >= self.units else "neuron"

    def column(self, values: Floats, unit: int) -> NDArray[np.float64]:
        """A unit's value in each sample, with the unit's sign."""
        if unit < self.units:
            return np.asarray(self.sign[unit] * values[:, unit], np.float64)
        direction = list(self.directions.values())[unit - self.units]
        # float64: the sum over thousands of units in float32 is rounded differently by each BLAS.
        return np.asarray(self.sign[unit] * (values.astype(np.float64) @ direction))


def contrast(
    activations: Mapping[str, Floats],
    samples: ContrastSamples,
    *,
    units: Mapping[str, Sequence[int]] | None = None,
    methods: Sequence[str] = ("difference",),
    top: int = 20,
    ranks: bool = True,
    progress: ProgressOption = True,
) -> Findings:
    """Rank all units of all sites on the selection half, and test the picks on the other.

    The selection half ranks neurons by the lower one of two t statistics, against negatives and
    against hard negatives, over items and templates; directions by the lower one of two effect
    sizes, of readings of items that they were not fitted on.

    Picks are the first neuron and the first direction of each kind of site (such as
    `text.blocks.*/mlp`), the `top` neurons, and the best directions, up to `MAX_PICKS`.

    Args:
        activations: `[sample, unit]` by site, rows as in `samples.table`.
        samples: What each sample is; see `clerestory.contrasts.designs`.
        units: The units that the columns of a site are, where not all were recorded.
        methods: Names of direction methods; none for neurons alone. `sparse` adds the curves.
        top: Number of neurons to test, in addition to the first of each kind of site.
        ranks: Whether to test pooled mid-ranks; False for the values themselves.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The picks in the order of their selection, with their evidence.

    Raises:
        EvidenceError: There is no site, an array does not fit the samples or is not finite, `top`
            is out of range, or the samples cannot be compared.
    """
    # At most as many as are tested: the correction would hide a longer list.
    if not 0 <= top <= MAX_PICKS:
        raise EvidenceError(f"top is {top}; it must be between 0 and {MAX_PICKS}.")
    selection, evaluation = (samples.design(half) for half in HALVES)
    sites, figures = [], []
    with progress_bars(progress) as report:
        # One site at a time: a lazy mapping reads each as it is asked for.
        for completed, (address, read) in enumerate(activations.items(), 1):
            values = _checked(address, np.asarray(read), len(samples.table))
            sites.append(
                _rank_site(address, values, selection, methods, (units or {}).get(address))
            )
            figures += _site_figures(sites[-1], values, evaluation)
            report("ranking", completed, len(activations))
        if not sites:
            raise EvidenceError("No site was read, so there is no unit to rank: read at least one.")
        picks = _picks(sites, top)
        columns = _pick_columns(sites, picks, activations)
    limits = limitations(samples, evaluation)
    # After all sites were ranked: no value of the evaluation half can influence which are tested.
    findings = _test_picks(sites, picks, columns, evaluation, ranks, undecided=limits.undecided)
    sizes = evaluation.sizes
    return Findings(
        findings=findings,
        tested=len(findings),
        units=sum(len(site.score) for site in sites),
        templates={**sizes.templates, "design": sizes.design},
        warnings=(*samples.warnings, *limits.warnings),
        items={"selection": selection.item_names, "evaluation": evaluation.item_names},
        directions={
            unit_address(site.address, method): direction
            for site in sites
            for method, direction in site.directions.items()
        },
        sites=tuple(figures),
        curves=_curves(sites, activations, selection, evaluation) if "sparse" in methods else {},
        samples=samples.table,
        provenance=provenance(methods=list(methods), top=top, ranks=ranks),
    )


def provenance(
    model: str = "",
    digest: str = "",
    dictionaries: Mapping[str, str] | None = None,
    **options: object,
) -> Provenance:
    """Provenance of a contrast, with this version and the options that were given.

    Args:
        model: Name of the recorded model.
        digest: Digest of its weights.
        dictionaries: Digests of dictionaries by the addresses of their latents.
        **options: Options of the call; those that are None are left out.

    Returns:
        The provenance.
    """
    options = {name: value for name, value in options.items() if value is not None}
    return Provenance(version("clerestory"), model, digest, options, dict(dictionaries or {}))


def _checked(address: str, values: Floats, rows: int) -> Floats:
    if values.ndim != 2 or len(values) != rows:
        raise EvidenceError(
            f"{address} was read as {list(values.shape)}; [sample, unit] with {rows} samples is"
            " expected: average steps and positions first."
        )
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(1).sum())
        raise EvidenceError(f"{address} is not finite in {bad} of {rows} samples: omit them.")
    return values


def _rank_site(
    address: str,
    values: Floats,
    selection: Design,
    methods: Sequence[str],
    labels: Sequence[int] | None,
) -> _Site:
    arms = selection.average(values)
    directions = {method: direction_methods[method](arms) for method in methods}
    ranked = [_rank_neurons(selection, values)]
    # Ranked by cross-fitting, evaluated by the direction of all selection items.
    ranked += [_rank_direction(cross_fit(arms, direction_methods[name])) for name in methods]
    sign, score = (np.concatenate(parts) for parts in zip(*ranked, strict=True))
    return _Site(address, directions, sign, score, labels)


def _rank_neurons(selection: Design, values: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Each neuron's sign, and its t on the worse contrast."""
    blocks = []
    # Ranks of all units at once would take several times the memory of the values.
    for start in range(0, values.shape[1], BLOCK):
        block = values[:, start : start + BLOCK]
        tests = [selection.test(block, arm) for arm in selection.arms[1:]]
        # A unit without any spread has no error: its difference is then 0 or beyond doubt.
        blocks.append(
            np.stack([test.difference / np.maximum(test.error, SMALLEST) for test in tests])
        )
    return _worse_contrast(np.concatenate(blocks, axis=1))


def _rank_direction(arms: ArmValues) -> tuple[NDArray[np.int64], Floats]:
    """A direction's sign, from its readings, and its effect size on the worse contrast."""
    others = list(arms.by_arm.values())[1:]
    return _worse_contrast(
        np.stack([_effect_size(arms.positive, arm, arms.paired) for arm in others])
    )


def _worse_contrast(
    figures: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Of `[contrast, unit]` each unit's sign, and the lower figure with that sign.

    Negative where a unit goes up against negatives and down against hard negatives, or the reverse.
    """
    # A unit detects a concept only if it does against negatives and against hard
    # negatives, with one sign.
    up, down = figures.min(0), -figures.max(0)
    return np.where(up >= down, 1, -1), np.maximum(up, down)


def _effect_size(
    positive: NDArray[np.float64], other: NDArray[np.float64], paired: bool
) -> NDArray[np.float64]:
    """Mean difference over the standard deviation of differences; 0 where nothing differs."""
    difference = positive.mean(0) - other.mean(0)
    # One item has no standard deviation; the order of units is then that of the difference.
    if len(positive) < 2 or len(other) < 2:
        return np.asarray(difference)
    if paired:
        deviation = (positive - other).std(0, ddof=1)
    else:
        deviation = np.sqrt(positive.var(0, ddof=1) + other.var(0, ddof=1))
    # Rounding errors of differences that are all alike would otherwise count as a deviation.
    floor = np.finfo(np.float64).tiny + 1e-9 * np.abs(difference)
    return np.asarray(difference / np.maximum(deviation, floor))


def _site_figures(site: _Site, values: Floats, evaluation: Design) -> list[SiteFigure]:
    """Descriptive AUROCs of the site's first neuron and direction, which are not tested here."""
    figures = []
    for first, last in ((0, site.units), (site.units, len(site.score))):
        if first == last:
            continue
        unit = first + int(site.score[first:last].argmax())
        # A column of its own: the evaluation takes many units at once.
        column = site.column(values, unit)[:, None]
        aurocs = {arm: float(evaluation.auroc(column, arm)[0]) for arm in evaluation.arms[1:]}
        figures.append(
            SiteFigure(
                site=site.address,
                kind=site.kind(unit),
                unit=site.unit_address(unit),
                auroc=aurocs["negative"],
                hard_negative_auroc=aurocs.get("hard_negative"),
            )
        )
    return figures


class _Pick(NamedTuple):
    """A unit to test: the number of its site, its own, and its rank among its kind."""

    site: int
    unit: int
    rank: int


def _picks(sites: Sequence[_Site], top: int) -> list[_Pick]:
    """The units to test, in the order of their selection."""
    units = pd.concat(
        pd.DataFrame(
            {
                "site": number,
                # Blocks of one kind are one group: `blocks.3/mlp` and `blocks.4/mlp`.
                "group": re.sub(r"\d+", "*", site.address),
                "unit": np.arange(len(site.score)),
                "is_direction": np.arange(len(site.score)) >= site.units,
                "score": site.score,
            }
        )
        for number, site in enumerate(sites)
    )
    ranked = units.sort_values(["is_direction", "score"], ascending=[True, False], kind="stable")
    # Neurons and directions are ranked apart: a fitted direction may outrank all neurons.
    ranked["rank"] = ranked.groupby("is_direction").cumcount() + 1
    first = ~ranked.duplicated(["is_direction", "group"])
    neuron = ~ranked["is_direction"] & (ranked["rank"] <= top)
    # In the order of importance: the first ones of each kind of site, neurons, other directions.
    order = np.select([first, neuron, ranked["is_direction"]], [0, 1, 2], default=3)
    ranked = ranked.assign(order=order)[order < 3]
    if not top:
        ranked = ranked[ranked["is_direction"]]
    # Stable sorts throughout: units of equal score keep the order of the sites.
    chosen = ranked.sort_values(["order", "rank"], kind="stable").head(MAX_PICKS)
    # Directions first, as in tables; each kind by its rank.
    listed = chosen.sort_values(["is_direction", "rank"], ascending=[False, True], kind="stable")
    columns = (listed[name].tolist() for name in _Pick._fields)
    return [_Pick(*row) for row in zip(*columns, strict=True)]


def _pick_columns(
    sites: Sequence[_Site], picks: Sequence[_Pick], activations: Mapping[str, Floats]
) -> NDArray[np.float64]:
    """`[sample, pick]`; each site is read once."""
    columns: dict[_Pick, NDArray[np.float64]] = {}
    for number in dict.fromkeys(pick.site for pick in picks):
        values = np.asarray(activations[sites[number].address])
        columns |= {
            pick: sites[number].column(values, pick.unit) for pick in picks if pick.site == number
        }
    return np.stack([columns[pick] for pick in picks], axis=1)


def _test_picks(
    sites: Sequence[_Site],
    picks: Sequence[_Pick],
    columns: NDArray[np.float64],
    evaluation: Design,
    ranks: bool,
    *,
    undecided: bool,
) -> tuple[Finding, ...]:
    others = evaluation.arms[1:]
    tests = {arm: evaluation.test(columns, arm, ranks=ranks) for arm in others}
    # A unit has to pass against negatives and against hard negatives: its p is the larger one.
    p = np.max([test.p for test in tests.values()], axis=0)
    q = benjamini_hochberg(p)
    significant = q <= LEVEL
    # Intervals of the units that are found are looked at because they were: their level accounts
    # for it (Benjamini & Yekutieli 2005).
    found_level = 1 - LEVEL * max(int(significant.sum()), 1) / len(p)
    aurocs = {arm: evaluation.auroc(columns, arm) for arm in others}
    # Only ranks have differences on the scale of AUROC.
    detectable = {arm: 0.5 + power_effect(test) for arm, test in tests.items()} if ranks else {}
    findings = []
    for at, (number, unit, rank) in enumerate(picks):
        site = sites[number]
        # Units that were not selected by their q are described at the usual level.
        level = found_level if significant[at] else 0.95
        intervals = {arm: evaluation.interval(columns[:, at], arm, level) for arm in others}
        detection = Detection(
            auroc=float(aurocs["negative"][at]),
            low=intervals["negative"].low,
            high=intervals["negative"].high,
            level=level,
            p=float(p[at]),
            q=float(q[at]),
            hard_negative_auroc=_optional(aurocs, at),
            hard_negative_low=_limit(intervals, "low"),
            hard_negative_high=_limit(intervals, "high"),
            # The smaller, as the claim is against both.
            df=float(min(test.df[at] for test in tests.values())),
            detectable_auroc=(
                float(max(values[at] for values in detectable.values())) if detectable else None
            ),
            items=evaluation.sizes.items,
        )
        findings.append(
            Finding(
                unit=site.unit_address(unit),
                kind=site.kind(unit),
                sign=1 if site.sign[unit] > 0 else -1,
                selection_rank=rank,
                status="undecided" if undecided else _status(detection),
                detects=detection,
            )
        )
    return tuple(findings)


def _status(detection: Detection) -> Status:
    # Not finite where nothing varies or a value is NaN: neither found nor shown to be absent.
    if not np.isfinite(detection.p):
        return "undecided"
    # Both: the test is of mean ranks, the interval of the AUROC, and they may disagree near 0.5.
    if detection.q <= LEVEL and detection.worst_low > 0.5:
        return "found"
    highs = (detection.high, detection.hard_negative_high)
    return "reversed" if any(high is not None and high < 0.5 for high in highs) else "not found"


def _optional(values: Mapping[str, NDArray[np.float64]], at: int) -> float | None:
    return float(values[ARMS[2]][at]) if ARMS[2] in values else None


def _limit(intervals: Mapping[str, object], name: str) -> float | None:
    return getattr(intervals[ARMS[2]], name) if ARMS[2] in intervals else None


def _curves(
    sites: Sequence[_Site],
    activations: Mapping[str, Floats],
    selection: Design,
    evaluation: Design,
) -> dict[str, tuple[CurvePoint, ...]]:
    """AUROCs of sparse probes on few neurons, at the sites of the best directions."""
    # By the selection half, and in the order that they are read in.
    # Directions are the last columns.
    best = sorted(sites, key=lambda site: -site.score[site.units :].max())[:CURVE_SITES]
    return {
        site.address: _curve(site, np.asarray(activations[site.address]), selection, evaluation)
        for site in sites
        if site in best
    }


def _curve(
    site: _Site, values: Floats, selection: Design, evaluation: Design
) -> tuple[CurvePoint, ...]:
    arms = selection.average(values)
    points = []
    # The direction of each count is fitted on the selection half alone.
    for count in CURVE_COUNTS:
        if count > site.units:
            break
        reading = (values.astype(np.float64) @ fit_sparse_probe(arms, count))[:, None]
        aurocs = {arm: float(evaluation.auroc(reading, arm)[0]) for arm in evaluation.arms[1:]}
        points.append((count, aurocs["negative"], aurocs.get("hard_negative")))
    return tuple(points)
