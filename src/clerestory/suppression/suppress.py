"""The verb `suppress`: compare methods of counteracting what a prompt brings unasked.

Each method's setting is chosen on the selection half of the paraphrases by selection classifiers;
the evaluation half, with its own classifiers and seeds, gives the figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clerestory.arguments import checked
from clerestory.attribution import SegmentedPrompt, paraphrase
from clerestory.attribution.paraphrases import SHARED_SEEDS, prompts_fit, template_groups
from clerestory.classifiers import ClassifierHead, load_classifier
from clerestory.errors import EvidenceError, SearchError
from clerestory.evaluation import (
    CacheOption,
    Condition,
    Design,
    Drawing,
    Evaluator,
    LoadedTarget,
    Panel,
)
from clerestory.evaluation.side_effects import BOUND
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.writing import check_empty_folder
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.stats import frechet_distance
from clerestory.steering import SteeredModel
from clerestory.suppression.association import Association
from clerestory.suppression.method import MethodContext, SuppressionMethod, suppression_methods
from clerestory.suppression.results import (
    MIN_REDUCTION,
    MethodResult,
    SuppressionResult,
    status_of,
)
from clerestory.suppression.scores import Effects, Half, Score, side_effects
from clerestory.types import Bools, Progress, ProgressOption

__all__ = ["suppress"]

MIN_HALF, DEFAULT_HALF = 12, 24
"""Paraphrases that a half has at least, and by default at most."""
OTHER_PROMPTS = 24
OTHERS_LABEL = "drawing other prompts"
DRAWN_TOGETHER = 8
"""Settings drawn in one call, which share the stages before their edits; more need more memory."""


class Choice(NamedTuple):
    """A method's best setting on the selection half."""

    method: str
    condition: Condition
    score: Score


@checked()
def suppress(
    model: Model,
    prompt: str,
    *,
    unwanted: str | Sequence[str],
    preserve: str | Sequence[str],
    baselines: str | Sequence[str] = (),
    classifiers: Sequence[str] = (),
    other_prompts: Sequence[str] | None = None,
    selection_paraphrases: int | None = None,
    evaluation_paraphrases: int | None = None,
    seeds: int | Sequence[int] | None = None,
    seeds_per_paraphrase: int = 4,
    seed: int = 0,
    bound: float = BOUND,
    budget: int = 300,
    methods: Sequence[str | SuppressionMethod] = (),
    out: Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> SuppressionResult:
    """Compare methods that take unwanted labels away and preserve others, and recommend one.

    Args:
        model: The model.
        prompt: What brings the unwanted labels.
        unwanted: `CLASSIFIER=LABEL`, one or several.
        preserve: Words of the prompt, in a list or separated by commas; each is a class of one of
            the model's default classifiers, or names its target, `WORD=CLASSIFIER=LABEL`.
        baselines: Words in their place in the control; by default those that follow from the
            words around them, such as `a thing`.
        classifiers: Those that measure side effects; by default the model's default classifiers.
        other_prompts: Prompts of other things, on which the methods' effect is measured too; by
            default items of the model's profile.
        selection_paraphrases: Sentences that settings are chosen on; 24, or half of what there is.
        evaluation_paraphrases: Others, that figures are of; 24, or half of what there is.
        seeds: The same seeds for every sentence of the evaluation half, which intervals then do not
            account for; by default each sentence has others.
        seeds_per_paraphrase: Number of seeds of each sentence of the evaluation half; those of the
            selection half have one.
        seed: Gives other seeds for the same sentences.
        bound: Change of the rate of any other class up to which a side effect is accepted.
        budget: Prompts that a search for words may score; 0 leaves such methods out.
        methods: Names of methods, or methods with settings of your own; by default all.
        out: A new or empty folder for the result, its page and the steered model.
        cache: Whether to keep samples, or where.
        progress: True for progress bars, or a callback.

    Returns:
        Every method that could be built, with warnings for the others.

    Raises:
        EvidenceError: The prompt shows no more of the unwanted than its control, or never a label
            to preserve; there are too few paraphrases; or no method can be built.
        PromptError: The prompt does not have a word, or another prompt is too long.
        RegistryError: There is no such method, classifier or class.
        OutputError: `out` is not empty.
    """
    if out is not None:
        # Refused before the minutes of drawing, not after.
        check_empty_folder(out)
    association = Association.of(
        model, prompt, unwanted, preserve, baselines=baselines, classifiers=classifiers
    )
    candidates = _candidates(methods, budget)
    common = None if seeds is None else check_seeds(seeds)
    others = model.profile.items(OTHER_PROMPTS) if other_prompts is None else other_prompts
    # Prompts that are too long are refused before drawing, too.
    for text in others:
        model.check_prompt(text)
    selection_sentences, evaluation_sentences, few = _halves(
        association, selection_paraphrases, evaluation_paraphrases
    )
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        # One seed each: many settings are compared, and paraphrases are the replicates.
        selection_seeds = [item_seeds(each.full_text, 1, seed) for each in selection_sentences]
        selection = Half(evaluator, association, selection_sentences, selection_seeds, "selection")
        # The first problem ends the call: without an excess or a drawn label no setting can be
        # chosen.
        for problem in selection.problems():
            raise EvidenceError(problem)
        sentences = [each.full_text for each in (*selection_sentences, *evaluation_sentences)]
        context = MethodContext(
            association=association,
            paraphrases=selection_sentences,
            alternatives=selection.alternatives(),
            # Of both halves: a suffix that is found on one has to fit on the other.
            longest=max(sentences, key=lambda text: len(model.tokenize(text))),
            budget=budget,
            evaluator=evaluator,
            progress=report,
        )
        conditions, missing = _conditions(candidates, context)
        choices = _choose_settings(selection, conditions, report)
        evaluation_seeds = [
            common or item_seeds(each.full_text, seeds_per_paraphrase, seed)
            for each in evaluation_sentences
        ]
        evaluation = Half(
            evaluator, association, evaluation_sentences, evaluation_seeds, "evaluation"
        )
        drawings, results = _evaluate(evaluation, choices, others, seed, bound)
    recommended, insufficient = _recommend(results)
    steered, steered_by = _steer(association, choices, results, recommended)
    edited_site, other_sites = _edited_sites(model, steered)
    result = SuppressionResult(
        prompt=association.prompt.full_text,
        unwanted=tuple(map(str, association.unwanted)),
        preserved=tuple(map(str, association.preserved)),
        paraphrases=len(evaluation_sentences),
        seeds=evaluation.design.seeds,
        before=evaluation.score(evaluation.before),
        control=evaluation.score(evaluation.control),
        methods=results,
        recommended=recommended.name,
        steered_by=steered_by,
        edited_site=edited_site,
        other_sites=other_sites,
        warnings=(
            *few,
            *_shared_classifiers(association),
            *missing,
            *(EvidenceWarning("other", problem) for problem in evaluation.problems()),
            *insufficient,
            *_design_warnings(recommended, shared_seeds=common is not None),
        ),
        provenance=provenance_of(model, {"budget": budget} | vars(model.defaults)),
        steered=steered,
        pictures={drawing.condition.name: drawing.pictures_by_item for drawing in drawings},
    )
    if out is not None:
        result.save(out)
    return result


def _candidates(
    requested: Sequence[str | SuppressionMethod], budget: int
) -> dict[str, SuppressionMethod]:
    """Methods by name; by default all, in their order, but those that search with no budget."""
    if not requested:
        kinds = sorted(suppression_methods.items(), key=lambda entry: (entry[1].order, entry[0]))
        return {name: kind() for name, kind in kinds if budget or not kind.searches}
    names = {kind: name for name, kind in suppression_methods.items()}
    candidates: dict[str, SuppressionMethod] = {}
    for method in requested:
        if isinstance(method, str):
            candidates[method] = suppression_methods[method]()
        else:
            # A class that is not registered goes by its own name.
            candidates[names.get(type(method), type(method).__name__)] = method
    return candidates


def _halves(
    association: Association, selection: int | None, evaluation: int | None
) -> tuple[Sequence[SegmentedPrompt], Sequence[SegmentedPrompt], list[EvidenceWarning]]:
    """Paraphrases of the selection and the evaluation half, and a warning where they are few."""
    if any(count is not None and count < MIN_HALF for count in (selection, evaluation)):
        raise EvidenceError(f"Give {MIN_HALF} paraphrases or more to select on, and to evaluate.")
    count, minimum = (selection or DEFAULT_HALF) + (evaluation or DEFAULT_HALF), 2 * MIN_HALF
    try:
        sentences = paraphrase(association.prompt, count, at_least=minimum, model=association.model)
    except EvidenceError as error:
        raise EvidenceError(
            f"This prompt has fewer than {minimum} paraphrases that fit the text window: too few "
            "to select on and to evaluate."
        ) from error
    total = len(sentences)
    first = selection or min(DEFAULT_HALF, total - evaluation if evaluation else total // 2)
    second = evaluation or min(DEFAULT_HALF, total - first)
    text = f"This prompt has {total} paraphrases"
    if min(first, second) < MIN_HALF or first + second > total:
        raise EvidenceError(
            f"{text}: too few for {selection or MIN_HALF} to select on and "
            f"{evaluation or MIN_HALF} to evaluate."
        )
    # The halves share no template, so that what suits the selected wordings is not evaluated on
    # them. Templates occur in the order of the sentences.
    groups = template_groups(sentences).tolist()
    templates = list(dict.fromkeys(groups))
    # In proportion to the sizes of the halves.
    selecting = set(templates[: round(len(templates) * first / (first + second))])
    halves: tuple[list[SegmentedPrompt], list[SegmentedPrompt]] = ([], [])
    for sentence, group in zip(sentences, groups, strict=True):
        halves[group not in selecting].append(sentence)
    selected, evaluated = halves[0][:first], halves[1][:second]
    if min(len(selected), len(evaluated)) < MIN_HALF:
        raise EvidenceError(
            f"{text} of {len(templates)} templates: too few for two halves without a common one."
        )
    few = []
    if (len(selected), len(evaluated)) != (selection or DEFAULT_HALF, evaluation or DEFAULT_HALF):
        counts = f"{len(selected)} select and {len(evaluated)} evaluate."
        few = [EvidenceWarning("few-templates", f"{text}: {counts}")]
    return selected, evaluated, few


def _design_warnings(result: MethodResult, *, shared_seeds: bool) -> Iterator[EvidenceWarning]:
    """What the sentences and seeds of the evaluation half leave open."""
    effects = result.side_effects
    if effects.changes and effects.reachable > effects.bound:
        yield EvidenceWarning(
            "few-items",
            f"{effects.items} paraphrases with {effects.pictures} pictures can show that nothing "
            f"changes by more than {effects.reachable:.2f}, not {effects.bound:.2f}: take more.",
        )
    if shared_seeds:
        yield SHARED_SEEDS


def _shared_classifiers(association: Association) -> list[EvidenceWarning]:
    """A warning for classifiers that are the same in both roles."""
    names = [
        name
        for name in dict.fromkeys(target.classifier for target in association.targets)
        if load_classifier(name, role="selection").source
        == load_classifier(name, role="evaluation").source
    ]
    if not names:
        return []
    text = (
        f"There is only one set of {' and '.join(names)}: the same classifier selects and "
        "evaluates, which biases the figures upwards."
    )
    return [EvidenceWarning("classifier", text)]


def _conditions(
    candidates: Mapping[str, SuppressionMethod], context: MethodContext
) -> tuple[dict[str, list[Condition]], list[EvidenceWarning]]:
    """Each method's conditions, and warnings for methods that do not apply."""
    conditions: dict[str, list[Condition]] = {}
    missing: dict[str, list[str]] = {}
    for name, method in candidates.items():
        try:
            conditions[name] = method.conditions(context)
        # Not every method applies to every model; its reason becomes a warning.
        except (EvidenceError, SearchError) as error:
            # By reason: methods that lack the same thing share a sentence.
            missing.setdefault(str(error), []).append(name)
    warnings = [
        EvidenceWarning("left-out", f"Left out: {', '.join(names)}. {reason}")
        for reason, names in missing.items()
    ]
    if not conditions:
        raise EvidenceError(" ".join(map(str, warnings)))
    return conditions, warnings


def _choose_settings(
    half: Half, conditions: Mapping[str, Sequence[Condition]], progress: Progress
) -> list[Choice]:
    """The best setting of each method by the selection classifiers."""
    total, completed = sum(map(len, conditions.values())), 0
    choices = []
    for name, settings in conditions.items():
        scored: list[Choice] = []
        for start in range(0, len(settings), DRAWN_TOGETHER):
            part = settings[start : start + DRAWN_TOGETHER]
            # Settings are drawn once: the cache would only push out what is drawn again.
            drawings = half.evaluator.draw(part, half.design, cached=False)
            scored += [Choice(name, each.condition, half.score(each)) for each in drawings]
            completed += len(part)
            progress("trying settings", completed, total)
        # Rates of few pictures tie often; probabilities decide between equals.
        choices.append(max(scored, key=lambda each: (each.score.objective, each.score.certainty)))
    return choices


def _evaluate(
    half: Half, choices: Sequence[Choice], other_prompts: Sequence[str], seed: int, bound: float
) -> tuple[list[Drawing], tuple[MethodResult, ...]]:
    """Draw each choice on the evaluation half and on other prompts."""
    # From here on a condition is called by its method, the key of pictures and results.
    named = [replace(choice.condition, name=choice.method) for choice in choices]
    drawings = half.evaluator.draw(named, half.design, description="evaluating methods")
    before = half.score(half.before)
    plain: Drawing | None = None
    if other_prompts:
        # One seed each: other prompts are many, and each is a replicate.
        design = Design.for_items(other_prompts, 1, seed)
        (plain,) = half.evaluator.draw([Condition("plain")], design, description=OTHERS_LABEL)
    results = []
    for choice, drawing in zip(choices, drawings, strict=True):
        score = half.score(drawing)
        effects = {each.name: getattr(score, each.name) for each in fields(Effects)}
        ira, cra = _retained(half, drawing.condition, plain)
        other = side_effects(half.association, half.classifiers, drawing, half.before, bound)
        results.append(
            MethodResult(
                name=choice.method,
                setting=choice.condition.name,
                has_edits=bool(choice.condition.edits),
                status=status_of(score.reduction_low, score.reduction_high, other),
                side_effects=other,
                frechet=_frechet(half, drawing),
                unwanted_before=before.unwanted,
                unwanted_after=score.unwanted,
                ua=1 - score.unwanted,
                ira=ira,
                cra=cra,
                selection=choice.score,
                **effects,
            )
        )
    return [half.before, half.control, *drawings], tuple(results)


def _retained(
    half: Half, condition: Condition, plain: Drawing | None
) -> tuple[float | None, float | None]:
    """How often predictions on other prompts stay, of the unwanted labels' classifiers and others.

    Prompts that the condition's words make too long are left out.
    """
    model = half.association.model
    items = () if plain is None else plain.design.items
    rows = [row for row, text in enumerate(items) if prompts_fit(model, [condition.prompt(text)])]
    if plain is None or not rows:
        return None, None
    design = plain.design.select(rows)
    (drawing,) = half.evaluator.draw([condition], design, description=OTHERS_LABEL)
    unwanted = {target.classifier for target in half.association.unwanted}
    in_domain: list[Bools] = []
    cross_domain: list[Bools] = []
    for name, classifier in half.classifiers.items():
        same = drawing.predictions(classifier) == plain.predictions(classifier)[rows]
        (in_domain if name in unwanted else cross_domain).append(same)
    ira, cra = (float(np.mean(same)) if same else None for same in (in_domain, cross_domain))
    return ira, cra


def _frechet(half: Half, drawing: Drawing) -> float | None:
    """The Fréchet distance of features to those of the prompt as it is, by the first classifier."""
    heads = [each for each in half.classifiers.values() if isinstance(each, ClassifierHead)]
    if not heads:
        return None
    # Any class will do: only the features are used.
    panel = Panel(LoadedTarget(heads[0], heads[0].classes[0]))
    moments = [panel.feature_moments(each.pictures) for each in (drawing, half.before)]
    return frechet_distance(*[each for each in moments if each is not None])


def _recommend(
    results: Sequence[MethodResult],
) -> tuple[MethodResult, list[EvidenceWarning]]:
    """The most certain of the methods that are sufficient on the selection half, else the best."""
    sufficient = [each for each in results if each.is_sufficient]
    if sufficient:
        # Sufficient methods differ little in rates, which saturate:
        # probabilities still tell them apart.
        return max(sufficient, key=lambda each: each.selection.certainty), []
    text = (
        f"No method takes away {MIN_REDUCTION:.0%} of the excess and changes nothing else by more "
        f"than {results[0].side_effects.bound:.2f}, by the selection half."
    )
    best = max(results, key=lambda each: each.selection.objective)
    return best, [EvidenceWarning("insufficient", text)]


def _edited_sites(model: Model, steered: SteeredModel | None) -> tuple[str, tuple[str, ...]]:
    """The site that edits change, and the conditioning sites that they leave as they are."""
    edited = model.conditioning_site
    if steered is not None:
        edited = parse(steered.edits[0].site).site
    base = edited.partition(":")[0]
    # What an edit before the conditioning changes reaches all conditioning sites.
    if base not in model.conditioning_sites:
        return edited, ()
    return edited, tuple(site for site in model.conditioning_sites if site != base)


def _steer(
    association: Association,
    choices: Sequence[Choice],
    results: Sequence[MethodResult],
    recommended: MethodResult,
) -> tuple[SteeredModel, str] | tuple[None, None]:
    """The recommended method as a model or, where it has no edits, the best that has some."""
    edited = [each for each in results if each.has_edits]
    if not edited:
        return None, None
    # By the selection half, as the recommendation is: the evaluation half chooses nothing.
    best = max(edited, key=lambda each: each.selection.objective)
    result = recommended if recommended.has_edits else best
    condition = next(each.condition for each in choices if each.method == result.name)
    calibration = {
        "label": f"without {', '.join(target.label for target in association.unwanted)}",
        "method": result.name,
        "setting": result.setting,
        "evaluation": dict(result.rates),
        "preservation": result.preservation,
        "status": result.status,
        "reduction": result.reduction,
        "prompt": association.prompt.full_text,
    }
    return SteeredModel(association.model, condition.edits, calibration=calibration), result.name
