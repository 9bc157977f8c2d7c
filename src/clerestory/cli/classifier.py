"""`clerestory classifier`: is what a classifier says of a recording's pictures true?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from clerestory.classifiers.human_check import Check

__all__ = ["app"]

app = typer.Typer(help="Whether what a classifier says is true.", no_args_is_help=True)


@app.callback()
def classifier() -> None:
    """Whether what a classifier says is true."""


@app.command()
@validated
def check(
    name: Annotated[str, typer.Argument(help="A classifier, as lancet:mood.")],
    recording: Annotated[str, typer.Argument(help="A recording with pictures: folder or URL.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the pictures to mark; new.")] = None,
    marks: Annotated[
        Path | None, typer.Option(help="The table of marks, filled in: compare and keep.")
    ] = None,
    size: Annotated[int, typer.Option(min=1, help="How many pictures are to be marked.")] = 100,
    role: Annotated[
        Literal["selection", "evaluation"],
        typer.Option(help="Which of two classifiers of that name."),
    ] = "evaluation",
    seed: Annotated[int, typer.Option(help="Of the choice of pictures.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="The check as one object.")] = False,
) -> None:
    """Have a person mark pictures, then hold the classifier against the marks.

    First with --out: random pictures of the recording, a page that marks them in the browser and
    a table for those who would rather type. Then with --marks: the confusion matrix and the rates
    corrected by it, kept with the recording and told by every finding that uses the classifier.
    """
    from clerestory.classifiers import human_check as checking
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.recordings import Recording

    if (out is None) == (marks is None):
        raise OutputError("Give --out, a folder for the pictures to mark, or --marks, the table.")
    opened = Recording.open(recording)
    if out is not None:
        count = checking.sheet(opened, name, out, size=size, seed=seed, role=role)
        console.status(f"{count} pictures: mark them in {out / 'page.html'}, or in {out}/marks.csv")
        return
    assert marks is not None
    found = checking.check(opened, name, marks, role=role)
    if json:
        console.write_json(found.told())
    else:
        _print(found)


def _print(found: Check) -> None:
    """Agreement, the classes' rates, and what was taken for what."""
    from clerestory.cli import console

    console.write(found.sentence)
    console.write(f"\n{'class':24} {'as said':>8} {'corrected':>10}  95% interval")
    for name in found.classes:
        told = found.corrected(name)
        row = f"{name:24} {told.said:8.1%} {told.rate:10.1%}  {told.low:.1%} to {told.high:.1%}"
        console.write(row)
    wrong = found.confusion.copy()
    for at in range(len(found.classes)):
        wrong[at, at] = 0
    if wrong.any():
        console.write("\ntaken for something else (marked as → said):")
    for true, said in zip(*wrong.nonzero(), strict=True):
        row = f"  {found.classes[true]} → {found.classes[said]}: {wrong[true, said]}"
        console.write(row)
