"""Findings from a recording: queries select the samples with and without the concept.

    findings = find(
        recording,
        positive="style == 'stained glass'",
        negative="style == 'plain'",
        hard_negative="place == 'stained glass window' and style == 'plain'",
        match="subject",
    )

Queries use the columns of the recording, and predictions of classifiers from its pictures:
`predicted.mood == 'scared' and predicted.mood.confidence > 0.6`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import pandas as pd

from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.contrast import contrast, provenance
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.findings import Findings, UnitKind
from clerestory.contrasts.pairs import pair_samples
from clerestory.contrasts.predictions import PictureClassifiers
from clerestory.contrasts.samples import contrast_samples, split_names
from clerestory.errors import EvidenceError
from clerestory.types import ProgressOption

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["find"]

KINDS: Mapping[str, tuple[UnitKind, ...]] = {
    "neuron": ("neuron",),
    "direction": ("direction",),
    "both": ("neuron", "direction"),
}


def find(
    recording: Recording,
    *,
    positive: str,
    negative: str,
    hard_negative: str | None = None,
    match: str | Sequence[str] = (),
    within: str | None = None,
    template: str | None = None,
    kind: Literal["neuron", "direction", "both"] = "both",
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    classifiers: Mapping[str, str] | None = None,
    picture_filter: str | None = None,
    labels: Mapping[str, pd.DataFrame] | None = None,
    progress: ProgressOption = True,
) -> Findings:
    """Find the units that are higher, or lower, with a concept than without it.

    Items, and the templates of each arm, are split into halves at random: the selection half ranks
    units and fits directions, and every figure comes from the evaluation half. If an item has more
    positive than negative samples, or the reverse, the excess is dropped at random.

    Args:
        recording: The recording.
        positive: Query for the samples with the concept.
        negative: Query for the samples without it.
        hard_negative: Query for samples that share words or objects with the positive ones.
        match: Columns that identify the item, which occurs in every arm.
        within: `prompt` to contrast the seeds of each prompt, instead of items.
        template: The column of templates; the recording's own, if it has one.
        kind: Kind of units to report.
        top: Number of neurons to report, in addition to the first of each site.
        flips: Number of sign-flip replicates used to count false discoveries under the null.
        seed: Random seed of halves, bootstraps and flips.
        classifiers: Classifier of each column `predicted.NAME` in the queries, by NAME; by default
            those of the recorded model. The selection half is labelled by the selection
            classifier, the other by the evaluation classifier.
        picture_filter: `CLASSIFIER=CLASS`; samples with other pictures are in no arm.
        labels: Extra columns by half, as DataFrames indexed by sample such as
            `classifiers.label_samples` returns.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The findings, the best on the evaluation half first.

    Raises:
        EvidenceError: A query is invalid, or the samples cannot be paired or contrasted.
        EmptyArmError: No sample matches a query.
    """
    if kind not in KINDS:
        raise EvidenceError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    kinds = KINDS[kind]
    queries = {"positive": positive, "negative": negative}
    queries |= {"hard_negative": hard_negative} if hard_negative else {}
    # `labels` replace predictions: with them no classifier is loaded for the queries.
    pictures = PictureClassifiers.from_queries(
        recording, () if labels else queries.values(), classifiers or {}, picture_filter
    )
    samples = contrast_samples(
        recording, queries, pictures.predictions(extra=labels), match, within, template, seed
    )
    activations = RecordedActivations(recording, samples.table.index.to_numpy())
    findings = contrast(
        activations,
        samples.table,
        units=activations.units,
        pairing=pair_samples(
            samples.table,
            separate_templates=samples.separate_templates,
            within=samples.within,
        ),
        # Every registered method.
        methods=tuple(direction_methods) if "direction" in kinds else (),
        top=top if "neuron" in kinds else 0,
        flips=flips,
        seed=seed,
        progress=progress,
    )
    model = recording.manifest["plan"]["model"]
    return replace(
        findings,
        # `top=0` still reports the first-ranked neuron of each site.
        findings=tuple(finding for finding in findings.findings if finding.kind in kinds),
        warnings=(*findings.warnings, *samples.warnings(recording), *pictures.warnings()),
        classifiers=pictures.checks(),
        provenance=provenance(
            model["name"],
            model["weights"],
            **queries,
            match=list(split_names(match)),
            within=within,
            template=template,
            kind=kind,
            top=top,
            flips=flips,
            seed=seed,
            classifiers=dict(pictures.columns),
            picture_filter=picture_filter,
        ),
    )
