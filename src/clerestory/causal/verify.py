"""Detecting is not controlling: change the units of findings, and measure how pictures change.

    result = verify(findings, model, classifier="lancet:style", label="stained glass")
    result.sentences()

All pictures are drawn for items of the evaluation half, with seeds that were not recorded, since a
sample that was selected for its picture would show the concept again. The distance by which a unit
is moved comes from the selection half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.results import BaselineEffects, UnitEffect, VerificationResult
from clerestory.causal.tracing import (
    MAP_ITEMS,
    MIN_SAME_LENGTH,
    patch_sites,
    prompting_effect,
    trace_maps,
)
from clerestory.causal.trials import Trials, matched_prompts
from clerestory.classifiers import Classifier
from clerestory.contrasts.findings import Finding, Findings
from clerestory.edits import Ablate, Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    CacheOption,
    Drawing,
    Effect,
    Evaluator,
    effect_of,
    load_preserved,
    load_target,
)
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds
from clerestory.models.provenance import provenance_of
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.stats import shuffled_directions
from clerestory.types import Floats, ProgressOption

__all__ = ["verify"]

BASELINE_ITEMS = 12
"""Items that each shuffled direction is drawn with."""

Direction = NDArray[np.float64]


def verify(
    findings: Findings,
    model: Model,
    *,
    classifier: str | Classifier,
    label: str,
    units: Sequence[str] = (),
    items: int = 24,
    seeds: int | Sequence[int] | None = None,
    baselines: int = 20,
    maps: bool = True,
    others: Sequence[str] | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> VerificationResult:
    """Change each unit and count how often a classifier then predicts a label.

    Args:
        findings: Findings of `find`, or of a group.
        model: The recorded model.
        classifier: A classifier, or its name.
        label: Its class that stands for the concept.
        units: Addresses of findings; by default the first-ranked neuron and direction of each
            stage, and the first direction at the conditioning site.
        items: Number of items of the evaluation half to draw.
        seeds: Seeds of each prompt; by default one that was not recorded.
        baselines: Number of directions from shuffled pairs that each unit is compared with.
        maps: Whether to trace where, when and from which sample the concept comes.
        others: Classifiers of side effects; by default the other heads of the classifier's
            network, if it has any.
        cache: Whether to cache samples, so that none is drawn twice, or a cache.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The effects of the units, and the maps.

    Raises:
        EvidenceError: No finding can be verified, because nothing reads its site, the samples are
            missing, or the seeds were used to select samples.
        RegistryError: There is no such classifier or label.
    """
    target = load_target(classifier, label)
    selected = _select_findings(findings, model, units)
    with progress_bars(progress) as report:
        trials = Trials(
            evaluator=Evaluator(model, cache, progress=report),
            pairs=matched_prompts(findings, model, "evaluation", items),
            seeds=_seeds(findings, seeds),
            target=target,
            others=load_preserved(target.classifier, others),
        )
        (unedited,) = trials.draw("negative prompts", "negative")
        (prompted,) = trials.draw("positive prompts", "positive")
        shifts = _shifts(findings, model, selected, trials, items)
        effects = _unit_effects(trials, selected, shifts, unedited, prompted, baselines)
        fields = trace_maps(trials) if maps else {}
    fields["warnings"] = (*findings.warnings, *fields.get("warnings", ()))
    return VerificationResult(
        classifier=target.classifier.source,
        label=label,
        items=len(trials.pairs),
        negative_rate=trials.rate(unedited).rate,
        **prompting_effect(trials, unedited, prompted),
        effects=effects,
        **fields,
        provenance=provenance_of(
            model,
            {
                "units": list(units),
                "items": items,
                "seeds": list(trials.seeds),
                "baselines": baselines,
                "maps": maps,
                "others": list(trials.others),
            },
        ),
    )


def _seeds(findings: Findings, seeds: int | Sequence[int] | None) -> tuple[int, ...]:
    recorded = [] if findings.samples is None else findings.samples["seed"].tolist()
    if seeds is None:
        # The seed after the recorded ones, so that the noise is new.
        return (max(recorded, default=-1) + 1,)
    checked = check_seeds(seeds)
    shared = sorted(set(checked) & set(recorded))
    # A picture that was selected for what it shows would show it again, whatever the unit does.
    if shared and findings.classifiers:
        raise EvidenceError(
            f"Samples were selected by their pictures with seed {shared[0]}: the same seed proves "
            f"nothing. Take others, such as {max(recorded) + 1}."
        )
    return checked


@dataclass(frozen=True, eq=False)
class _Shift:
    """The distance by which the concept moves a unit, measured on the selection half.

    `direction` has length 1. `negative` and `positive` are mean projections on it. `differences`
    are positive minus negative activations, `[item, unit]`.
    """

    site: str
    direction: Direction
    negative: float
    positive: float
    differences: NDArray[np.float64]

    @property
    def distance(self) -> float:
        return self.positive - self.negative


def _select_findings(findings: Findings, model: Model, units: Sequence[str]) -> list[Finding]:
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
        first.setdefault((site.stage, finding.kind), finding)
        # The conditioning site as well: all information of the prompt passes through it.
        if site.address == model.conditioning_site and finding.kind == "direction":
            first.setdefault((site.address, finding.kind), finding)
    if not first:
        raise EvidenceError("No finding is of a site that the picture depends on.")
    # A direction at the conditioning site may also be the first of its stage.
    return list(dict.fromkeys(first.values()))


def _has_length(findings: Findings, finding: Finding) -> bool:
    """Whether there is a direction to add; fitted directions may be zero."""
    return finding.kind == "neuron" or bool(findings.direction(finding.unit).any())


def _shifts(
    findings: Findings, model: Model, selected: Sequence[Finding], trials: Trials, items: int
) -> list[_Shift]:
    """Read both arms of the selection half at the sites of the selected findings."""
    pairs = matched_prompts(findings, model, "selection", items)
    sites = list(dict.fromkeys(parse(finding.site).site for finding in selected))
    values: dict[str, dict[str, NDArray[np.float64]]] = {}
    for arm in ("positive", "negative"):
        run = model.run(
            list(pairs[arm]),
            trials.seeds,
            read=sites,
            pictures=False,
            progress=lambda _, completed, total: trials.report("reading", completed, total),
        )
        values[arm] = {
            finding.site: _item_means(run.read(finding.site).mean("step").to_numpy(), len(pairs))
            for finding in selected
        }
    return [_shift(findings, finding, values) for finding in selected]


def _item_means(values: Floats, items: int) -> NDArray[np.float64]:
    """`[item, unit]` of `[item × seed, unit]`."""
    return np.asarray(values.reshape(items, -1, values.shape[-1]).mean(1), np.float64)


def _shift(
    findings: Findings,
    finding: Finding,
    values: Mapping[str, Mapping[str, NDArray[np.float64]]],
) -> _Shift:
    positive, negative = values["positive"][finding.site], values["negative"][finding.site]
    if finding.kind == "neuron":
        unit = int(finding.unit.rpartition("[")[2].partition("]")[0])
        direction = np.eye(1, positive.shape[1], unit)[0]
    else:
        direction = findings.direction(finding.unit)
    # Directions are shorter than the site if only some of its units were recorded.
    if len(direction) != positive.shape[1]:
        raise EvidenceError(
            f"{finding.unit} was found among {len(direction)} of the site's {positive.shape[1]} "
            "units; record all of them to change it."
        )
    length = float(np.linalg.norm(direction))
    # Dividing by a length of 0 would give NaN.
    if length == 0:
        raise EvidenceError(f"The direction {finding.unit} is zero: there is nothing to change.")
    unit_direction = direction / length
    return _Shift(
        site=finding.site,
        direction=unit_direction,
        negative=float((negative @ unit_direction).mean()),
        positive=float((positive @ unit_direction).mean()),
        differences=positive - negative,
    )


def _unit_effects(
    trials: Trials,
    selected: Sequence[Finding],
    shifts: Sequence[_Shift],
    unedited: Drawing,
    prompted: Drawing,
    baselines: int,
) -> tuple[UnitEffect, ...]:
    additions = [[Add(shift.site, shift.direction * shift.distance)] for shift in shifts]
    added = trials.draw("adding units", "negative", additions)
    ablations = [[Ablate(shift.site, shift.direction, shift.negative)] for shift in shifts]
    ablated = trials.draw("ablating units", "positive", ablations)
    sites = list(dict.fromkeys(shift.site for shift in shifts))
    # Several units may share a site, which is patched as a whole once.
    patches = {site: _patching_effects(trials, site) for site in sites}
    return tuple(
        UnitEffect(
            unit=finding.unit,
            kind=finding.kind,
            detects=finding.detects.auroc,
            addition=trials.effect(addition, unedited),
            # Prompted first, so that a fall of the rate is a positive effect.
            ablation=trials.effect(prompted, ablation),
            patching=patches[shift.site][0],
            reverse_patching=patches[shift.site][1],
            baselines=_baseline_effects(trials, shift, unedited, addition, baselines),
            preservation=trials.preservation(addition, unedited),
        )
        for finding, shift, addition, ablation in zip(selected, shifts, added, ablated, strict=True)
    )


def _baseline_effects(
    trials: Trials, shift: _Shift, unedited: Drawing, added: Drawing, count: int
) -> BaselineEffects | None:
    """Effects of shuffled directions of the same norm, on the first `BASELINE_ITEMS` items."""
    try:
        # A fixed seed, so that the same findings have the same baselines in every call.
        directions = shuffled_directions(
            shift.differences, abs(shift.distance), np.random.default_rng(0), count
        )
    except EvidenceError:  # the pairs cannot be shuffled, so there is no comparable direction
        return None
    edit_sets = [[Add(shift.site, direction)] for direction in directions]
    drawings = trials.draw("shuffled directions", "negative", edit_sets, items=BASELINE_ITEMS)
    before = unedited.first_items(BASELINE_ITEMS)
    effects = [trials.effect(drawing, before).effect for drawing in drawings]
    return BaselineEffects(
        mean=float(np.mean(effects)),
        low=min(effects),
        high=max(effects),
        directions=len(effects),
        items=len(before.design.items),
        unit_effect=trials.effect(added.first_items(BASELINE_ITEMS), before).effect,
    )


def _patching_effects(trials: Trials, site: str) -> tuple[Effect | None, Effect | None]:
    """Effects of patching the whole activation of a site from one arm into the other, both ways."""
    same_length = bool(trials.model.family.hooks_by_address[parse(site).site].text_window)
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
