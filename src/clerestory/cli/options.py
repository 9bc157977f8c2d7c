"""How arguments and options are declared, and those that several commands share.

In a signature each takes one line; a longer declaration has a name above its command.

def draw(prompts: options.Prompts, n: Annotated[int, option("Number.", min=1)] = 4) -> None: ...
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer


def option(text: str, *names: str, **settings: Any) -> Any:
    """`typer.Option` with its help first, so that most declarations take one line.

    Args:
        text: The help.
        *names: Names such as `--other`; without any the parameter's own.
        **settings: Other arguments of `typer.Option`, such as `min`.

    Returns:
        What stands in an `Annotated`.
    """
    return typer.Option(*names, help=text, **settings)


def argument(text: str) -> Any:
    """`typer.Argument` with its help.

    Args:
        text: The help.

    Returns:
        What stands in an `Annotated`.
    """
    return typer.Argument(help=text)


_drawing = partial(option, rich_help_panel="Drawing")
_NEGATIVE_PROMPT = _drawing("Negative prompt.")
_PROMPTS = argument("Prompts to draw.")
NEW_FOLDER = option("Folder for the result; must be empty or absent.")
"""The declaration of `NewFolder`: `validated` checks the folder before any work is done."""
MAY_BE_EMPTY = (_NEGATIVE_PROMPT, _PROMPTS)
"""Declarations whose value may be an empty text, or is then refused by the model itself."""

Prompts = Annotated[list[str], _PROMPTS]
Seeds = Annotated[str, option("Seeds of each prompt: `0:4` for 0 to 3, or `3,7`.")]
ItemSeeds = Annotated[
    str | None, option("Seeds of every item instead: `0:4`; the figures are then of these.")
]
NegativePrompt = Annotated[str | None, _NEGATIVE_PROMPT]
Guidance = Annotated[float | None, _drawing("Guidance scale; default: the family's.")]
Steps = Annotated[int | None, _drawing("Number of denoising steps.")]
Size = Annotated[
    str | None, _drawing("Picture size: `512`, or width and height such as `768x512`.")
]
Pool = Annotated[str, option("Pooling of positions, as for the finding: mean, max or last.")]
Region = Annotated[
    str | None,
    option(
        "Edit this part of the picture only: `left half`, `right half`, `top half`, `bottom half`, "
        "`centre`, a word of the prompts whose attention map is the mask, or a picture that is "
        "light inside, such as mask.png."
    ),
]
Bound = Annotated[float, option("Largest accepted change of any other class's rate.", min=0, max=1)]

NewFolder = Annotated[Path, NEW_FOLDER]
OptionalNewFolder = Annotated[Path | None, NEW_FOLDER]
ResumableFolder = Annotated[
    Path | None, option("Folder for the result; the same command resumes there.")
]
CacheFlag = Annotated[bool, option("Cache drawn samples.", "--cache/--no-cache")]
JsonFlag = Annotated[bool, option("Print JSON to stdout.", "--json")]
DryRun = Annotated[bool, option("Print the estimated cost and exit.", "--dry-run")]

RecordingLocation = Annotated[str, argument("Folder or URL of a recording.")]
FindingsFolder = Annotated[Path, argument("Folder written by `find --out`.")]
Target = Annotated[str, argument("CLASSIFIER=LABEL, such as lancet:mood=scared.")]
ItemFile = Annotated[
    Path | None, option("File with one item per line; default: the model's items.")
]
Classifiers = Annotated[
    list[str] | None, option("Classifier of the pictures; repeatable. Default: the model's own.")
]
PictureFilter = Annotated[
    str | None, option("CLASSIFIER=LABEL: use only pictures with this prediction.")
]
Within = Annotated[str | None, option("`prompt`: contrast the seeds of each prompt instead.")]
