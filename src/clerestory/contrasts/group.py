"""Groups of pictures: find what the pictures of one class share, from random prompts.

    groups = group(recording, classifier="lancet:mood", control="place")
    groups["scared"].units[0].unit
    verify(groups.findings("scared"), model, classifier="lancet:mood", label="scared")

    group(recording, by="embedding", control="place")     # clusters, without a classifier

The class comes from the picture, so samples are compared only where they are alike: in the columns
that are controlled, or else in the whole prompt, and in the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from clerestory.arguments import checked
from clerestory.classifiers import load_classifier
from clerestory.classifiers.base import classifier_name
from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.arms import HALVES
from clerestory.contrasts.clusters import (
    Clusters,
    Features,
    cluster_names,
    fit_clusters,
    open_features,
)
from clerestory.contrasts.confounds import confound_warnings
from clerestory.contrasts.contrast import contrast, provenance
from clerestory.contrasts.design_makers import cell_design
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.findings import SAMPLE_COLUMNS, Findings
from clerestory.contrasts.group_units import group_units
from clerestory.contrasts.groups import Group, Groups
from clerestory.contrasts.predictions import PASSED, PictureClassifiers
from clerestory.contrasts.sample_warnings import latent_warnings, sample_warnings
from clerestory.contrasts.samples import (
    ContrastSamples,
    item_names,
    random_halves,
    split_names,
    split_wording,
)
from clerestory.contrasts.splits import count_contrasts
from clerestory.errors import EmptyArmError, EvidenceError, OptionError, RegistryError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model
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
    classifier: str | Callable[..., Any] | None = None,
    by: str | None = None,
    clusters: int = 8,
    model: Model | None = None,
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

    With `by` instead of a classifier, samples are grouped by clusters that are fitted on the
    selection half; the groups whose units detect them best come first.

    Args:
        recording: A recording with pictures.
        classifier: The name of the classifier, or a function with an attribute `classes`.
        by: Instead of a classifier: `embedding`, the model's own image embedding of the pictures,
            or the address of a recorded site, whose own units are then not tested.
        clusters: How many clusters.
        model: The recorded model, for `embedding`; by default it is opened.
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
        OptionError: Neither a classifier nor `by` is given, or both are.
        RegistryError: The classifier has no such class.
    """
    if (classifier is None) == (by is None):
        raise OptionError("Give a classifier, or what to cluster by, such as by='embedding'.")
    controlled = split_names(control)
    grouping = _grouping(recording, classifier, by, clusters, model, seed)
    chosen = _classes(grouping, classes)
    samples, pictures, warnings = _samples(
        recording, grouping, chosen, min_confidence, picture_filter, controlled, seed
    )
    # Pictures of uncertain class belong to no side, rather than to the others.
    usable = samples[samples["usable"]]
    large = _large_classes(usable, chosen)
    options: dict[str, Any] = {
        "classifier": grouping.name,
        "clusters": clusters if by is not None else None,
        "classes": list(classes),
        "min_confidence": min_confidence,
        "picture_filter": picture_filter,
        "control": list(controlled),
        "top": top,
        "seed": seed,
    }
    recorded = recording.manifest["plan"]["model"]
    # One provenance for all groups: each group's findings can be saved alone.
    origin = provenance(recorded["name"], recorded["weights"], recording.dictionaries, **options)
    contrasts = count_contrasts(recording, ["group", grouping.name, *controlled, picture_filter])
    groups = {}
    with progress_bars(progress) as report:
        for name, table in large.items():
            findings = _find(recording, table, controlled, top, report, grouping.site)
            findings = replace(
                findings,
                warnings=(*findings.warnings, *warnings),
                # Clusters were checked by nobody.
                classifiers={**pictures.checks(), **dict.fromkeys(grouping.unchecked)},
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
    if by is not None:
        # Clusters have no order of their own.
        groups = dict(sorted(groups.items(), key=lambda entry: -_detection(entry[1])))
    return Groups(
        classifier=grouping.name,
        clusters=grouping.fitted,
        groups=groups,
        excluded=int((~samples["usable"]).sum()),
        controlled=controlled,
        warnings=tuple(
            dict.fromkeys(warning for one in groups.values() for warning in one.findings.warnings)
        ),
        samples=samples.drop(columns="usable"),
        provenance=origin,
    )


@dataclass(eq=False)
class _Grouping:
    """What gives samples their group: a classifier's name, or features to cluster by.

    `site` is the site that the features are of, `fitted` the clusters once they are.
    """

    name: str
    classes: tuple[str, ...]
    by: str = ""
    features: Features | None = None
    site: str = ""
    seed: int = 0
    fitted: Clusters | None = None

    @property
    def unchecked(self) -> tuple[str, ...]:
        return () if self.features is None else (self.name,)

    def labels(self, half: pd.Series[str]) -> pd.DataFrame:
        """The cluster of each sample and its probability; fitted on the selection half."""
        assert self.features is not None
        values = self.features.of_samples()
        selection = (half == HALVES[0]).to_numpy()
        self.fitted = fit_clusters(
            self.by, self.features, values, selection, len(self.classes), self.seed
        )
        probabilities = self.fitted.probabilities(values)
        names = np.array(self.classes, dtype=object)[probabilities.argmax(1)]
        return pd.DataFrame({PREDICTION: names, CONFIDENCE: probabilities.max(1)})


def _grouping(
    recording: Recording,
    classifier: str | Callable[..., Any] | None,
    by: str | None,
    clusters: int,
    model: Model | None,
    seed: int,
) -> _Grouping:
    if by is None:
        assert classifier is not None
        name = classifier_name(classifier)
        return _Grouping(name, load_classifier(name).classes)
    if clusters < 2:
        raise OptionError(f"clusters is {clusters}; groups need two or more.")
    features, site = open_features(by, recording, model)
    return _Grouping(f"clusters of {by}", cluster_names(clusters), by, features, site, seed)


def _detection(group: Group) -> float:
    """The highest lower limit among the units that were found; 0 without any."""
    return max((unit.low for unit in group.units if unit.status == "found"), default=0.0)


def _find(
    recording: Recording,
    table: pd.DataFrame,
    controlled: Sequence[str],
    top: int,
    report: Any,
    excluded: str,
) -> Findings:
    activations = RecordedActivations(recording, table.index.to_numpy())
    # What samples are clustered by separates the clusters by definition; so do a dictionary's
    # latents and the site that they are of.
    base = excluded.partition(":")[0]
    activations.steps = {
        address: step
        for address, step in activations.steps.items()
        if not base or step[0].partition(":")[0] != base
    }
    if not activations.steps:
        raise EvidenceError(
            f"All recorded sites are {base} or its latents, which define the clusters: record "
            "another site too."
        )
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


def _classes(grouping: _Grouping, classes: Sequence[str]) -> tuple[str, ...]:
    known = grouping.classes
    for name in classes:
        if name not in known:
            raise RegistryError(f"{grouping.name} has no class {name!r}.{suggest(name, known)}")
    return tuple(dict.fromkeys(classes)) or known


def _samples(
    recording: Recording,
    grouping: _Grouping,
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
    names = factors if grouping.features is not None else {"group": grouping.name, **factors}
    pictures = PictureClassifiers(recording, names, picture_filter)
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
    if grouping.features is not None:
        predictions = pd.concat([predictions, grouping.labels(half)], axis=1)
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
    if grouping.features is not None:
        text = (
            f"Groups are {grouping.name}: nobody named what they share, and the model's own parts "
            "define them."
        )
        warnings.append(EvidenceWarning("classifier", text))
    return table.drop(columns="arm"), pictures, warnings


def _check_column(table: pd.DataFrame, name: str) -> None:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(
            f"There is no column {name!r} to control; a classifier of pictures is named with its "
            f"family, as FAMILY:{name}.{hint}"
        )
