"""Two lists of prompts, and where, when and from which sample the pictures of one differ.

    lost = trace(model, cats, moose, "lancet:style", "stained glass")
    lost.sentences()

No findings are needed: what some blocks make of each prompt of the one list is put into the
prompt that stands at its place in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from clerestory.causal.results import Causes, change
from clerestory.causal.seed_patching import swapped
from clerestory.causal.tracing import when, where
from clerestory.causal.trials import Drawn, Tell, Trials
from clerestory.classifiers import Classifier, ClassifierHead
from clerestory.classifiers import classifier as named
from clerestory.errors import EvidenceError, RegistryError
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds
from clerestory.registry import suggest

__all__ = ["OF_A_MAP", "judge_of", "rest_of", "said_by", "trace", "traced"]

OF_A_MAP = 12
"""Contents that each range of a map is drawn with."""


def trace(
    model: Model,
    shown: Sequence[str],
    absent: Sequence[str],
    classifier: str | Classifier,
    shows: str,
    *,
    seeds: int | Sequence[int] = 0,
    others: Sequence[str] | None = None,
    progress: Tell | None = None,
) -> Causes:
    """Maps of what makes `classifier` see the class `shows` with the one list, not with the other.

    The two lists have as many prompts, matched by their places. `others` as in `verify`.
    EvidenceError where they do not match, or are fewer than two.
    """
    if len(shown) != len(absent) or len(shown) < 2:
        raise EvidenceError(
            f"{len(shown)} prompts show it and {len(absent)} do not: give as many of each, at "
            "least 2."
        )
    judge = judge_of(classifier, shows)
    pairs = pd.DataFrame({"shown": list(shown), "absent": list(absent)})
    lengths = pairs.map(lambda prompt: len(model.tokenize(prompt)))
    trials = Trials(
        model=model,
        pairs=pairs.assign(content=pairs["shown"], fits=lengths["shown"] == lengths["absent"]),
        seeds=tuple(check_seeds(seeds)),
        judge=judge,
        shows=shows,
        tell=progress or (lambda what, done, of: None),
        others={name: named(name) for name in (rest_of(judge) if others is None else others)},
    )
    (before,), (said,) = trials.draw("as it is", "absent"), trials.draw("as said", "shown")
    warnings, maps = traced(trials)
    return Causes(
        classifier=judge.source,
        shows=shows,
        contents=len(pairs),
        unedited=float(before.shows.mean()),
        **said_by(trials, before, said),
        warnings=tuple(warnings),
        **maps,
    )


def said_by(trials: Trials, unedited: Drawn, said: Drawn) -> dict[str, Any]:
    """What the prompts with the concept do, and what they keep."""
    words = change(said.shows, unedited.shows)
    return {"words": words, "words_keep": trials.kept(said, unedited)}


def traced(trials: Trials) -> tuple[Sequence[str], dict[str, Any]]:
    """Where, when and from which sample the concept comes; what stands against the maps."""
    found, warnings = where(trials, OF_A_MAP)
    steps = when(trials, OF_A_MAP)
    swaps = swapped(trials, OF_A_MAP)
    return warnings, {"where": tuple(found), "when": tuple(steps), "swaps": tuple(swaps)}


def judge_of(classifier: str | Classifier, shows: str) -> Classifier:
    """The classifier; RegistryError where it has no class of that name."""
    judge = named(classifier) if isinstance(classifier, str) else classifier
    if shows not in judge.classes:
        hint = suggest(shows, judge.classes)
        raise RegistryError(f"{judge.source} has no class {shows!r}.{hint}")
    return judge


def rest_of(judge: Classifier) -> list[str]:
    """The network's other heads, where the classifier is one of several."""
    return list(judge.companions) if isinstance(judge, ClassifierHead) else []
