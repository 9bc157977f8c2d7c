"""Regions of the picture on the command line: a name, a word, or a file with a mask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["read_mask", "read_region"]

ENDINGS = (".png", ".jpg", ".jpeg")
"""Files that are masks; anything else is a name or a word."""


def read_mask(path: Path) -> NDArray[Any]:
    """Read a mask from a picture.

    Args:
        path: A picture that is light inside.

    Returns:
        bool `[row, column]`.

    Raises:
        OptionError: It cannot be read.
    """
    import numpy as np

    from clerestory.errors import OptionError
    from clerestory.reporting.pictures import open_picture

    try:
        with open_picture(path) as picture:
            return np.asarray(picture.convert("L")) > 127
    except OSError as error:
        raise OptionError(f"The mask {path} cannot be read: {error}.") from error


def read_region(text: str | None) -> Any:
    """What `--region` names.

    Args:
        text: A name, a word, or the path of a mask; None for everywhere.

    Returns:
        The text, or the mask of the file.

    Raises:
        OptionError: It ends as a picture does and cannot be read.
    """
    if text is None or not text.lower().endswith(ENDINGS):
        return text
    return read_mask(Path(text))
