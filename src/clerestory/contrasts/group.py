"""Groups of pictures: find the units that separate pictures of one class, from random prompts.

    groups = group(recording, classifier="lancet:mood", control="place")
    groups["scared"].units[0].unit
    verify(groups.findings("scared"), model, classifier="lancet:mood", label="scared")

The prompt is the replicate. It belongs to a group if all of its samples have the class, and is
paired at random with a prompt of which no sample has it, within levels of the controlled columns.
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

# With five pairs the smallest p of a signed-rank test is 2 / 2⁵ = 0.06: nothing can be found.
MIN_PROMPTS = 6
"""Number of prompts in each half below which a class makes no group."""
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
    """Group the pictures of a recording by predicted class, and find what separates each group.

    The selection classifier labels the selection half, the evaluation classifier the other half.

    Args:
        recording: A recording with pictures.
        classifier: Name of the classifier.
        classes: Classes to compare; by default all that have enough prompts.
        min_confidence: Probability of the predicted class below which a picture is left out.
        picture_filter: `CLASSIFIER=CLASS`; other pictures are left out.
        control: Columns, or classifiers such as `lancet:place`, within whose levels prompts are
            compared.
        within: `prompt` to contrast the seeds of each prompt instead of prompts.
        top: Number of neurons to report for each group.
        flips: Number of sign-flip replicates used to count false discoveries under the null.
        seed: Random seed of halves, partners, bootstraps and flips.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The groups.

    Raises:
        EvidenceError: There is no group, or nothing to compare it with.
        RegistryError: The classifier has no such class.
    """
    selected, controlled = _check_classes(classifier, classes), _check_control(control, within)
    samples, pictures = _label_samples(
        recording, classifier, selected, min_confidence, picture_filter, controlled, seed
    )
    warnings = pictures.warnings()
    usable, mixed = _usable_and_mixed_prompts(samples)
    options: dict[str, Any] = {"top": top, "flips": flips, "seed": seed}
    with progress_bars(progress) as report:
        run_options = {**options, "progress": report}
        if within is not None:
            # Seeds are compared, so only the unusable ones are left out.
            samples = samples[samples["usable"]]
            run_options |= {"within": within, "picture_filter": picture_filter}
            findings = _within_prompts(recording, classifier, selected, min_confidence, run_options)
        else:
            # The prompt is the replicate: one unusable seed excludes all of its seeds.
            samples = samples[samples["prompt"].map(usable)]
            names = _large_classes(samples, selected)
            findings = _between_prompts(
                recording, samples, names, controlled, run_options, warnings
            )
    model = recording.manifest["plan"]["model"]
    group_provenance = provenance(
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
    findings = {
        name: replace(
            found,
            classifiers=checks,
            # Within prompts, `find` has set the provenance with its queries.
            provenance=group_provenance if within is None else found.provenance,
        )
        for name, found in findings.items()
    }
    warnings += [
        f"Group {name!r}: {warning}"
        for name, found in findings.items()
        for warning in found.warnings
    ]
    return Groups(
        classifier=classifier,
        groups={
            name: group_with_figures(name, found, values, list(findings))
            for name, found in findings.items()
        },
        mixed=mixed,
        excluded=int((~usable).sum()),
        controlled=controlled,
        within=within,
        warnings=tuple(dict.fromkeys(warnings)),
        samples=samples,
        provenance=group_provenance,
    )


def _check_control(control: str | Sequence[str], within: str | None) -> tuple[str, ...]:
    """The names of the controlled columns and classifiers."""
    if within not in (None, "prompt"):
        raise EvidenceError(f"within is {within!r}; expected 'prompt' or None.")
    if within is not None and control:
        raise EvidenceError("`control` cannot be combined with within='prompt'.")
    return split_names(control)


def _check_classes(classifier: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The distinct classes to compare; all classes of the classifier by default."""
    known = load_classifier(classifier).classes
    for name in classes:
        if name not in known:
            raise RegistryError(f"{classifier} has no class {name!r}.{suggest(name, known)}")
    return tuple(dict.fromkeys(classes)) or known


def _label_samples(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    picture_filter: str | None,
    control: Sequence[str],
    seed: int,
) -> tuple[pd.DataFrame, PictureClassifiers]:
    """Label every sample of a recording.

    Returns:
        A row for each sample, indexed by position in `Recording.rows`, and the classifiers. In the
        table `group` is the predicted class, `=NAME` the level of a controlled column, `level` the
        levels of all of them together, and `usable` whether the class is one of `classes`, its
        probability high enough and the picture not filtered out.
    """
    # Numbered, since names of columns in queries cannot contain the colon of a classifier's name.
    columns = {f"c{index}": name for index, name in enumerate(control) if ":" in name}
    for name in control:
        if ":" not in name:
            _column(recording.samples, name)
    pictures = PictureClassifiers(recording, {"group": classifier, **columns}, picture_filter)
    labels = pictures.predictions()
    recorded = recording.samples.iloc[recording.rows].reset_index(names="sample")
    # By prompt, since the seeds of one prompt are not independent of each other.
    half = random_halves(recorded["prompt"], np.random.default_rng(seed))
    table = recorded[["sample", "prompt", "seed"]].assign(half=half, level="")
    parts = []
    for name in HALVES:
        # Each half is labelled by its own classifier.
        rows = (table["half"] == name).to_numpy()
        predictions = labels[name][rows]
        part = table[rows].assign(group=predictions[PREDICTION].to_numpy())
        for index, factor in enumerate(control):
            if ":" in factor:
                column = predictions[f"predicted.c{index}"]
            else:
                column = _column(recorded, factor)[rows]
            part[f"={factor}"] = column.astype(str).to_numpy()
            part["level"] += "\n" + part[f"={factor}"]
        usable = predictions[CONFIDENCE] >= min_confidence
        usable &= predictions[PREDICTION].isin(classes)
        if PASSED in predictions:
            usable &= predictions[PASSED]
        parts.append(part.assign(usable=usable.to_numpy()))
    return pd.concat(parts).sort_index(), pictures


def _usable_and_mixed_prompts(
    samples: pd.DataFrame,
) -> tuple[pd.Series[bool], dict[str, tuple[str, ...]]]:
    """Whether all seeds of each prompt are usable and have one level; the classes of mixed ones."""
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
    """The classes with enough prompts in them, and outside of them, in both halves."""
    prompts = {name: split_prompts_by_class(samples, name) for name in classes}
    prompt_half = samples.drop_duplicates("prompt").set_index("prompt")["half"]
    large = [
        name
        for name, sides in prompts.items()
        if all(
            int((prompt_half[list(side)] == half).sum()) >= MIN_PROMPTS
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
    """Contrast the prompts of each class with partners of other classes.

    A class with too few partners is left out, and a warning is added to `warnings`.
    """
    findings = {}
    for name in names:
        # The same seed for every class: its partners do not depend on which classes are compared.
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
        # Without template counts: random prompts have no templates to warn about.
        pairing = replace(pair_samples(pairs, separate_templates=False), template_counts={})
        findings[name] = contrast(
            activations, pairs, pairing=pairing, units=activations.units, **options
        )
    if not findings:
        raise EvidenceError(f"{warnings[-1]} Control fewer columns, or record more prompts.")
    return findings


def _partners(
    samples: pd.DataFrame, name: str, controlled: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Samples as `pair_samples` takes them; the item of a pair is its prompt with the class."""
    with_class, without_class = split_prompts_by_class(samples, name)
    prompts = samples.drop_duplicates("prompt").set_index("prompt")
    item_and_arm: dict[str, tuple[str, str]] = {}
    for _, stratum in prompts.groupby(["half", *(f"={factor}" for factor in controlled)]):
        members = rng.permutation(stratum.index[stratum.index.isin(with_class)])
        partners = rng.permutation(stratum.index[stratum.index.isin(without_class)])
        # `strict=False`: prompts of the larger side that have no partner are dropped.
        for member, partner in zip(members, partners, strict=False):
            item_and_arm[member], item_and_arm[partner] = (member, "positive"), (member, "negative")
    paired = samples[samples["prompt"].isin(item_and_arm)]
    items = [item_and_arm[prompt][0] for prompt in paired["prompt"]]
    arms = [item_and_arm[prompt][1] for prompt in paired["prompt"]]
    return paired.assign(item=items, arm=arms, template=arms)


def _within_prompts(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    options: Mapping[str, Any],
) -> dict[str, Findings]:
    """Contrast seeds with each class with other seeds of the same prompts."""
    findings = {}
    confident = f"{CONFIDENCE} >= {min_confidence}"
    for name in classes:
        others = [other for other in classes if other != name]
        # A class that shares no prompt with another class is skipped.
        with contextlib.suppress(EmptyArmError):
            findings[name] = find(
                recording,
                positive=f"{PREDICTION} == {name!r} and {confident}",
                negative=f"{PREDICTION} in {others!r} and {confident}",
                classifiers={"group": classifier},
                **options,
            )
    if not findings:
        raise EvidenceError("No prompt has seeds of two classes: record more seeds of each.")
    return findings
