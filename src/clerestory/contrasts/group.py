"""Groups of pictures: find what the pictures of one class share, from random prompts.

    groups = group(recording, classifier="lancet:mood", control="place")
    groups["scared"].units[0].unit
    verify(groups.findings("scared"), model, classifier="lancet:mood", label="scared")

The class comes from the picture, so samples are compared only where they are alike: in the columns
that are controlled, or else in the whole prompt, and in the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from clerestory.arguments import checked
from clerestory.classifiers import load_classifier
from clerestory.classifiers.base import classifier_name
from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.confounds import confound_warnings
from clerestory.contrasts.contrast import contrast, provenance
from clerestory.contrasts.design_makers import cell_design
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.findings import SAMPLE_COLUMNS, Findings
from clerestory.contrasts.group_units import group_units
from clerestory.contrasts.groups import Group, Groups
from clerestory.contrasts.predictions import PASSED, PictureClassifiers
from clerestory.contrasts.samples import (
    ContrastSamples,
    item_names,
    latent_warnings,
    random_halves,
    sample_warnings,
    split_names,
    split_wording,
)
from clerestory.contrasts.splits import count_contrasts
from clerestory.errors import EmptyArmError, EvidenceError, RegistryError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.recordings.recording import Recording
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["group"]

MIN_CELLS = 6
"""Cells of a half below which a class makes no group."""
PREDICTION, CONFIDENCE = "predicted.group", "predicted.group.confidence"


@checked()
def group(
    recording: Recording,
    *,
    classifier: str | Callable[..., Any],
    classes: Sequence[str] = (),
    min_confidence: float = 0.0,
    picture_filter: str | None = None,
    control: str | Sequence[str] = (),
    top: int = 20,
    seed: int = 0,
    progress: ProgressOption = True,
) -> Groups:
    """Group a recording's pictures by predicted class; find what separates each group.

    The selection classifier labels the selection half, the evaluation classifier the other. A
    group's samples are compared with those of all other groups within cells: alike in every
    controlled column and in the template. Cells that hold one side only are left out, and each
    other cell counts once.

    Args:
        recording: A recording with pictures.
        classifier: The name of the classifier, or a function with an attribute `classes`.
        classes: The classes to compare; by default all that have enough cells.
        min_confidence: Pictures whose prediction is less probable are left out.
        picture_filter: `CLASSIFIER=CLASS`: other pictures are left out.
        control: Columns, which together are the item, or classifiers such as `lancet:place`, whose
            predictions have to agree. Without columns the prompt is the item, and its seeds are
            compared: sites of the text encoder do not differ between them.
        top: How many neurons of each group are tested.
        seed: Random seed of the halves.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The groups.

    Raises:
        EvidenceError: There is no group, or nothing to compare it with.
        RegistryError: The classifier has no such class.
    """
    classifier = classifier_name(classifier)
    chosen, controlled = _classes(classifier, classes), split_names(control)
    samples, pictures, warnings = _samples(
        recording, classifier, chosen, min_confidence, picture_filter, controlled, seed
    )
    # Pictures of uncertain class belong to no side, rather than to the others.
    usable = samples[samples["usable"]]
    large = _large_classes(usable, chosen)
    options: dict[str, Any] = {
        "classifier": classifier,
        "classes": list(classes),
        "min_confidence": min_confidence,
        "picture_filter": picture_filter,
        "control": list(controlled),
        "top": top,
        "seed": seed,
    }
    model = recording.manifest["plan"]["model"]
    # One provenance for all groups: each group's findings can be saved alone.
    origin = provenance(model["name"], model["weights"], recording.dictionaries, **options)
    contrasts = count_contrasts(recording, ["group", classifier, *controlled, picture_filter])
    groups = {}
    with progress_bars(progress) as report:
        for name, table in large.items():
            findings = _find(recording, table, controlled, top, report)
            findings = replace(
                findings,
                warnings=(*findings.warnings, *warnings),
                classifiers=pictures.checks(),
                contrasts=contrasts,
                provenance=origin,
            )
            # Only large groups have samples enough for a comparison with each other.
            others = [other for other in large if other != name]
            groups[name] = Group(
                len(cell_design(table, HALVES[1]).items),
                group_units(recording, findings, usable, name, others),
                findings,
            )
    return Groups(
        classifier=classifier,
        groups=groups,
        excluded=int((~samples["usable"]).sum()),
        controlled=controlled,
        warnings=tuple(
            dict.fromkeys(warning for one in groups.values() for warning in one.findings.warnings)
        ),
        samples=samples.drop(columns="usable"),
        provenance=origin,
    )


def _find(
    recording: Recording, table: pd.DataFrame, controlled: Sequence[str], top: int, report: Any
) -> Findings:
    activations = RecordedActivations(recording, table.index.to_numpy())
    recorded = recording.samples.iloc[recording.rows].reset_index(drop=True)
    warnings = confound_warnings(recorded.loc[table.index], {}, table, controlled)
    samples = ContrastSamples(table, from_pictures=True, warnings=tuple(warnings))
    return contrast(
        activations,
        samples,
        units=activations.units,
        methods=tuple(direction_methods),
        top=top,
        progress=report,
    )


def _large_classes(usable: pd.DataFrame, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The arms of each class with enough cells; EvidenceError where there is none."""
    tables = {name: _arms(usable, name) for name in classes}
    # A small class is left out, not refused: the others are what most users came for.
    large = {name: table for name, table in tables.items() if _cells(table) >= MIN_CELLS}
    if not large:
        counts = ", ".join(f"{name}: {_cells(table)}" for name, table in tables.items())
        raise EvidenceError(
            f"No class has {MIN_CELLS} cells in each half that hold it and another class (cells: "
            f"{counts}). Record more seeds of each prompt, or control fewer columns."
        )
    return large


def _arms(usable: pd.DataFrame, name: str) -> pd.DataFrame:
    """The class as the positive arm, all other classes as the negative one."""
    arm = np.where(usable["group"] == name, "positive", "negative")
    # `cell_design` reads the stratum; the rest is what findings save.
    return usable.assign(arm=arm)[[*SAMPLE_COLUMNS, "stratum"]]


def _cells(table: pd.DataFrame) -> int:
    """How many cells hold both sides, in the half that has fewer."""
    try:
        return min(len(cell_design(table, half).items) for half in HALVES)
    except EmptyArmError:
        return 0


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
) -> tuple[pd.DataFrame, PictureClassifiers, list[EvidenceWarning]]:
    """A row for each good sample, indexed by position; the classifiers; warnings.

    `group` is the predicted class, `usable` whether it is one of `classes`, predicted with enough
    confidence and passed by the filter; `stratum` are the predictions that are controlled.
    """
    columns = [name for name in control if ":" not in name]
    # Names of classifiers contain signs that columns of queries cannot have: they are numbered.
    factors = {f"c{at}": name for at, name in enumerate(control) if ":" in name}
    pictures = PictureClassifiers(recording, {"group": classifier, **factors}, picture_filter)
    recorded = recording.samples.iloc[recording.rows].reset_index(names="sample")
    for name in columns:
        _check_column(recorded, name)
    item = item_names(recorded, columns or ["prompt"])
    # Drawn in this order: halves of items, then halves of wordings.
    rng = np.random.default_rng(seed)
    half = random_halves(item, rng)
    labels = pictures.predictions()
    # Each half is labelled by its own classifier.
    predictions = pd.concat(
        [labels[name].reset_index(drop=True)[half == name] for name in HALVES]
    ).sort_index()
    usable = (predictions[CONFIDENCE] >= min_confidence) & predictions[PREDICTION].isin(classes)
    if PASSED in predictions:
        usable &= predictions[PASSED].astype(bool)
    strata = [predictions[f"predicted.{key}"].astype(str) for key in factors]
    has_templates = bool(columns) and "template" in recorded
    table = recorded[["sample", "prompt", "seed"]].assign(
        item=item,
        phrase="",
        # The seeds of one prompt share its template.
        template=recorded["template"].fillna("").astype(str) if has_templates else "",
        half=half,
        group=predictions[PREDICTION],
        stratum=pd.concat(strata, axis=1).agg(" · ".join, axis=1) if strata else "",
        usable=usable,
    )
    # One arm for all: the wording is split before the sides are known, alike for every class.
    table, warnings = split_wording(table.assign(arm="positive"), True, rng)
    if not has_templates:
        text = "Templates were not varied: the claim is about the wordings of these prompts."
        warnings.append(EvidenceWarning("templates-not-varied", text))
    warnings += sample_warnings(recording, table[table["usable"]])
    warnings += latent_warnings(recording)
    warnings += pictures.warnings()
    return table.drop(columns="arm"), pictures, warnings


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(
            f"There is no column {name!r} to control; a classifier of pictures is named with its "
            f"family, as FAMILY:{name}.{hint}"
        )
