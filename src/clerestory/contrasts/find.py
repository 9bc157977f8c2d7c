"""Findings from a recording: queries select the samples with the concept and those without.

    findings = find(
        recording,
        positive="style == 'stained glass'",
        negative="style == 'plain'",
        hard_negative="place == 'stained glass window' and style == 'plain'",
        match="subject",
    )

Queries are over the recording's columns, and over what classifiers predict from its pictures:
`predicted.mood == 'scared' and predicted.mood.confidence > 0.6`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import pandas as pd

from clerestory.arguments import checked
from clerestory.checks import check_choice, check_minimum
from clerestory.contrasts.activations import RecordedActivations
from clerestory.contrasts.contrast import contrast, provenance
from clerestory.contrasts.direction_methods import direction_methods
from clerestory.contrasts.evidence import UnitKind
from clerestory.contrasts.findings import Findings
from clerestory.contrasts.predictions import PictureClassifiers
from clerestory.contrasts.sample_warnings import latent_warnings
from clerestory.contrasts.samples import contrast_samples, split_names
from clerestory.contrasts.splits import combine_splits, count_contrasts
from clerestory.errors import EvidenceError
from clerestory.recordings.recording import Recording
from clerestory.types import ProgressOption

__all__ = ["find"]

KINDS: Mapping[str, tuple[UnitKind, ...]] = {
    "neuron": ("neuron",),
    "direction": ("direction",),
    "both": ("neuron", "direction"),
}


@checked()
def find(
    recording: Recording,
    *,
    positive: str,
    negative: str,
    hard_negative: str | None = None,
    match: str | Sequence[str] = (),
    within: str | None = None,
    template: str | None = None,
    phrase: str | None = None,
    kind: Literal["neuron", "direction", "both"] = "both",
    top: int = 20,
    splits: int = 1,
    ranks: bool = True,
    seed: int = 0,
    classifiers: Mapping[str, str] | None = None,
    picture_filter: str | None = None,
    labels: Mapping[str, pd.DataFrame] | None = None,
    progress: ProgressOption = True,
) -> Findings:
    """Find the units that are higher, or lower, with a concept than without it.

    Items, and the phrases and sentence frames of each arm, are split at random: the selection half
    ranks units, fits directions and fixes the picks; the evaluation half tests the picks, with
    items and templates as random factors. Where a query is about the picture, only samples of one
    item in one template are compared.

    Args:
        recording: The recording.
        positive: Query for the samples with the concept.
        negative: Query for the samples without it.
        hard_negative: Query for samples that share words or objects with the positive ones.
        match: Columns that identify the item; the column `item` if there is one. Arms that share no
            item are compared as independent groups of items.
        within: `prompt` to contrast the seeds of each prompt.
        template: The column of sentence frames, which arms share; `template` if there is one.
        phrase: The column of phrases for the concept; `phrase` if there is one, or `concept` if no
            query names it. Templates that one arm has to itself count as its phrases.
        kind: Which kind of units to test.
        top: Number of neurons to test, in addition to the first of each kind of site.
        splits: How many random splits into halves; with several, p is twice the median over them,
            and a unit that a split did not pick has p = 1 there.
        ranks: Whether to test pooled mid-ranks; False for the values themselves.
        seed: Random seed of the halves.
        classifiers: Classifiers by NAME of the columns `predicted.NAME` that queries name; by
            default the recorded model's own. The two halves go by two sets of each.
        picture_filter: `CLASSIFIER=CLASS`: other pictures are in no arm.
        labels: Extra columns as DataFrames indexed by sample, by half, such as
            `classifiers.label_samples` returns.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The picks in the order of their selection, with their evidence.

    Raises:
        EvidenceError: The samples cannot be compared, or an option is out of range.
        EmptyArmError: No sample matches a query.
    """
    check_choice(EvidenceError, KINDS, kind=kind)
    kinds = KINDS[kind]
    queries = {"positive": positive, "negative": negative}
    # Left out rather than empty: an arm that is named has to have samples.
    queries |= {"hard_negative": hard_negative} if hard_negative else {}
    # Given labels stand for predictions: no classifier is opened for the queries then.
    pictures = PictureClassifiers.from_queries(
        recording, () if labels else queries.values(), classifiers or {}, picture_filter
    )
    check_minimum(EvidenceError, 1, splits=splits)
    predictions = pictures.predictions(extra=labels)
    columns = {"within": within, "template": template, "phrase": phrase}
    results = []
    for split in range(splits):
        samples = contrast_samples(
            recording,
            queries,
            predictions,
            match=match,
            **columns,
            # Consecutive seeds, so that the first split is the one that `splits=1` gives.
            seed=seed + split,
        )
        activations = RecordedActivations(recording, samples.table.index.to_numpy())
        results.append(
            contrast(
                activations,
                samples,
                units=activations.units,
                # Every registered method, so that one of a plug-in takes part.
                methods=tuple(direction_methods) if "direction" in kinds else (),
                top=top if "neuron" in kinds else 0,
                ranks=ranks,
                progress=progress,
            )
        )
    findings = combine_splits(results)
    model = recording.manifest["plan"]["model"]
    return replace(
        findings,
        # The seed and `top` are no part of it: other splits of the same
        # question are no further look.
        contrasts=count_contrasts(recording, [*queries.values(), *split_names(match), within]),
        warnings=(*findings.warnings, *pictures.warnings(), *latent_warnings(recording)),
        classifiers=pictures.checks(),
        provenance=provenance(
            model["name"],
            model["weights"],
            recording.dictionaries,
            **queries,
            match=list(split_names(match)),
            **columns,
            kind=kind,
            top=top,
            splits=splits,
            ranks=ranks,
            seed=seed,
            classifiers=dict(pictures.columns),
            picture_filter=picture_filter,
        ),
    )
