"""Arguments and options that several commands share, one annotation each.

def draw(prompts: options.Prompts, out: options.NewFolder) -> None: ...
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_drawing = partial(typer.Option, rich_help_panel="Drawing")
_NEGATIVE_PROMPT = _drawing(help="Negative prompt.")
_PROMPTS = typer.Argument(help="Prompts to draw.")
NEW_FOLDER = typer.Option(help="Folder for the result; must be empty or absent.")
"""The declaration of `NewFolder`: `validated` checks the folder before any work is done."""
MAY_BE_EMPTY = (_NEGATIVE_PROMPT, _PROMPTS)
"""Declarations whose value may be an empty text, or is then refused by the model itself."""

Prompts = Annotated[list[str], _PROMPTS]
Seeds = Annotated[str, typer.Option(help="Seeds of each prompt: `0:4` for 0 to 3, or `3,7`.")]
NegativePrompt = Annotated[str | None, _NEGATIVE_PROMPT]
Guidance = Annotated[float | None, _drawing(help="Guidance scale; default: the family's.")]
Steps = Annotated[int | None, _drawing(help="Number of denoising steps.")]
Size = Annotated[
    str | None, _drawing(help="Picture size: `512`, or width and height such as `768x512`.")
]
Pool = Annotated[
    str, typer.Option(help="Pooling of positions, as for the finding: mean, max or last.")
]
Bound = Annotated[
    float, typer.Option(min=0, max=1, help="Largest accepted change of any other class's rate.")
]

NewFolder = Annotated[Path, NEW_FOLDER]
OptionalNewFolder = Annotated[Path | None, NEW_FOLDER]
ResumableFolder = Annotated[
    Path | None, typer.Option(help="Folder for the result; the same command resumes there.")
]
CacheFlag = Annotated[bool, typer.Option("--cache/--no-cache", help="Cache drawn samples.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the estimated cost and exit.")]

RecordingLocation = Annotated[str, typer.Argument(help="Folder or URL of a recording.")]
FindingsFolder = Annotated[Path, typer.Argument(help="Folder written by `find --out`.")]
Target = Annotated[str, typer.Argument(help="CLASSIFIER=LABEL, such as lancet:mood=scared.")]
ItemFile = Annotated[
    Path | None, typer.Option(help="File with one item per line; default: the model's items.")
]
Classifiers = Annotated[
    list[str] | None,
    typer.Option(help="Classifier of the pictures; repeatable. Default: the model's own."),
]
PictureFilter = Annotated[
    str | None, typer.Option(help="CLASSIFIER=LABEL: use only pictures with this prediction.")
]
Within = Annotated[
    str | None, typer.Option(help="`prompt`: contrast the seeds of each prompt instead.")
]
