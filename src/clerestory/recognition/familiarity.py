"""The verb `familiarity`: does a model draw a name differently from names that nobody has read?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clerestory.errors import EvidenceError, PromptError
from clerestory.evaluation import CacheOption, Evaluator, fill
from clerestory.models import Model, check_seeds
from clerestory.models.provenance import provenance_of
from clerestory.recognition.contexts import (
    CONTEXTS,
    ContextEffect,
    check_contexts,
    find_context_effects,
)
from clerestory.recognition.distances import consistencies, deviations, distances, first_name_p
from clerestory.recognition.names import (
    check_controls,
    content_words,
    invent_names,
    match_form,
    split_words,
)
from clerestory.recognition.observation import Observation, Observer
from clerestory.recognition.results import (
    ContextResult,
    Controls,
    FamiliarityResult,
    Verdict,
    phrase_folder,
)
from clerestory.recognition.store import ObservationStore
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
from clerestory.types import Floats, Progress, ProgressOption

__all__ = ["FAMILIAR_P", "UNFAMILIAR_P", "familiarity", "measure_familiarity"]

MIN_CONTROLS, DEFAULT_CONTROLS = 99, 199
"""With fewer controls p cannot be .01; of the default, one may be farther than a familiar name."""
FAMILIAR_P, UNFAMILIAR_P = 0.01, 0.1
"""A name is familiar up to the first p, and unfamiliar above the second."""
PICTURED = 4
"""Controls whose pictures are kept."""


def familiarity(
    model: Model,
    phrase: str,
    *,
    controls: Sequence[str] | None = None,
    contexts: Sequence[str] = CONTEXTS,
    classifiers: Sequence[str] | None = None,
    seeds: int | Sequence[int] = (0, 1),
    count: int = DEFAULT_CONTROLS,
    seed: int = 0,
    out: Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> FamiliarityResult:
    """Compare what a model draws of a name with what it draws of invented names.

    Args:
        model: The model.
        phrase: The name.
        controls: Names that nobody knows; by default they are invented, in the form of the phrase
            ("of" stays "of"), without its words and without words that the model has a token for.
        contexts: Templates with `{item}` where the name goes.
        classifiers: What classifies the pictures; by default the model's default classifiers.
        seeds: Seeds per context.
        count: How many names to invent, 99 or more.
        seed: Of the invented names.
        out: Folder for the result's page, and for names as they are drawn: the same call resumes,
            and other phrases share the controls.
        cache: Whether to keep samples, or where.
        progress: True for progress bars, or a callback.

    Returns:
        The verdict with its figures.

    Raises:
        EvidenceError: There are fewer than 99 controls, nothing that observes the pictures, or
            `out` has names of another plan.
        PromptError: The phrase is empty, or too long for a context.
        RegistryError: There is no such classifier.
    """
    (result,) = measure_familiarity(
        model,
        [phrase],
        controls=controls,
        contexts=contexts,
        classifiers=classifiers,
        seeds=seeds,
        count=count,
        seed=seed,
        out=out,
        cache=cache,
        progress=progress,
    )
    return result


def measure_familiarity(
    model: Model,
    phrases: Sequence[str],
    *,
    controls: Sequence[str] | None = None,
    contexts: Sequence[str] = CONTEXTS,
    classifiers: Sequence[str] | None = None,
    seeds: int | Sequence[int] = (0, 1),
    count: int = DEFAULT_CONTROLS,
    seed: int = 0,
    out: Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> list[FamiliarityResult]:
    """Measure `familiarity` of several phrases, each by itself beside the same controls.

    Args, Returns and Raises are those of `familiarity`.

    Args:
        phrases: The names, each compared with the controls alone and never with the others.

    Returns:
        One result a phrase, in their order.
    """
    contexts, numbers = check_contexts(contexts), check_seeds(seeds)
    observer = Observer.of(model, classifiers)
    controls_of = {
        phrase: _controls(model, phrase, phrases, controls, count, seed) for phrase in phrases
    }
    all_controls = [name for names in controls_of.values() for name in names]
    names = list(dict.fromkeys([*phrases, *all_controls]))
    # All names are checked before the first is drawn, since a hundred names take minutes.
    for name in names:
        for context in contexts:
            model.check_prompt(fill(context, name))
    store = ObservationStore(out, observer.plan(model, contexts, numbers))
    # Pictures of all controls would fill memory: those of a few are shown.
    pictured = {*phrases}.union(*(own_controls[:PICTURED] for own_controls in controls_of.values()))
    observations = {name: store.read(name, pictures=name in pictured) for name in names}
    with progress_bars(progress) as report:
        # Without progress of its own: the bar counts names, not the pictures of each.
        evaluator = Evaluator(model, cache)
        _observe(evaluator, observer, store, observations, contexts, numbers, pictured, report)
    complete = {name: each for name, each in observations.items() if each is not None}
    options = {"count": count, "seed": seed} | vars(model.defaults)
    provenance = provenance_of(model, options)
    results = [
        _compare(
            observer,
            complete[phrase],
            [complete[name] for name in own_controls],
            contexts,
            tuple(numbers),
            provenance,
        )
        for phrase, own_controls in controls_of.items()
    ]
    if out is not None:
        for result in results:
            result.write(phrase_folder(out, result.phrase))
    return results


def _controls(
    model: Model,
    phrase: str,
    phrases: Sequence[str],
    listed: Sequence[str] | None,
    count: int,
    seed: int,
) -> tuple[str, ...]:
    """The names that a phrase is compared with."""
    if not split_words(phrase):
        raise PromptError(f"The phrase is empty ({phrase!r}); write a name.")
    if listed is not None:
        names = check_controls(phrases, listed)
    else:
        words = len(content_words(phrase))
        # Other phrases of as many words are excluded too, so that phrases of one call share
        # controls.
        similar = [content_words(each) for each in phrases if len(content_words(each)) == words]
        exclude = [word for each in similar for word in each]
        exclude += [word.strip() for word in model.vocabulary()]
        invented = invent_names(count, words, seed=seed, exclude=exclude)
        names = tuple(match_form(name, phrase) for name in invented)
    if len(names) < MIN_CONTROLS:
        raise EvidenceError(
            f"{len(names)} controls are too few: p cannot come below 1 in {len(names) + 1}, and a "
            f"name is familiar at p ≤ {FAMILIAR_P}; give {MIN_CONTROLS} or more."
        )
    return names


def _observe(
    evaluator: Evaluator,
    observer: Observer,
    store: ObservationStore,
    observations: dict[str, Observation | None],
    contexts: Sequence[str],
    seeds: Sequence[int],
    pictured: set[str],
    progress: Progress,
) -> None:
    """Make the observations that are missing, and store each."""
    missing = [name for name, observation in observations.items() if observation is None]
    for completed, name in enumerate(missing, 1):
        observation = observer.observe(evaluator, name, contexts, seeds, pictures=name in pictured)
        observations[name] = observation
        store.write(observation)
        progress("drawing names", completed, len(missing))


def _compare(
    observer: Observer,
    phrase: Observation,
    controls: Sequence[Observation],
    contexts: Sequence[str],
    seeds: tuple[int, ...],
    provenance: Provenance,
) -> FamiliarityResult:
    """Compare a phrase, the first name of the pool, with its controls."""
    pool = [phrase, *controls]
    blocks = [np.stack([each.rates for each in pool]), np.stack([each.embedding for each in pool])]
    deviation = deviations([block for block in blocks if block.shape[2]])
    distance, consistency = distances(deviation), consistencies(deviation)
    # A median of 0, where no control differs, would divide by zero.
    median, p = float(np.median(distance[1:])) or 1.0, first_name_p(distance)
    norms = np.linalg.norm(deviation, axis=2)
    # Context by context, since pictures differ more in some contexts whatever the name.
    medians = np.median(norms[1:], 0)
    context_distances = norms[0] / np.where(medians > 0, medians, 1.0)
    effects = _context_effects(observer, phrase, controls)
    pictured = (phrase, *controls[:PICTURED])
    return FamiliarityResult(
        phrase=phrase.name,
        verdict=_verdict(p),
        p=p,
        distance=float(distance[0]) / median,
        consistency=_optional(consistency[:1])[0],
        contexts={
            context: ContextResult(float(context_distance), context_effects)
            for context, context_distance, context_effects in zip(
                contexts, context_distances, effects, strict=True
            )
        },
        controls=Controls(
            tuple(each.name for each in controls),
            tuple((distance[1:] / median).tolist()),
            _optional(consistency[1:]),
        ),
        classifiers=observer.accuracies(),
        embedding=observer.embedding,
        seeds=seeds,
        provenance=provenance,
        pictures={each.name: each.pictures for each in pictured if each.pictures is not None},
    )


def _verdict(p: float) -> Verdict:
    if p <= FAMILIAR_P:
        return "familiar"
    return "unfamiliar" if p > UNFAMILIAR_P else "undecided"


def _optional(values: Floats) -> tuple[float | None, ...]:
    """Numbers with None for NaN."""
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _context_effects(
    observer: Observer, phrase: Observation, controls: Sequence[Observation]
) -> list[tuple[ContextEffect, ...]]:
    """The effects of each context on the controls, with the phrase's own rates."""
    columns = {each: column for column, each in enumerate(observer.classes)}
    effects = find_context_effects(np.stack([each.hits for each in controls]), observer.classes)
    return [
        tuple(
            replace(effect, phrase_rate=float(rates[columns[effect.classifier, effect.label]]))
            for effect in context_effects
        )
        for rates, context_effects in zip(phrase.hits, effects, strict=True)
    ]
