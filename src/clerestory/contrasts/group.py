"""Groups of pictures: find what the pictures of one class share, from random prompts.

    groups = group(recording, classifier="lancet:mood", control="place")
    groups["scared"].units[0].unit
    verify(groups.findings("scared"), model, classifier="lancet:mood", label="scared")

The prompt is the replicate; it belongs to a group if all its samples do. Each is paired at random
with a prompt none of whose samples do, within strata of the controlled columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clerestory.classifiers import load_classifier
from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.contrast import contrast, provenance
from clerestory.contrasts.find import find
from clerestory.contrasts.findings import Findings
from clerestory.contrasts.group_units import (
    PromptValues,
    group_with_figures,
    split_prompts_by_class,
)
from clerestory.contrasts.groups import Groups
from clerestory.contrasts.pairs import HALVES, pair_samples
from clerestory.contrasts.predictions import PASSED, PictureClassifiers
from clerestory.contrasts.samples import random_halves, split_names
from clerestory.errors import EmptyArmError, EvidenceError, RegistryError
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["group"]

# With five pairs the least p of a signed-rank test is 2 / 2⁵ = 0.06: nothing can be found.
MIN_PROMPTS = 6
"""Prompts of a half below which a class makes no group."""
PREDICTION, CONFIDENCE = "predicted.group", "predicted.group.confidence"


def group(
    recording: Recording,
    *,
    classifier: str,
    classes: Sequence[str] = (),
    min_confidence: float = 0.0,
    picture_filter: str | None = None,
    control: str | Sequence[str] = (),
    within: str | None = None,
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    progress: ProgressOption = True,
) -> Groups:
    """Group a recording's pictures by predicted class; find what separates each group.

    The selection classifier labels the selection half, the evaluation classifier the other.

    Args:
        recording: A recording with pictures.
        classifier: The name of the classifier.
        classes: The classes to compare; by default all that have enough prompts.
        min_confidence: Pictures whose prediction is less probable are left out.
        picture_filter: `CLASSIFIER=CLASS`: other pictures are left out.
        control: Columns, or classifiers such as `lancet:place`, within whose levels prompts are
            compared.
        within: `prompt` to contrast the seeds of each prompt that have several classes instead.
        top: How many neurons are reported of each group.
        flips: Number of sign-flip replicates used to count false discoveries under the null.
        seed: Random seed of halves, partners, bootstraps and flips.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The groups.

    Raises:
        EvidenceError: There is no group, or nothing to compare it with.
        RegistryError: The classifier has no such class.
    """
    chosen, controlled = _classes(classifier, classes), _controlled(control, within)
    samples, warnings, pictures = _samples(
        recording, classifier, chosen, min_confidence, picture_filter, controlled, seed
    )
    usable, mixed = _agreement(samples)
    excluded = int((~usable).sum())
    options: dict[str, Any] = {"top": top, "flips": flips, "seed": seed}
    with progress_bars(progress) as report:
        run_options = {**options, "progress": report}
        if within is not None:
            # Seeds are compared, so only the unusable ones are left out.
            samples = samples[samples["usable"]]
            run_options |= {"within": within, "picture_filter": picture_filter}
            found = _within_prompts(recording, classifier, chosen, min_confidence, run_options)
        else:
            # The prompt is the replicate: one unusable seed leaves all of it out.
            samples = samples[samples["prompt"].map(usable)]
            names = _large_classes(samples, chosen)
            found = _between_prompts(recording, samples, names, controlled, run_options, warnings)
    model = recording.manifest["plan"]["model"]
    origin = provenance(
        model["name"],
        model["weights"],
        classifier=classifier,
        classes=list(classes),
        min_confidence=min_confidence,
        picture_filter=picture_filter,
        control=list(controlled),
        within=within,
        **options,
    )
    values = PromptValues(recording, samples, controlled, within is not None)
    checks = pictures.checks()
    found = {
        name: replace(
            findings,
            classifiers=checks,
            # Within prompts `find` has noted queries and options already.
            provenance=origin if within is None else findings.provenance,
        )
        for name, findings in found.items()
    }
    return Groups(
        classifier=classifier,
        groups={
            name: group_with_figures(name, findings, values, list(found))
            for name, findings in found.items()
        },
        mixed=mixed,
        excluded=excluded,
        controlled=controlled,
        within=within,
        warnings=tuple(dict.fromkeys([*warnings, *_group_warnings(found)])),
        samples=samples,
        provenance=origin,
    )


def _group_warnings(found: Mapping[str, Findings]) -> list[str]:
    """Warnings of the groups' findings."""
    return [
        f"Group {name!r}: {warning}"
        for name, findings in found.items()
        for warning in findings.warnings
    ]


def _controlled(control: str | Sequence[str], within: str | None) -> tuple[str, ...]:
    if within not in (None, "prompt"):
        raise EvidenceError(f"within is {within!r}; expected 'prompt' or None.")
    if within is not None and control:
        raise EvidenceError("`control` cannot be combined with within='prompt'.")
    return split_names(control)


def _classes(classifier: str, classes: Sequence[str]) -> tuple[str, ...]:
    known = load_classifier(classifier).classes
    for name in classes:
        if name not in known:
            raise RegistryError(f"{classifier} has no class {name!r}.{suggest(name, known)}")
    return tuple(dict.fromkeys(classes)) or known


def _samples(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    picture_filter: str | None,
    control: Sequence[str],
    seed: int,
) -> tuple[pd.DataFrame, list[str], PictureClassifiers]:
    """A row for each good sample, indexed by position; warnings; the classifiers.

    `group` is the predicted class, `usable` whether it is one of `classes`, predicted with enough
    confidence and passed by the filter, `level` the levels of all that is controlled, as one.
    """
    # Names of classifiers contain signs that columns of queries cannot have: they are numbered.
    columns = {f"c{at}": name for at, name in enumerate(control) if ":" in name}
    for name in control:
        if ":" not in name:
            _column(recording.samples, name)
    pictures = PictureClassifiers(recording, {"group": classifier, **columns}, picture_filter)
    labels = pictures.predictions()
    recorded = recording.samples.iloc[recording.rows].reset_index(names="sample")
    # By prompt: seeds of one prompt are not independent of each other.
    half = random_halves(recorded["prompt"], np.random.default_rng(seed))
    table = recorded[["sample", "prompt", "seed"]].assign(half=half, level="")
    parts = []
    for name in HALVES:
        # Each half is labelled by its own classifier.
        rows = (table["half"] == name).to_numpy()
        predictions = labels[name][rows]
        part = table[rows].assign(group=predictions[PREDICTION].to_numpy())
        for at, factor in enumerate(control):
            column = (
                predictions[f"predicted.c{at}"]
                if ":" in factor
                else _column(recorded, factor)[rows]
            )
            part[f"={factor}"] = column.astype(str).to_numpy()
            part["level"] += "\n" + part[f"={factor}"]
        usable = predictions[CONFIDENCE] >= min_confidence
        usable &= predictions[PREDICTION].isin(classes)
        if PASSED in predictions:
            usable &= predictions[PASSED]
        parts.append(part.assign(usable=usable.to_numpy()))
    return pd.concat(parts).sort_index(), pictures.warnings(), pictures


def _agreement(samples: pd.DataFrame) -> tuple[pd.Series[bool], dict[str, tuple[str, ...]]]:
    """By prompt whether all seeds are usable and alike in what is controlled; the mixed ones."""
    by_prompt = samples.groupby("prompt")
    usable = by_prompt["usable"].all() & by_prompt["level"].nunique().eq(1)
    classes = by_prompt["group"].unique()
    mixed = {
        str(prompt): tuple(map(str, names)) for prompt, names in classes.items() if len(names) > 1
    }
    return usable, mixed


def _column(table: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(
            f"There is no column {name!r} to control; a classifier of pictures is named with its "
            f"family, as FAMILY:{name}.{hint}"
        )
    return table[name]


def _large_classes(samples: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The classes with enough prompts of them and not of them in both halves."""
    prompts = {name: split_prompts_by_class(samples, name) for name in classes}
    half_of = samples.drop_duplicates("prompt").set_index("prompt")["half"]
    large = [
        name
        for name, sides in prompts.items()
        if all(
            int((half_of[list(side)] == half).sum()) >= MIN_PROMPTS
            for side in sides
            for half in HALVES
        )
    ]
    if not large:
        sizes = ", ".join(
            f"{name}: {len(members)}" for name, (members, _) in prompts.items() if len(members)
        )
        raise EvidenceError(
            f"No class has {MIN_PROMPTS} prompts in each half, and as many without it (prompts: "
            f"{sizes or 'none'}). Record more of them, or control fewer columns."
        )
    return large


def _between_prompts(
    recording: Recording,
    samples: pd.DataFrame,
    names: Sequence[str],
    controlled: Sequence[str],
    options: Mapping[str, Any],
    warnings: list[str],
) -> dict[str, Findings]:
    """Each group's prompts against partners from the others; too few partners are warned of."""
    found = {}
    for name in names:
        # The same seed for every group: a group's partners do not depend on the other groups.
        pairs = _partners(samples, name, controlled, np.random.default_rng(options["seed"]))
        counts = pairs.groupby("half")["item"].nunique().reindex(HALVES, fill_value=0)
        if counts.min() < MIN_PROMPTS:
            warnings.append(
                f"Group {name!r} is left out: fewer than {MIN_PROMPTS} of its prompts in a half "
                "have a partner that is alike in what is controlled."
            )
            continue
        activations = RecordedActivations(recording, pairs.index.to_numpy())
        pairs = pairs.reset_index(drop=True)
        # Random prompts have no templates, so their number is no reason for a warning.
        pairing = replace(pair_samples(pairs, separate_templates=False), template_counts={})
        found[name] = contrast(
            activations, pairs, pairing=pairing, units=activations.units, **options
        )
    if not found:
        raise EvidenceError(f"{warnings[-1]} Control less, or record more.")
    return found


def _partners(
    samples: pd.DataFrame, name: str, controlled: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Samples as `pair_samples` takes them, an item for each pair of prompts."""
    inside, outside = split_prompts_by_class(samples, name)
    prompts = samples.drop_duplicates("prompt").set_index("prompt")
    items: dict[str, tuple[str, str]] = {}
    for _, stratum in prompts.groupby(["half", *(f"={factor}" for factor in controlled)]):
        members = rng.permutation(stratum.index[stratum.index.isin(inside)])
        partners = rng.permutation(stratum.index[stratum.index.isin(outside)])
        # The rest of the larger side has no partner and is dropped.
        for member, partner in zip(members, partners, strict=False):
            items[member], items[partner] = (member, "positive"), (member, "negative")
    used = samples[samples["prompt"].isin(items)]
    sides = [items[prompt] for prompt in used["prompt"]]
    arms = [arm for _, arm in sides]
    return used.assign(item=[item for item, _ in sides], arm=arms, template=arms)


def _within_prompts(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    options: Mapping[str, Any],
) -> dict[str, Findings]:
    """Each class that has prompts of which some seeds are of it, and others are not."""
    found = {}
    confident = f"{CONFIDENCE} >= {min_confidence}"
    for name in classes:
        others = [other for other in classes if other != name]
        # Skip a class that never shares a prompt with another class.
        with contextlib.suppress(EmptyArmError):
            found[name] = find(
                recording,
                positive=f"{PREDICTION} == {name!r} and {confident}",
                negative=f"{PREDICTION} in {others!r} and {confident}",
                classifiers={"group": classifier},
                **options,
            )
    if not found:
        raise EvidenceError("No prompt has seeds of two classes: record more seeds of each.")
    return found
