"""Does a model know a name? Its pictures beside those of made-up names, over contexts and seeds.

found = familiarity(clerestory.load("lancet"), "alexandra elbakyan")
found.verdict, found.p                              # 'unfamiliar', 0.62
found.contexts["{item} with a raven"].made[0]          # what the raven makes of who nobody knows
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.errors import EvidenceError, PromptError
from clerestory.evaluation import CacheOption, Evaluator, fill
from clerestory.models import Model, check_seeds
from clerestory.recognition import contexts as places
from clerestory.recognition.cache import Kept
from clerestory.recognition.contexts import Made
from clerestory.recognition.distances import chance, consistencies, deviations, distances
from clerestory.recognition.names import content_of, controls_of, like, made_up, words_of
from clerestory.recognition.observation import Eyes, Seen, plan_of
from clerestory.recognition.results import Beside, Context, Familiarity

__all__ = ["LEAST", "USUAL", "familiarities", "familiarity"]

LEAST, USUAL = 99, 199
"""With fewer controls no p can be .01; of the usual one may lie as far as a familiar name."""
KNOWN, UNKNOWN = 0.01, 0.1
"""p up to which a name is familiar, and above which it is unfamiliar."""
SHOWN = 4
"""Controls whose pictures are shown beside the phrase's."""
Progress = Callable[[str, int, int], None]
Announce = Callable[[str], None]


def familiarity(model: Model, phrase: str, **how: Any) -> Familiarity:
    """Hold what a model draws of a phrase to what it draws of names that nobody knows.

    `how` is as in `familiarities`.
    """
    return familiarities(model, [phrase], **how)[0]


def familiarities(
    model: Model,
    phrases: Sequence[str],
    *,
    controls: Sequence[str] | None = None,
    contexts: Sequence[str] = places.CONTEXTS,
    classifiers: Sequence[str] | None = None,
    seeds: int | Sequence[int] = (0, 1),
    count: int = USUAL,
    seed: int = 0,
    out: Path | None = None,
    cache: CacheOption = True,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> list[Familiarity]:
    """`familiarity` of several phrases, each by itself beside the same controls.

    `controls` are names that nobody knows, by default `count` made up by `seed` in the form of the
    phrase ("of" stays "of"), without its words and those that the model has a token of. Each is
    drawn in every context with every seed; `classifiers` of set b look, by default Lancet's for
    Lancet. With `out` the names are kept as they come: the same call goes on after a kill, and
    other phrases use the same controls. `announce` is told what it will take. EvidenceError for
    fewer than 99 controls, PromptError for a phrase that cannot be drawn.
    """
    settings, numbers = places.checked(contexts), check_seeds(seeds)
    eyes = Eyes.of(model, classifiers)
    beside = {one: _controls(model, one, phrases, controls, count, seed) for one in phrases}
    every = list(dict.fromkeys([*phrases, *(name for names in beside.values() for name in names)]))
    for name in every:
        for setting in settings:
            model.check_prompt(fill(setting, name))
    kept = Kept(out, plan_of(model, eyes, settings, numbers))
    shown = {*phrases, *(name for names in beside.values() for name in names[:SHOWN])}
    evaluator = Evaluator(model, cache)
    seen = _seen(evaluator, eyes, kept, every, settings, numbers, shown, progress, announce)
    about: dict[str, Any] = {"model": model.name, "revision": model.revision}
    about |= {"seeds": list(numbers), "embedding": eyes.embeds}
    return [
        _judged(eyes, seen[phrase], [seen[name] for name in names], settings, about)
        for phrase, names in beside.items()
    ]


def _controls(
    model: Model,
    phrase: str,
    phrases: Sequence[str],
    listed: Sequence[str] | None,
    count: int,
    seed: int,
) -> tuple[str, ...]:
    """The names that a phrase is held to; EvidenceError where they are too few to tell."""
    if not words_of(phrase):
        raise PromptError(f"The phrase is empty ({phrase!r}); write the name that is asked about.")
    if listed is not None:
        names = controls_of(phrases, listed)
    else:
        words = len(content_of(phrase))
        alike = [content_of(one) for one in phrases if len(content_of(one)) == words]
        without = [word for one in alike for word in one]
        known = [word.strip() for word in model.vocabulary()]
        plain = made_up(count, words, seed=seed, without=[*without, *known])
        names = tuple(like(name, phrase) for name in plain)
    if len(names) < LEAST:
        raise EvidenceError(
            f"{len(names)} controls are too few: p cannot come below 1 in {len(names) + 1}, and a "
            f"name is familiar at p ≤ {KNOWN}; give {LEAST} or more."
        )
    return names


def _seen(
    evaluator: Evaluator,
    eyes: Eyes,
    kept: Kept,
    names: Sequence[str],
    contexts: Sequence[str],
    seeds: Sequence[int],
    shown: set[str],
    progress: Progress | None,
    announce: Announce | None,
) -> dict[str, Seen]:
    """Every name, from what was kept or drawn now; a forecast once the second is drawn."""
    found = {name: kept.get(name, shown=name in shown) for name in names}
    new = [name for name, own in found.items() if own is None]
    for at, name in enumerate(new):
        began = time.perf_counter()
        seen = eyes.look(evaluator, name, contexts, seeds, show=name in shown)
        found[name] = seen
        kept.keep(seen)
        if at == min(1, len(new) - 1) and announce is not None:
            each, left = time.perf_counter() - began, len(new) - at - 1
            announce(f"{left} names more at {each:.1f} s each: about {_said(each * left)}.")
        if progress is not None:
            progress("drawing names", at + 1, len(new))
    return {name: own for name, own in found.items() if own is not None}


def _said(seconds: float) -> str:
    unit, scale = ("s", 1) if seconds < 100 else ("min", 60) if seconds < 6000 else ("h", 3600)
    return f"{seconds / scale:.0f} {unit}"


def _judged(
    eyes: Eyes,
    asked: Seen,
    controls: Sequence[Seen],
    contexts: Sequence[str],
    about: Mapping[str, Any],
) -> Familiarity:
    """One phrase, the pool's first name, beside its controls."""
    pool = [asked, *controls]
    blocks = [np.stack([one.rates for one in pool]), np.stack([one.embedding for one in pool])]
    away = deviations([block for block in blocks if block.shape[2]])
    far, alike = distances(away), consistencies(away)
    unit, p = float(np.median(far[1:])) or 1.0, chance(far)
    lengths = np.linalg.norm(away, axis=2)
    apart = lengths[0] / np.where(np.median(lengths[1:], 0) > 0, np.median(lengths[1:], 0), 1.0)
    made = _made(eyes, asked, controls)
    return Familiarity(
        phrase=asked.name,
        verdict="familiar" if p <= KNOWN else "unfamiliar" if p > UNKNOWN else "undecided",
        p=p,
        distance=float(far[0]) / unit,
        consistency=float(alike[0]),
        contexts={
            context: Context(float(apart[at]), made[at]) for at, context in enumerate(contexts)
        },
        controls=Beside(tuple(one.name for one in controls), far[1:] / unit, alike[1:]),
        right=eyes.errors(),
        about=about,
        seen=asked,
        shown=tuple(controls[:SHOWN]),
    )


def _made(eyes: Eyes, asked: Seen, controls: Sequence[Seen]) -> list[tuple[Made, ...]]:
    """What each context makes of the controls, beside the phrase's own rates."""
    columns = {name: at for at, name in enumerate(eyes.classes)}
    made = places.made_of(np.stack([one.hits for one in controls]), eyes.classes)
    return [
        tuple(one.beside(float(rates[columns[one.classifier, one.shows]])) for one in own)
        for rates, own in zip(asked.hits, made, strict=True)
    ]
