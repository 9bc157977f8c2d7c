"""`clerestory find`: which units of a recording detect a concept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from clerestory.cli import options
from clerestory.cli.arguments import parse_pairs, validated
from clerestory.cli.dictionaries import Dictionaries, attach_dictionaries
from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.contrasts import Findings

__all__ = ["find"]

_Positive = Annotated[
    str, option("Query for samples with the concept, such as \"style == 'ink'\".")
]
_HardNegative = Annotated[str | None, option("Query for samples with only its words or objects.")]
_Match = Annotated[str | None, option("Columns that identify the item, such as who,place.")]
_Template = Annotated[str | None, option("Column of sentence frames; by default `template`.")]
_Phrase = Annotated[str | None, option("Column of phrases for the concept; by default `phrase`.")]
_Kind = Annotated[Literal["neuron", "direction", "both"], option("Which units to test.")]
_Top = Annotated[
    int, option("Neurons to test, besides the first of each kind of site.", min=1, max=50)
]
_Splits = Annotated[int, option("Random splits into halves; p is twice their median.", min=1)]
_Ranks = Annotated[bool, option("Test ranks, or the values themselves.", "--ranks/--values")]
_Classifier = Annotated[
    list[str] | None,
    option(
        "Classifier of the column `predicted.NAME`, as NAME=CLASSIFIER; by default the model's own."
    ),
]
_Seed = Annotated[int, option("Random seed for the split into selection and evaluation halves.")]


@validated
def find(
    recording: options.RecordingLocation,
    positive: _Positive,
    negative: Annotated[str, option("Query for samples without it.")],
    hard_negative: _HardNegative = None,
    match: _Match = None,
    within: options.Within = None,
    template: _Template = None,
    phrase: _Phrase = None,
    kind: _Kind = "both",
    top: _Top = 20,
    splits: _Splits = 1,
    ranks: _Ranks = True,
    classifier: _Classifier = None,
    picture_filter: options.PictureFilter = None,
    seed: _Seed = 0,
    dictionary: Dictionaries = None,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Find neurons and directions that detect a concept, with held-out evidence."""
    from clerestory.cli import console
    from clerestory.contrasts import find as find_units
    from clerestory.recordings import Recording

    opened = Recording.open(recording)
    attach_dictionaries([opened], dictionary)
    with console.progress_bars() as progress:
        findings = find_units(
            opened,
            positive=positive,
            negative=negative,
            hard_negative=hard_negative,
            match=match or (),
            within=within,
            template=template,
            phrase=phrase,
            kind=kind,
            top=top,
            splits=splits,
            ranks=ranks,
            seed=seed,
            classifiers=parse_pairs("--classifier", classifier or ()),
            picture_filter=picture_filter,
            progress=progress,
        )
    if out is not None:
        _save(findings, out)
    console.write_result(findings, json=json, text=lambda: _print(findings, top))


def _save(findings: Findings, out: Path) -> None:
    from clerestory.cli import console
    from clerestory.contrasts.charts import save_map
    from clerestory.io.writing import atomic_folder

    with atomic_folder(out) as folder:
        findings.write(folder)
        # A map for each kind that was found, in the order of the findings.
        for kind in dict.fromkeys(finding.kind for finding in findings.findings):
            save_map(findings, folder / f"map-{kind}s.png", kind)
    console.status(f"The findings are in {out}.")


def _print(findings: Findings, top: int) -> None:
    from clerestory.cli import console
    from clerestory.contrasts.findings import design_sentence

    console.write(f"{design_sentence(findings)}\n")
    console.write_table(findings.table(top))
    if findings.contrasts > 1:
        console.write(f"\n{findings.contrasts} contrasts were run on this recording.")
    for note in findings.classifier_notes():
        console.status(note)
    console.warn(findings.warnings)
