"""The verb `familiarity`: does a model draw a name differently from names that nobody has read?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np

from clerestory.arguments import checked
from clerestory.checks import check_minimum
from clerestory.errors import EvidenceError, OptionError, PromptError
from clerestory.evaluation import CacheOption, Evaluator, fill
from clerestory.models import Model
from clerestory.models.core.text_windows import TextEncoder
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
    invent_like,
    split_words,
)
from clerestory.recognition.observation import NameSeeds, Observation, Observer
from clerestory.recognition.results import (
    NOT_SHOWN,
    ContextResult,
    Controls,
    FamiliarityResult,
    Power,
    Verdict,
    phrase_folder,
)
from clerestory.recognition.store import ObservationStore
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
from clerestory.stats.rate_intervals import rate_interval
from clerestory.types import Floats, Progress, ProgressOption

__all__ = ["FAMILIAR_P", "NOT_SHOWN_P", "familiarity", "measure_familiarity", "verdict_of"]

MIN_CONTROLS, DEFAULT_CONTROLS = 99, 199
"""With fewer controls p cannot be .01; of the default, one may be farther than a familiar name."""
FAMILIAR_P, NOT_SHOWN_P = 0.01, 0.1
"""A name is familiar up to the first p, and not shown to be familiar above the second."""
PICTURED = 4
"""Controls whose pictures are kept."""


@checked()
def familiarity(
    model: Model,
    phrase: str,
    *,
    controls: Sequence[str] | None = None,
    contexts: Sequence[str] = CONTEXTS,
    classifiers: Sequence[str] | None = None,
    known: Sequence[str] | None = None,
    seeds_per_item: int = 2,
    seeds: int | Sequence[int] | None = None,
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
            ("of" stays "of"), of as many tokens where there are such names, without its words and
            without words that the model has a token for.
        contexts: Templates with `{item}` where the name goes.
        classifiers: What classifies the pictures; by default the model's default classifiers.
        known: Names that the model knows, for the power; by default those of its profile. Names
            of another number of words than the phrase do not count.
        seeds_per_item: Number of seeds of each name, which its contexts share.
        seeds: The same seeds for every name, in place of seeds of its own.
        count: How many names to invent, 99 or more.
        seed: Of the invented names, and of the seeds of each name.
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
        known=known,
        seeds_per_item=seeds_per_item,
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
    known: Sequence[str] | None = None,
    seeds_per_item: int = 2,
    seeds: int | Sequence[int] | None = None,
    count: int = DEFAULT_CONTROLS,
    seed: int = 0,
    out: Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> list[FamiliarityResult]:
    """Measure `familiarity` of several phrases, each by itself beside its controls.

    Phrases of the same form, with as many words and tokens, have the same controls.

    Args, Returns and Raises are those of `familiarity`.

    Args:
        phrases: The names, each compared with the controls alone and never with the others.

    Returns:
        One result a phrase, in their order.
    """
    check_minimum(OptionError, 1, count=count, seeds_per_item=seeds_per_item)
    contexts = check_contexts(contexts)
    name_seeds = NameSeeds.of(seeds, seeds_per_item, seed)
    # Before names are invented: a model without anything to observe is refused at once.
    observer = Observer.of(model, classifiers)
    for phrase in phrases:
        _check_phrase(model, phrase, contexts)
    if out is not None:
        ObservationStore.check_folder(out)
    controls_of = {
        phrase: _controls(model, phrase, phrases, controls, count, seed) for phrase in phrases
    }
    known_of = {
        phrase: _known_names(model, phrase, own_controls, known)
        for phrase, own_controls in controls_of.items()
    }
    # Each name once: phrases of one call share controls, which take most of the time.
    names = list(dict.fromkeys(chain(phrases, *controls_of.values(), *known_of.values())))
    # All names are checked before the first is drawn, since a hundred names take minutes.
    for name in names:
        for context in contexts:
            model.check_prompt(fill(context, name))
    store = ObservationStore(out, observer.plan(model, contexts, name_seeds))
    # Pictures of all controls would fill memory: those of a few are shown.
    pictured = {*phrases}.union(*(own_controls[:PICTURED] for own_controls in controls_of.values()))
    observations = {name: store.read(name, pictures=name in pictured) for name in names}
    with progress_bars(progress) as report:
        # Without progress of its own: the bar counts names, not the pictures of each.
        evaluator = Evaluator(model, cache)
        _observe(evaluator, observer, store, observations, contexts, name_seeds, pictured, report)
    # All are there by now; the filter tells the type checker so.
    complete = {name: each for name, each in observations.items() if each is not None}
    options = {"count": count, "seed": seed} | vars(model.defaults)
    provenance = provenance_of(model, options)
    results = [
        _compare(
            observer,
            complete[phrase],
            [complete[name] for name in own_controls],
            [complete[name] for name in known_of[phrase]],
            contexts,
            count_matched(model, phrase, own_controls),
            name_seeds,
            provenance,
        )
        for phrase, own_controls in controls_of.items()
    ]
    if out is not None:
        for result in results:
            result.write(phrase_folder(out, result.phrase))
    return results


def _check_phrase(model: Model, phrase: str, contexts: Sequence[str]) -> None:
    """Check a phrase before names like it are invented: of a hundred words that takes minutes."""
    if not split_words(phrase):
        raise PromptError(f"The phrase is empty ({phrase!r}); write a name.")
    for context in contexts:
        model.check_prompt(fill(context, phrase))


def _controls(
    model: Model,
    phrase: str,
    phrases: Sequence[str],
    listed: Sequence[str] | None,
    count: int,
    seed: int,
) -> tuple[str, ...]:
    """The names that a phrase is compared with."""
    if listed is not None:
        names = check_controls(phrases, listed)
    else:
        words = len(content_words(phrase))
        # Other phrases of as many words are excluded too, so that phrases of one call share
        # controls.
        similar = [content_words(each) for each in phrases if len(content_words(each)) == words]
        exclude = [word for each in similar for word in each]
        # A word of the tokenizer has been read in training, so it is not invented.
        exclude += [word.strip() for word in model.vocabulary()]
        names = invent_like(phrase, count, token_counter(model), seed=seed, exclude=exclude)
    if len(names) < MIN_CONTROLS:
        raise EvidenceError(
            f"{len(names)} controls are too few: p cannot come below 1 in {len(names) + 1}, and a "
            f"name is familiar at p ≤ {FAMILIAR_P}; give {MIN_CONTROLS} or more."
        )
    return names


def token_counter(model: Model) -> Callable[[Sequence[str]], list[tuple[int, ...]]] | None:
    """Count the tokens of names.

    Args:
        model: The model.

    Returns:
        A function that returns the numbers of tokens of each name, one for each text encoder, since
        names of one length in CLIP may differ in T5; None without a text encoder.
    """
    windows = model.family.text_windows.values()
    encoders = [window for window in windows if isinstance(window, TextEncoder)]
    if not encoders:
        return None

    def count(names: Sequence[str]) -> list[tuple[int, ...]]:
        by_encoder = [map(len, encoder.token_ids(names)) for encoder in encoders]
        return list(zip(*by_encoder, strict=True))

    return count


def count_matched(model: Model, phrase: str, controls: Sequence[str]) -> int | None:
    """Count the controls that have as many words and tokens as the phrase.

    Args:
        model: The model.
        phrase: The phrase.
        controls: Its controls.

    Returns:
        How many; None where the model has no text encoder.
    """
    count_tokens = token_counter(model)
    if count_tokens is None:
        return None
    names = [phrase, *controls]
    words = [len(split_words(name)) for name in names]
    # The first is the phrase's own.
    target, *lengths = zip(count_tokens(names), words, strict=True)
    return lengths.count(target)


def _known_names(
    model: Model, phrase: str, controls: Sequence[str], listed: Sequence[str] | None
) -> tuple[str, ...]:
    """Known names with as many words as the phrase, without the phrase and its controls."""
    names = model.profile.known_names() if listed is None else listed
    words = len(content_words(phrase))
    others = {" ".join(split_words(each)) for each in (phrase, *controls)}
    return tuple(
        name
        for name in dict.fromkeys(names)
        if len(content_words(name)) == words and " ".join(split_words(name)) not in others
    )


def _observe(
    evaluator: Evaluator,
    observer: Observer,
    store: ObservationStore,
    observations: dict[str, Observation | None],
    contexts: Sequence[str],
    seeds: NameSeeds,
    pictured: set[str],
    progress: Progress,
) -> None:
    """Make the observations that are missing, and store each."""
    missing = [name for name, observation in observations.items() if observation is None]
    for completed, name in enumerate(missing, 1):
        observation = observer.observe(
            evaluator, name, contexts, seeds(name), pictures=name in pictured
        )
        observations[name] = observation
        # Each as soon as it is made, so that a killed call loses one name at most.
        store.write(observation)
        progress("drawing names", completed, len(missing))


def _compare(
    observer: Observer,
    phrase: Observation,
    controls: Sequence[Observation],
    known_names: Sequence[Observation],
    contexts: Sequence[str],
    matched: int | None,
    seeds: NameSeeds,
    provenance: Provenance,
) -> FamiliarityResult:
    """Compare a phrase, the first name of the pool, with its controls."""
    deviation = _deviations([phrase, *controls])
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
        verdict=verdict_of(p),
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
            matched,
        ),
        power=_power(known_names, controls),
        classifiers=observer.accuracies(),
        embedding=observer.embedding,
        seeds=seeds.explicit,
        seeds_per_item=seeds.per_item,
        provenance=provenance,
        pictures={each.name: each.pictures for each in pictured if each.pictures is not None},
    )


def _deviations(pool: Sequence[Observation]) -> Floats:
    blocks = [np.stack([each.rates for each in pool]), np.stack([each.embedding for each in pool])]
    # Without classifiers, or without an embedding, that block has no columns.
    return deviations([block for block in blocks if block.shape[2]])


def _power(known_names: Sequence[Observation], controls: Sequence[Observation]) -> Power | None:
    """The test of the phrase, on each known name; None for fewer than two."""
    if len(known_names) < 2:
        return None
    # Each by itself among the same controls, as the phrase is tested.
    p = [first_name_p(distances(_deviations([name, *controls]))) for name in known_names]
    familiar = np.array([value <= FAMILIAR_P for value in p], np.float64)
    low, high = rate_interval(familiar)
    return Power(
        names=tuple(each.name for each in known_names),
        p=tuple(p),
        familiar=int(familiar.sum()),
        share=float(familiar.mean()),
        interval=(low, high),
    )


def verdict_of(p: float) -> Verdict:
    """The verdict that follows from a p-value.

    Args:
        p: As in `FamiliarityResult`.

    Returns:
        The verdict.
    """
    if p <= FAMILIAR_P:
        return "familiar"
    return NOT_SHOWN if p > NOT_SHOWN_P else "undecided"


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
