"""Options that several of Lancet's commands share, one annotation each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from clerestory.cli.options import option

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["DEFAULT_ART", "ArtFolder", "ModelName", "WorldFile", "format_interval", "open_lancet"]

SHIPPED = "lancet"
DEFAULT_ART = Path("build/art")
ArtFolder = Annotated[Path, option("Folder written by `clerestory lancet art`.")]
WorldFile = Annotated[Path | None, option("Table of a world; default: the built-in one.")]
ModelName = Annotated[
    str, option("`lancet`, `lancet-unet`, `lancet-mmdit`, or a folder of one of them.")
]


def open_lancet(name: str) -> tuple[Model, Path | None]:
    """Open a Lancet.

    Args:
        name: The value of `--model`.

    Returns:
        The model, and the folder of the world, the prompts and the classifiers that judge it; None
        for those of the shipped Lancet, which judge its siblings too.

    Raises:
        ModelError: A file of the folder is missing or damaged.
    """
    import clerestory
    from lancet.siblings import lancet_folder

    return clerestory.load(name), lancet_folder(name)


def format_interval(rate: float, low: float, high: float) -> str:
    """A rate with its interval, in percent.

    Args:
        rate: The rate, 0 to 1.
        low: Lower limit.
        high: Upper limit.

    Returns:
        The text, the rate padded to six characters so that columns align.

    >>> format_interval(0.5, 0.25, 0.75)
    ' 50.0% (25.0% to 75.0%)'
    """
    return f"{rate:6.1%} ({low:.1%} to {high:.1%})"
