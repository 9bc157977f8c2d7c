"""Build a steered model from findings: try sites, strengths and steps, select one, evaluate it.

Items that select and items that evaluate share none, and have different classifiers and seeds. That
the edit controls the target is a claim as in `verify`: it does more than edits of its length
without the concept, and changes nothing else by more than a bound.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.arguments import checked
from clerestory.causal.baselines import (
    BaselineEffects,
    baseline_count,
    baseline_warnings,
    read_selection,
)
from clerestory.causal.control import (
    SMALLEST_EFFECT,
    control_status,
    control_together,
    control_warnings,
)
from clerestory.classifiers import parse_target
from clerestory.contrasts import Findings
from clerestory.edits import Add
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    ITEM,
    CacheOption,
    Condition,
    Design,
    Drawing,
    Effect,
    Evaluator,
    Outcome,
    Panel,
    SideEffects,
    compare_conditions,
    compare_drawings,
    fill,
)
from clerestory.evaluation.items import select_items
from clerestory.evaluation.region_changes import RegionChange, region_change, region_masks
from clerestory.evaluation.side_effects import BOUND
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.maximization import MaximizationResult
from clerestory.maximization.compare import best_words
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds
from clerestory.models.provenance import check_dictionaries, provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.steering.frontier import Candidate, frontier, select_candidate
from clerestory.steering.results import (
    EDITED,
    BuildResult,
    Calibration,
    CandidateFigures,
    ConditionFigures,
    Selection,
)
from clerestory.steering.scaled_directions import ScaledDirection, scaled_directions
from clerestory.steering.slider import Slider
from clerestory.steering.steered import SteeredModel
from clerestory.steering.target import SteeringTarget
from clerestory.types import Progress, ProgressOption

__all__ = ["steer"]

FRACTIONS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
"""Strengths that are tried, as shares of the separation of prompts without and with the target."""
HALVED_STEPS = 4
"""Stages of so many steps or more are also edited in their first and in their second half."""
MIN_ITEMS = 4
BASELINE_ITEMS = 12
"""Items that each baseline is drawn with, one seed each."""
CHUNK = 16
"""Baselines whose pictures are in memory at a time."""
EVALUATION_SEED = 1
"""Number of the evaluation items' seeds; recordings and the selection use 0."""
UNEDITED, WORDS, SEARCHED, BASELINE, SLIDER = "unedited", "words", "searched", "baseline", "lora"


@checked()
def steer(  # noqa: PLR0913 - a verb's parameters are the options of its command
    model: Model,
    findings: Findings | str | Path,
    target: str,
    template: str | None = None,
    *,
    remove: bool = False,
    hard_negative: str | None = None,
    preserve: Sequence[str] = (),
    min_preservation: float | None = None,
    sites: Sequence[str] = (),
    region: Any = None,
    strengths: Sequence[float] = (),
    items: Sequence[str] | str | Path | None = None,
    selection_items: int = 24,
    evaluation_items: int = 48,
    seeds_per_item: int = 2,
    seeds: int | Sequence[int] | None = None,
    baselines: int = baseline_count(1),
    smallest_effect: float = SMALLEST_EFFECT,
    bound: float = BOUND,
    search: MaximizationResult | Sequence[str] | str | Path | None = None,
    slider: int = 0,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> BuildResult:
    """Build a steered model that draws a label whatever the prompt, or no longer draws it.

    Args:
        model: The base model.
        findings: Findings with directions, or their folder.
        target: The label, `CLASSIFIER=LABEL`.
        template: How a prompt says it, with `{item}` in it, once; the profile's by default.
        remove: Whether to remove the label from prompts that say it.
        hard_negative: A label that should not come with it, `CLASSIFIER=LABEL`.
        preserve: Classifiers whose predictions should stay; by default those that come with the
            target's.
        min_preservation: Of the edits that preserve as much, the most effective one is selected;
            by default the knee of the frontier.
        sites: Sites to try; by default the conditioning site and those of the first findings.
        region: Where in the picture to edit, as of an edit: a mask, a name or a word of every
            prompt; sites are then by default those with positions of the picture.
        strengths: Strengths to try, in standard deviations of the site's activations; by default
            shares of the separation of prompts without and with the target.
        items: Items that never mention the target, or a file with an item a line; the profile's by
            default.
        selection_items: How many of them select.
        evaluation_items: How many others evaluate.
        seeds_per_item: Number of seeds of each evaluation item, which no other item has.
        seeds: Seeds of every evaluation item instead; the figures are then of these seeds.
        baselines: How many edits of the same length without the concept are drawn.
        smallest_effect: Change of the target's rate above which the edit controls it.
        bound: Change of any other class's rate up to which a side effect is accepted.
        search: A result of `maximize`, its folder, or words, whose best are a baseline.
        slider: Training steps of a LoRA slider as a baseline; 0 for none.
        cache: Whether samples are kept, or where.
        progress: True for progress bars, or a callback.

    Returns:
        The steered model with its calibration: the selected edit beside every baseline.

    Raises:
        EvidenceError: Items are too few or were used by the findings, preservation cannot be
            measured, or the findings have no direction that reaches the picture.
        RegistryError: There is no such label.
    """
    goal = _steering_target(model, target, template, hard_negative, preserve, remove)
    source = ""
    if not isinstance(findings, Findings):
        source, findings = str(findings), Findings.load(Path(findings))
    check_dictionaries(model, findings.provenance.dictionaries, "What was found")
    # The baseline would push the other way, and look worse than it is.
    if search is not None and remove:
        raise EvidenceError(
            "`search` cannot be a baseline with `remove`: the found words add the target."
        )
    words = None if search is None else best_words(search, 1)[0]
    if min_preservation is not None and not goal.panel("selection").preserved:
        raise EvidenceError("No classifier measures preservation: name some that should stay.")
    # One list, cut in two: no item can be in both halves.
    chosen = select_items(model, items, goal.classifier, selection_items + evaluation_items)
    selection_half, evaluation_half = chosen[:selection_items], chosen[selection_items:]
    _check_items(selection_half, evaluation_half, findings)
    design = (
        Design.for_items(evaluation_half, seeds_per_item, EVALUATION_SEED)
        if seeds is None
        else Design.crossed(evaluation_half, check_seeds(seeds))
    )
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        directions = scaled_directions(
            model,
            findings,
            selection_half,
            [fill(goal.template, item) for item in selection_half],
            sites=sites,
            region=region,
            progress=report,
        )
        edits = _candidate_edits(model, directions, strengths, goal)
        candidates = _candidates(evaluator, [edit for edit, _ in edits], selection_half, goal)
        selected, notes = select_candidate(candidates, min_preservation)
        # Candidates are in the order of the edits.
        direction = edits[candidates.index(selected)][1]
        evaluation = _Evaluation(evaluator, goal, design)
        outcomes, effect, side_effects = evaluation.outcomes(selected.edit, words, bound)
        inside = evaluation.region_change(selected.edit, outcomes)
        if slider:
            outcomes[SLIDER] = evaluation.slider_outcome(slider, selection_half, outcomes, report)
        edits_without = _baseline_edits(model, findings, direction, selected.edit, baselines)
        baseline_effects, mean_figures = evaluation.baseline_effects(selected.edit, *edits_without)
    figures = {name: ConditionFigures.of(outcome) for name, outcome in outcomes.items()}
    if mean_figures is not None:
        figures[BASELINE] = mean_figures
    p = None if baseline_effects is None else baseline_effects.p
    claim = (effect, smallest_effect, p, side_effects)
    warnings = [
        *(EvidenceWarning("other", text) for text in notes),
        *goal.warnings(),
        *control_warnings([side_effects], shared_seeds=seeds is not None),
        *_baseline_warnings(baselines, baseline_effects),
    ]
    candidate_figures = _candidate_figures(candidates)
    calibration = Calibration(
        **vars(figures.pop(EDITED)),
        **vars(goal),
        role="evaluation",
        seeds=len(design.seeds[0]),
        effect=effect,
        smallest_effect=smallest_effect,
        baseline_effects=baseline_effects,
        side_effects=side_effects,
        region_change=inside,
        status=control_status(*claim),
        together_with=tuple(map(str, control_together(*claim))),
        baselines=figures,
        selected=candidate_figures[candidates.index(selected)],
        selection=Selection(
            items=len(selection_half), role="selection", candidates=candidate_figures
        ),
        evaluation_items=evaluation_half,
        warnings=tuple(warnings),
    )
    options = {"findings": source, "unit": direction.unit, "target": target}
    steered = SteeredModel(
        model,
        [selected.edit],
        provenance=asdict(provenance_of(model, options)),
        calibration=asdict(calibration),
    )
    pictures = {name: outcome.pictures for name, outcome in outcomes.items()}
    return BuildResult(steered, calibration, pictures)


def _steering_target(
    model: Model,
    target: str,
    template: str | None,
    hard_negative: str | None,
    preserve: Sequence[str],
    remove: bool,
) -> SteeringTarget:
    """What the edit is to do, from the texts that a caller writes."""
    classifier, label = parse_target(target)
    if template is None:
        template = model.profile.template(classifier, label)
    against = None if hard_negative is None else parse_target(hard_negative)
    return SteeringTarget(classifier, label, template, against, tuple(preserve), remove)


def _check_items(selection: Sequence[str], evaluation: Sequence[str], findings: Findings) -> None:
    """EvidenceError where the findings used evaluation items, or there are too few."""
    used = {item for half in findings.items.values() for item in half}
    shared = sorted(used & set(evaluation))
    if shared:
        raise EvidenceError(
            f"{len(shared)} evaluation items are shared with the findings, such as {shared[0]!r}: "
            "figures on them would prove nothing."
        )
    if min(len(selection), len(evaluation)) < MIN_ITEMS:
        raise EvidenceError("Give four items or more to select with, and four to evaluate on.")


def _candidate_edits(
    model: Model,
    directions: Sequence[ScaledDirection],
    strengths: Sequence[float],
    goal: SteeringTarget,
) -> list[tuple[Add, ScaledDirection]]:
    """Every edit to try; at sites with several steps also in each half of them."""
    edits = []
    sign = -1.0 if goal.remove else 1.0
    for direction in directions:
        # At a share of 1 an edit moves the site as far as saying the target does.
        sizes = strengths or [sign * share * direction.separation for share in FRACTIONS]
        steps = _steps(model, direction.site)
        halves = [steps[: len(steps) // 2], steps[len(steps) // 2 :]]
        # Few steps have no halves worth telling apart, and each range multiplies the drawings.
        ranges = [(), *halves] if len(steps) >= HALVED_STEPS else [()]
        edits += [(direction.edit(size, part), direction) for part in ranges for size in sizes]
    return edits


def _steps(model: Model, site: str) -> tuple[int, ...]:
    """The steps that a site has in a run."""
    # Any prompt will do: steps depend on the options alone.
    run = model.run("a", 0, read=site, pictures=False)
    return tuple(sorted({step.index for step in run.site_values[site].steps}))


def _candidates(
    evaluator: Evaluator, edits: Sequence[Add], items: Sequence[str], goal: SteeringTarget
) -> list[Candidate]:
    """Each edit on the selection items, one seed each."""
    conditions = [Condition(UNEDITED, goal.edited_template)]
    # The words are drawn beside the edits, as the reference of the Fréchet distance.
    conditions.append(Condition(WORDS, goal.reference_template))
    conditions += [
        Condition(str(index), goal.edited_template, (edit,)) for index, edit in enumerate(edits)
    ]
    unedited, _, *outcomes = compare_conditions(
        evaluator,
        conditions,
        Design.for_items(items),
        goal.panel("selection"),
        frechet_to=WORDS,
        description="drawing with edits",
    )
    # Without features nothing can be out of distribution.
    limit = np.inf if unedited.frechet is None else unedited.frechet
    return [
        Candidate(edit, each, goal.score(each.target.rate), (each.frechet or 0.0) > limit)
        for edit, each in zip(edits, outcomes, strict=True)
    ]


@dataclass(frozen=True)
class _Evaluation:
    """Draws the selected edit and its baselines on the evaluation items."""

    evaluator: Evaluator
    goal: SteeringTarget
    design: Design

    @property
    def panel(self) -> Panel:
        """Evaluation classifiers."""
        return self.goal.panel("evaluation")

    def outcomes(
        self, edit: Add, words: str | None, bound: float
    ) -> tuple[dict[str, Outcome], Effect, SideEffects]:
        """Unedited, edited, by the words and by those of a search; the edit's effects."""
        goal, panel = self.goal, self.panel
        conditions = [
            Condition(UNEDITED, goal.edited_template),
            Condition(EDITED, goal.edited_template, (edit,)),
            Condition(WORDS, goal.reference_template),
        ]
        if words is not None:
            # Behind the item, as a person would add a style.
            conditions.append(Condition(SEARCHED, f"{ITEM}, {words}"))
        drawings = self.evaluator.draw(conditions, self.design, description="evaluating")
        outcomes = compare_drawings(panel, drawings, frechet_to=WORDS)
        unedited, edited = drawings[:2]
        # With the two exchanged a fall is positive.
        pair = (unedited, edited) if goal.remove else (edited, unedited)
        effect = pair[0].effect(pair[1], *panel.target)
        side_effects = goal.side_effects(panel, edited, unedited, bound)
        return {outcome.name: outcome for outcome in outcomes}, effect, side_effects

    def region_change(self, edit: Add, outcomes: Mapping[str, Outcome]) -> RegionChange | None:
        """How much the pictures change inside and outside of the edit's region."""
        if edit.region is None:
            return None
        edited, unedited = (
            Drawing(Condition(name, self.goal.edited_template), self.design, pictures)
            for name in (EDITED, UNEDITED)
            for pictures in [
                outcomes[name].pictures.reshape(-1, *outcomes[name].pictures.shape[2:])
            ]
        )
        masks = region_masks(self.evaluator.model, edit.region, unedited)
        return region_change(edited, unedited, masks)

    def slider_outcome(
        self,
        steps: int,
        training: Sequence[str],
        outcomes: dict[str, Outcome],
        progress: Progress,
    ) -> Outcome:
        """Train a slider on the selection items, draw with it, and take it off again."""
        templates = self.goal.edited_template, self.goal.reference_template
        unedited = Condition(UNEDITED, templates[0])
        slider = Slider.train(
            self.evaluator.model, templates, training, steps=steps, progress=progress
        )
        try:
            pictures = slider.draw(unedited.prompts(self.design), self.design.cell_seeds)
        finally:
            slider.close()
        # The unedited pictures are those of the evaluation, so that the slider and the edit are
        # compared with the same.
        before = outcomes[UNEDITED].pictures
        reference = Drawing(unedited, self.design, before.reshape(-1, *before.shape[2:]))
        drawing = Drawing(Condition(SLIDER), self.design, pictures)
        return compare_drawings(self.panel, [reference, drawing])[1]

    def baseline_effects(
        self, edit: Add, edits: Sequence[Add], permuted: int
    ) -> tuple[BaselineEffects | None, ConditionFigures | None]:
        """Effects of edits without the concept, on fewer items with one seed each."""
        if not edits:
            return None, None
        template, panel = self.goal.edited_template, self.panel
        items = self.design.items[:BASELINE_ITEMS]
        design = Design(items, tuple(seeds[:1] for seeds in self.design.seeds[: len(items)]))
        sign = -1.0 if self.goal.remove else 1.0
        # The edit itself comes first, to be compared on the same items and seeds.
        drawn, effects, outcomes = [edit, *edits], [], []
        for start in range(0, len(drawn), CHUNK):
            conditions = [Condition(UNEDITED, template)]
            conditions += [
                Condition(f"{BASELINE} {start + index}", template, (each,))
                for index, each in enumerate(drawn[start : start + CHUNK])
            ]
            unedited, *chunk = compare_conditions(
                self.evaluator, conditions, design, panel, description="drawing baselines"
            )
            effects += [sign * (each.target.rate - unedited.target.rate) for each in chunk]
            # Without the pictures, which are many.
            outcomes += [replace(each, pictures=each.pictures[:0]) for each in chunk]
        compared = BaselineEffects.of(effects[1:], effects[0], permuted=permuted, items=len(items))
        return compared, _mean_figures(outcomes[1:])


def _baseline_edits(
    model: Model, findings: Findings, direction: ScaledDirection, edit: Add, count: int
) -> tuple[list[Add], int]:
    """Edits of the same length, sites and steps; how many are of permuted templates."""
    if not count:
        return [], 0
    # The length of what the edit adds, whatever its sign.
    norm = abs(float(np.asarray(edit.strength))) * edit.scale
    try:
        readings = read_selection(model, findings, [direction.site])
        directions, permuted = readings.baselines(direction.site, norm, count)
    except EvidenceError:
        # Without samples, or where they are all alike, there is no other direction of this site.
        return [], 0
    return [Add(edit.site, each, region=edit.region) for each in directions], permuted


def _baseline_warnings(count: int, effects: BaselineEffects | None) -> list[EvidenceWarning]:
    """Warnings of too few baselines, and where they were asked for and there are none."""
    warnings = baseline_warnings(count, 1)
    if count and effects is None:
        text = "The site has no other directions that the edit could be compared with."
        warnings.append(EvidenceWarning("few-baselines", text))
    return warnings


def _candidate_figures(candidates: Sequence[Candidate]) -> tuple[CandidateFigures, ...]:
    """The figures of every candidate, in their order."""
    front = frontier(candidates)
    return tuple(
        CandidateFigures(
            site=each.edit.site,
            strength=float(np.asarray(each.edit.strength)),
            target_rate=each.outcome.target.rate,
            mean_preservation=each.outcome.mean_preservation,
            distance=each.outcome.distance,
            frechet=each.outcome.frechet,
            out_of_distribution=each.out_of_distribution,
            # Candidates are compared by identity (`eq=False`).
            on_frontier=each in front,
        )
        for each in candidates
    )


def _mean_figures(outcomes: Sequence[Outcome]) -> ConditionFigures:
    """The means over baselines, with the range of their rates."""
    rates = [outcome.target.rate for outcome in outcomes]
    means = [each.mean_preservation for each in outcomes if each.mean_preservation is not None]
    effects = [
        each.hard_negative_effect.effect
        for each in outcomes
        if each.hard_negative_effect is not None
    ]
    return ConditionFigures(
        target_rate=float(np.mean(rates)),
        # A range and not an interval: each rate is of another direction, not of other items.
        target_interval=(min(rates), max(rates)),
        preservation={
            name: float(np.mean([each.preservation[name].rate for each in outcomes]))
            for name in outcomes[0].preservation
        },
        mean_preservation=float(np.mean(means)) if means else None,
        hard_negative_effect=float(np.mean(effects)) if effects else None,
        items=outcomes[0].target.items,
        directions=len(rates),
    )
