"""`clerestory find`: which units of a recording detect a concept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clerestory.cli import options
from clerestory.cli.arguments import parse_pairs, validated

if TYPE_CHECKING:
    from clerestory.contrasts import Findings

__all__ = ["find"]


@validated
def find(
    recording: options.RecordingLocation,
    positive: Annotated[
        str, typer.Option(help="Query for samples with the concept, such as \"style == 'ink'\".")
    ],
    negative: Annotated[str, typer.Option(help="Query for samples without it.")],
    hard_negative: Annotated[
        str | None, typer.Option(help="Query for samples with only its words or objects.")
    ] = None,
    match: Annotated[
        str | None, typer.Option(help="Columns that identify the item, such as who,place.")
    ] = None,
    within: options.Within = None,
    template: Annotated[
        str | None, typer.Option(help="Column of sentence frames; by default `template`.")
    ] = None,
    phrase: Annotated[
        str | None, typer.Option(help="Column of phrases for the concept; by default `phrase`.")
    ] = None,
    kind: Annotated[
        Literal["neuron", "direction", "both"], typer.Option(help="Which units to test.")
    ] = "both",
    top: Annotated[
        int,
        typer.Option(
            min=1, max=50, help="Neurons to test, besides the first of each kind of site."
        ),
    ] = 20,
    splits: Annotated[
        int, typer.Option(min=1, help="Random splits into halves; p is twice their median.")
    ] = 1,
    ranks: Annotated[
        bool, typer.Option("--ranks/--values", help="Test ranks, or the values themselves.")
    ] = True,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            help="Classifier of the column `predicted.NAME`, as NAME=CLASSIFIER; by default the "
            "model's own."
        ),
    ] = None,
    picture_filter: options.PictureFilter = None,
    seed: Annotated[
        int, typer.Option(help="Random seed for the split into selection and evaluation halves.")
    ] = 0,
    out: options.OptionalNewFolder = None,
    json: options.JsonFlag = False,
) -> None:
    """Find neurons and directions that detect a concept, with held-out evidence."""
    from clerestory.cli import console
    from clerestory.contrasts import find as find_units
    from clerestory.recordings import Recording

    with console.progress_bars() as progress:
        findings = find_units(
            Recording.open(recording),
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
    if json:
        console.write_json(findings.to_dict())
    else:
        _print(findings, top)


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
