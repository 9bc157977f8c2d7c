"""`clerestory group`: what the pictures with one label share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from clerestory.cli import options
from clerestory.cli.arguments import split_names, validated
from clerestory.cli.dictionaries import Dictionaries, attach_dictionaries
from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.contrasts import Groups

__all__ = ["group"]

PRINTED_UNITS = 5
"""Units of each kind that are printed of a group."""

_MinConfidence = Annotated[
    float, option("Smallest probability of a prediction that counts.", min=0, max=1)
]
_Classifier = Annotated[
    str | None, option("Classifier that groups the pictures, such as lancet:mood.")
]
_By = Annotated[
    str | None, option("Instead of a classifier, clusters: `embedding`, or a recorded site.")
]
_RankByControl = Annotated[
    bool, option("Rank groups by how much their units control them.", "--rank-by-control")
]
_Others = Annotated[
    list[str] | None,
    option("With --rank-by-control: classifier of side effects; repeatable.", "--other"),
]
_Control = Annotated[list[str] | None, option("Column or classifier to control for; repeatable.")]


@validated
def group(
    recording: options.RecordingLocation,
    classifier: _Classifier = None,
    by: _By = None,
    clusters: Annotated[int, option("Number of clusters, with --by.", min=2)] = 8,
    classes: Annotated[str, option("Labels to compare, such as scared,happy; default: all.")] = "",
    min_confidence: _MinConfidence = 0.0,
    picture_filter: options.PictureFilter = None,
    control: _Control = None,
    top: Annotated[int, option("Neurons to test in each group.", min=1, max=50)] = 20,
    seed: Annotated[int, option("Random seed for the halves.")] = 0,
    dictionary: Dictionaries = None,
    rank_by_control: _RankByControl = False,
    others: _Others = None,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Group the pictures of random prompts by label, and find what separates each group.

    With --by, groups are clusters of the pictures: no classifier is needed.

    --out receives a report, figures and a folder of findings per group, which `clerestory verify`
    takes.
    """
    from clerestory.causal.group_control import rank_groups
    from clerestory.classifiers import load_classifier
    from clerestory.cli import console
    from clerestory.contrasts import group as group_pictures
    from clerestory.contrasts.group_page import page
    from clerestory.errors import OptionError
    from clerestory.io.writing import atomic_folder
    from clerestory.recordings import Recording
    from clerestory.recordings.identity import open_recorded_model

    if others and not rank_by_control:
        raise OptionError(f"--other {others[0]} is of use with --rank-by-control alone.")
    for name in others or ():
        # A misspelt one is told before the pictures are grouped, not after.
        load_classifier(name)
    opened = Recording.open(recording)
    attach_dictionaries([opened], dictionary)
    # Opened once, for the image encoder and for drawing.
    needs_model = rank_by_control or (by is not None and "/" not in by)
    model = None
    if needs_model:
        model = open_recorded_model(
            opened.store.plan.model, lambda each: attach_dictionaries([each], dictionary)
        )
    with console.progress_bars() as progress:
        groups = group_pictures(
            opened,
            classifier=classifier,
            by=by,
            clusters=clusters,
            model=model,
            classes=split_names(classes),
            min_confidence=min_confidence,
            picture_filter=picture_filter,
            control=control or (),
            top=top,
            seed=seed,
            progress=progress,
        )
        ranked = None
        if model is not None and rank_by_control:
            ranked = rank_groups(groups, model, others=others or (), progress=progress)
    if out is not None:
        with atomic_folder(out) as folder:
            groups.write(folder)
            if ranked is not None:
                ranked.write(folder)
            (folder / "report.html").write_text(page(groups, opened), encoding="utf-8")
        console.status(f"The report is {out / 'report.html'}.")
    if ranked is not None:
        # Instead of the groups, which are in the folder: the ranking is what was asked for.
        console.write_result(ranked, json=json, text=lambda: console.write_table(ranked.table()))
        return
    console.write_result(groups, json=json, text=lambda: _print(groups))


def _print(groups: Groups) -> None:
    from clerestory.cli import console

    alike = ", ".join(groups.controlled) or "the prompt"
    console.write(
        f"Samples are compared where they are alike in {alike}; {groups.excluded} are left out "
        "(another label, low confidence, or the filter).\n"
    )
    console.write_table(groups.table(PRINTED_UNITS))
    console.warn(groups.warnings)
