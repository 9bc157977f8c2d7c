"""`clerestory classifier`: check a classifier against human labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.classifiers.human_check import HumanCheck

__all__ = ["app"]

app = typer.Typer(help="Check a classifier against human labels.", no_args_is_help=True)

_Role = Annotated[
    Literal["selection", "evaluation"],
    option("Role of the classifier, if the name has one per role."),
]


@app.callback()
def classifier() -> None:
    """Check a classifier against human labels."""


@app.command()
@validated
def check(
    name: Annotated[str, argument("A classifier, such as lancet:mood.")],
    recording: options.RecordingLocation,
    out: Annotated[Path | None, option("New folder for the pictures to label.")] = None,
    marks: Annotated[Path | None, option("The filled-in table of labels, to compare with.")] = None,
    size: Annotated[int, option("Number of pictures to label.", min=1)] = 100,
    role: _Role = "evaluation",
    seed: Annotated[int, option("Random seed for the sample of pictures.")] = 0,
    json: options.JsonFlag = False,
) -> None:
    """Have a person mark pictures, then compare the classifier with the marks.

    First with --out: random pictures of the recording, a page that marks them in the browser and
    a table for those who would rather type. Then with --marks: the confusion matrix and the rates
    corrected by it, kept with the recording and reported by every finding that uses the classifier.
    """
    from clerestory.classifiers import check_classifier, write_sheet
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.recordings import Recording

    if (out is None) == (marks is None):
        raise OutputError("Give --out, a folder for the pictures to mark, or --marks, the table.")
    opened = Recording.open(recording)
    if out is not None:
        count = write_sheet(opened, name, out, size=size, seed=seed, role=role)
        console.status(f"{count} pictures: mark them in {out / 'page.html'}, or in {out}/marks.csv")
        if json:
            files = {"page": str(out / "page.html"), "marks": str(out / "marks.csv")}
            console.write_json({"pictures": count, **files})
        return
    assert marks is not None
    result = check_classifier(opened, name, marks, role=role)
    if json:
        console.write_json(result.to_dict())
    else:
        _print(result)


def _print(result: HumanCheck) -> None:
    """Agreement, the classes' rates, and what was taken for what."""
    from clerestory.cli import console

    console.write(result.sentence)
    console.write(f"\n{'class':24} {'predicted':>9} {'corrected':>10}  95% interval")
    for label in result.classes:
        rate = result.corrected(label)
        console.write(
            f"{label:24} {rate.predicted:9.1%} {rate.rate:10.1%}  {rate.low:.1%} to {rate.high:.1%}"
        )
    # Only confusions: the diagonal is agreement.
    wrong = result.confusion.copy()
    for at in range(len(result.classes)):
        wrong[at, at] = 0
    if wrong.any():
        console.write("\ntaken for something else (marked as → predicted):")
    for true, predicted in zip(*wrong.nonzero(), strict=True):
        labels = f"{result.classes[true]} → {result.classes[predicted]}"
        console.write(f"  {labels}: {wrong[true, predicted]}")
