"""Detecting is not controlling: change the units of findings, and measure how pictures change.

    result = verify(findings, model, classifier="lancet:style", label="stained glass")
    result.sentences()

All pictures are drawn for items of the evaluation half, each with seeds of its own that were not
recorded, since a sample that was selected for its picture would show the concept again. The
distance by which a unit is moved comes from the selection half, as do the baselines of its edit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.arguments import checked
from clerestory.causal.baselines import (
    BaselineEffects,
    SelectionReadings,
    baseline_count,
    baseline_warnings,
    read_selection,
)
from clerestory.causal.control import SMALLEST_EFFECT, control_warnings
from clerestory.causal.effect_maps import (
    MAP_ITEMS,
    MIN_SAME_LENGTH,
    measure_maps,
    patch_sites,
    prompting_fields,
)
from clerestory.causal.parts import Parts
from clerestory.causal.results import UnitEffect, VerificationResult
from clerestory.causal.shifts import Shift, shift_along
from clerestory.causal.trials import Trials, matched_prompts, with_seeds
from clerestory.classifiers import Classifier
from clerestory.contrasts.evidence import Finding
from clerestory.contrasts.findings import Findings
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    CacheOption,
    Drawing,
    Effect,
    Evaluator,
    LoadedTarget,
    effect_of,
    load_preserved,
    load_target,
    side_effects_of,
)
from clerestory.evaluation.region_changes import region_change, region_masks, region_text
from clerestory.evaluation.side_effects import BOUND
from clerestory.io.validation import to_jsonable
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.regions import without_picture
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import check_dictionaries, provenance_of
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
from clerestory.stats import benjamini_hochberg
from clerestory.types import ProgressOption

__all__ = ["verify"]

BASELINE_ITEMS = 12
"""Items that each baseline is drawn with, with one seed each."""
CHUNK = 16
"""Baselines whose pictures are in memory at a time."""


@checked()
def verify(
    findings: Findings,
    model: Model,
    *,
    classifier: str | Classifier | Callable[..., Any],
    label: str,
    units: Sequence[str] = (),
    items: int = 24,
    seeds_per_item: int = 4,
    seeds: int | Sequence[int] | None = None,
    baselines: int | None = None,
    smallest_effect: float = SMALLEST_EFFECT,
    bound: float = BOUND,
    maps: bool = True,
    others: Sequence[str] | None = None,
    region: Any = None,
    parts: str | Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> VerificationResult:
    """Change each unit, and measure how often a classifier then predicts a label.

    A unit is said to control the label where its addition raises the label's rate by more than
    `smallest_effect`, and by more than edits of the same length without the concept, and no class
    of any classifier changes by more than `bound`.

    Args:
        findings: Findings of `find`, or of a group.
        model: The recorded model.
        classifier: A classifier, its name, or a function with an attribute `classes`.
        label: Its class that stands for the concept.
        units: Addresses of findings; by default the first-ranked neuron and direction of each
            stage, and the first direction at the conditioning site.
        items: Number of items of the evaluation half to draw.
        seeds_per_item: Number of seeds of each item, which no other item has and which were not
            recorded.
        seeds: Seeds of every item instead; the effects are then of these seeds.
        baselines: Number of directions without the concept that each addition with an effect is
            compared with; by default 99, or as many as the correction for several units takes.
            They are drawn on twelve items, with one seed each.
        smallest_effect: The effect above which a unit is said to control the label.
        bound: Change of another class's rate up to which a side effect is accepted.
        maps: Whether to trace where, when and from which sample the concept comes.
        others: Classifiers of side effects beside the target's; by default the other heads of its
            network, if it has any.
        region: Where in the picture units are added and ablated: a mask, a name or a word of every
            prompt; units are then by default those at sites with positions of the picture. Whole
            sites are patched all the same.
        parts: A folder where the effects and each map are written as soon as they are measured; the
            same call with the same folder goes on after them. It may be deleted afterwards.
        cache: Whether to cache samples, so that none is drawn twice, or a cache.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The effects of the units, and the maps.

    Raises:
        EvidenceError: No finding can be verified, because nothing reads its site, the samples are
            missing, or the seeds were used to select samples.
        RegistryError: There is no such classifier or label.
    """
    check_dictionaries(model, findings.provenance.dictionaries, "What was found")
    target = load_target(classifier, label)
    # Before anything is drawn: an unknown unit costs no time.
    selected = _select_findings(findings, model, units, region)
    explicit = _check_explicit(findings, seeds)
    pairs = matched_prompts(findings, model, "evaluation", items)
    drawn_seeds = [explicit or _new_seeds(findings, item, seeds_per_item) for item in pairs["item"]]
    # As many as the correction for all units takes, unless the caller says how many.
    count = baselines or baseline_count(len(selected))
    criteria = _Criteria(count, smallest_effect, bound, region)
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        preserved = load_preserved(target.classifier, others)
        trials = Trials(evaluator, with_seeds(pairs, drawn_seeds), target, preserved)
        provenance = provenance_of(
            model,
            {
                "units": list(units),
                "items": items,
                "seeds_per_item": seeds_per_item,
                "seeds": explicit,
                "baselines": criteria.baselines,
                "smallest_effect": smallest_effect,
                "bound": bound,
                "maps": maps,
                "others": list(trials.others),
                **({} if region is None else {"region": region_text(region)}),
            },
        )
        measured = Parts.open(parts, _plan(findings, target, provenance))
        result = measured.get(
            "causes",
            VerificationResult,
            lambda: _measure_units(findings, trials, selected, criteria, provenance),
        )
        # Maps draw hundreds of ranges: one seed of each item.
        map_fields = measure_maps(trials.with_seeds(1), measured) if maps else {}
    warnings = (
        *findings.warnings,
        *control_warnings(
            [effect.side_effects for effect in result.effects], shared_seeds=explicit is not None
        ),
        *baseline_warnings(criteria.baselines, len(selected)),
        *map_fields.pop("warnings", ()),
    )
    # With this call's provenance: a part that was read has lists for the tuples of its options.
    return replace(result, **map_fields, warnings=warnings, provenance=provenance)


def _measure_units(
    findings: Findings,
    trials: Trials,
    selected: Sequence[Finding],
    criteria: _Criteria,
    provenance: Provenance,
) -> VerificationResult:
    """The result before the maps and warnings."""
    unedited, prompted = trials.draw_arms()
    # After the prompts: the first drawing shows quickest that a model does not work.
    readings = read_selection(
        trials.model, findings, [finding.site for finding in selected], trials.evaluator.progress
    )
    shifts = [_shift(findings, finding, readings) for finding in selected]
    effects = _unit_effects(trials, selected, shifts, readings, unedited, prompted, criteria)
    fields = prompting_fields(trials, unedited, prompted)
    return VerificationResult(**fields, effects=effects, provenance=provenance)


def _plan(findings: Findings, target: LoadedTarget, provenance: Provenance) -> dict[str, Any]:
    """Everything that the figures depend on."""
    text = json.dumps(findings.to_dict(), sort_keys=True)
    about = to_jsonable(provenance)
    return {
        # One by one, so that the message for another measurement names what differs.
        **about.pop("options"),
        **about,
        "findings": hashlib.sha256(text.encode()).hexdigest(),
        "classifier": f"{target.classifier.source} {getattr(target.classifier, 'digest', '')}",
        "label": target.label,
    }


@dataclass(frozen=True)
class _Criteria:
    """What a claim of control takes: baselines of each edit, two thresholds, where edits act."""

    baselines: int
    smallest_effect: float
    bound: float
    region: Any


def _recorded_seeds(findings: Findings) -> set[int]:
    return set() if findings.samples is None else set(findings.samples["seed"].tolist())


def _check_explicit(
    findings: Findings, seeds: int | Sequence[int] | None
) -> tuple[int, ...] | None:
    """Seeds of all items; EvidenceError where these selected samples by their pictures."""
    if seeds is None:
        return None
    recorded, checked = _recorded_seeds(findings), check_seeds(seeds)
    shared = sorted(recorded.intersection(checked))
    # A picture that was selected for what it shows would show it again, whatever the unit does.
    if shared and findings.classifiers:
        raise EvidenceError(
            f"Samples were selected by their pictures with seed {shared[0]}: the same seed proves "
            f"nothing. Take others, such as {max(recorded) + 1}."
        )
    return checked


def _new_seeds(findings: Findings, item: str, seeds_per_item: int) -> tuple[int, ...]:
    """Seeds of an item that were not recorded."""
    recorded = _recorded_seeds(findings)
    # Recordings use number 0: the first other number will nearly always do.
    candidates = (item_seeds(item, seeds_per_item, number) for number in count(1))
    return next(seeds for seeds in candidates if recorded.isdisjoint(seeds))


def _select_findings(
    findings: Findings, model: Model, units: Sequence[str], region: Any
) -> list[Finding]:
    by_unit = {finding.unit: finding for finding in findings.findings}
    for unit in units:
        if unit not in by_unit:
            raise EvidenceError(f"No finding is of {unit!r}.{suggest(unit, by_unit)}")
        if model.sites[parse(by_unit[unit].site).site].affects_output is False:
            raise EvidenceError(f"Nothing reads {unit}: changing it changes no picture.")
    if units:
        return [by_unit[unit] for unit in units]
    first: dict[tuple[str, str], Finding] = {}
    # By rank in the selection half, since the evaluation half must not select what it evaluates.
    for finding in sorted(findings.findings, key=lambda finding: finding.selection_rank):
        site = model.sites[parse(finding.site).site]
        if site.affects_output is False or not _has_length(findings, finding):
            continue
        if region is not None and without_picture(
            model.hooks_by_address[site.address], model.family
        ):
            continue
        first.setdefault((site.stage, finding.kind), finding)
        # The conditioning site as well: all information of the prompt passes through it.
        if site.address == model.conditioning_site and finding.kind == "direction":
            first.setdefault((site.address, finding.kind), finding)
    if not first and region is not None:
        raise EvidenceError(
            f"The region is {region_text(region)}, and no finding is of a site with positions of "
            "the picture: record sites of the denoiser's blocks."
        )
    if not first:
        raise EvidenceError("No finding is of a site that the picture depends on.")
    # A direction at the conditioning site may also be the first of its stage.
    return list(dict.fromkeys(first.values()))


def _has_length(findings: Findings, finding: Finding) -> bool:
    """Whether there is a direction to add; fitted directions may be zero."""
    return finding.kind == "neuron" or bool(findings.direction(finding.unit).any())


def _shift(findings: Findings, finding: Finding, readings: SelectionReadings) -> Shift:
    if finding.kind == "neuron":
        units = len(readings.arm_mean(finding.site, "positive"))
        direction = np.eye(1, units, finding.number)[0]
    else:
        direction = findings.direction(finding.unit)
    return shift_along(readings, finding.site, direction, finding.unit)


def _unit_effects(
    trials: Trials,
    selected: Sequence[Finding],
    shifts: Sequence[Shift],
    readings: SelectionReadings,
    unedited: Drawing,
    prompted: Drawing,
    criteria: _Criteria,
) -> tuple[UnitEffect, ...]:
    region = criteria.region
    additions = [[shift.addition(region)] for shift in shifts]
    added = trials.draw("adding units", "negative", additions)
    ablations = [[shift.ablation(region)] for shift in shifts]
    masks = None if region is None else region_masks(trials.model, region, unedited)
    ablated = trials.draw("ablating units", "positive", ablations)
    sites = list(dict.fromkeys(shift.site for shift in shifts))
    # Several units may share a site, which is patched as a whole once.
    patches = {site: _patching_effects(trials.with_seeds(1), site) for site in sites}
    effects = [
        UnitEffect(
            unit=finding.unit,
            kind=finding.kind,
            detects=finding.detects.auroc,
            addition=trials.effect(addition, unedited),
            # Prompted first, so that a fall of the rate is a positive effect.
            ablation=trials.effect(prompted, ablation),
            patching=patches[shift.site][0],
            reverse_patching=patches[shift.site][1],
            smallest_effect=criteria.smallest_effect,
            baselines=None,
            q=None,
            side_effects=side_effects_of(
                addition, unedited, trials.classifiers, trials.target, bound=criteria.bound
            ),
            preservation=trials.preservation(addition, unedited),
            region_change=None if masks is None else region_change(addition, unedited, masks),
        )
        for finding, shift, addition, ablation in zip(selected, shifts, added, ablated, strict=True)
    ]
    baselines = [
        # What has no effect needs no comparison, and the comparison takes most of the pictures.
        _baseline_effects(trials, readings, shift, (addition, unedited), criteria)
        if effect.addition.low > criteria.smallest_effect
        else None
        for effect, shift, addition in zip(effects, shifts, added, strict=True)
    ]
    return _with_baselines(effects, baselines)


def _with_baselines(
    effects: Sequence[UnitEffect], baselines: Sequence[BaselineEffects | None]
) -> tuple[UnitEffect, ...]:
    """The effects beside those of their baselines, with q over all units."""
    # All units are counted, also those without an effect: which have one was seen in the pictures.
    q = benjamini_hochberg(np.array([1.0 if each is None else each.p for each in baselines]))
    return tuple(
        replace(effect, baselines=each, q=None if each is None else float(value))
        for effect, each, value in zip(effects, baselines, q, strict=True)
    )


def _baseline_effects(
    trials: Trials,
    readings: SelectionReadings,
    shift: Shift,
    drawings: tuple[Drawing, Drawing],
    criteria: _Criteria,
) -> BaselineEffects | None:
    """Effects of baselines of an edit, whose drawing comes first and the unedited one second."""
    count = criteria.baselines
    try:
        directions, permuted = readings.baselines(shift.site, abs(shift.distance), count)
    except EvidenceError:  # all samples of the site are alike: it has no other directions
        return None
    # The edit on the same items and seeds as its baselines.
    unit_rate, before = (_first_rate(trials, drawing) for drawing in drawings)
    single = trials.with_seeds(1)
    effects: list[float] = []
    for start in range(0, count, CHUNK):
        trials.report("baselines", start, count)
        chunk = directions[start : start + CHUNK]
        edits = [[Add(shift.site, each, region=criteria.region)] for each in chunk]
        drawn = single.draw(None, "negative", edits, items=BASELINE_ITEMS)
        effects += [_first_rate(trials, drawing) - before for drawing in drawn]
    trials.report("baselines", count, count)
    items = min(BASELINE_ITEMS, len(trials.pairs))
    return BaselineEffects.of(effects, unit_rate - before, permuted=permuted, items=items)


def _first_rate(trials: Trials, drawing: Drawing) -> float:
    """The target's rate among the first items, with the first seed of each."""
    hits = drawing.design.by_item(drawing.hits(*trials.target))
    return float(hits[:BASELINE_ITEMS, 0].mean())


def _patching_effects(trials: Trials, site: str) -> tuple[Effect | None, Effect | None]:
    """Effects of patching the whole activation of a site from one arm into the other, both ways."""
    same_length = bool(trials.model.hooks_by_address[parse(site).site].text_window)
    # Texts of different lengths cannot be patched position by position.
    if same_length and trials.pairs["same_length"].sum() < MIN_SAME_LENGTH:
        return None, None
    effects = []
    for arm in ("negative", "positive"):
        (before,) = trials.draw("patching", arm, items=MAP_ITEMS, same_length=same_length)
        (after,) = patch_sites(
            trials, "patching", [[site]], into=arm, items=MAP_ITEMS, same_length=same_length
        )
        hits = (after, before.hits(*trials.target))
        # Patching into the positive prompt removes the concept: the fall counts as positive.
        effects.append(effect_of(*(hits if arm == "negative" else hits[::-1]), before.design))
    return effects[0], effects[1]
