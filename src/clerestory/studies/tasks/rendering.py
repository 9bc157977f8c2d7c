"""Pictures, charts and words of a task for the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.studies.tasks.results import PictureRows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["FIRST", "count_noun", "save_chart", "save_pictures"]

FIRST = 8
"""Pictures in a row of the report: the first ones, whatever they look like."""
MAX_SIDE = 256
"""Pixels to which larger pictures are reduced."""


def save_pictures(
    folder: Path,
    title: str,
    rows: Mapping[str, Iterable[NDArray[np.uint8]]],
    columns: Sequence[str] = (),
) -> PictureRows:
    """Save rows of pictures in `folder/pictures`, small enough for a page.

    Args:
        folder: The task's folder.
        title: What they show.
        rows: Pictures `[height, width, 3]` by their row's caption.
        columns: What stands over the columns.

    Returns:
        The rows, with files relative to the task's folder.
    """
    from PIL import Image

    (folder / "pictures").mkdir(exist_ok=True)
    listed = []
    for caption, pictures in rows.items():
        files = []
        for picture in pictures:
            # A task may save several blocks into one folder: the numbers go on.
            number = len(list((folder / "pictures").iterdir()))
            reduced = Image.fromarray(picture)
            # Never enlarges a picture.
            reduced.thumbnail((MAX_SIDE, MAX_SIDE))
            files.append(f"pictures/{number}.png")
            reduced.save(folder / files[-1])
        listed.append((caption, tuple(files)))
    return PictureRows(title, tuple(listed), tuple(columns))


def save_chart(folder: Path, title: str, name: str, spec: Any) -> tuple[str, str]:
    """Save an Altair chart as SVG; its title and file.

    Args:
        folder: The task's folder.
        title: What stands over the chart.
        name: The file's name, without its ending.
        spec: The chart.

    Returns:
        The title, and the file relative to the task's folder.
    """
    from clerestory.reporting.plots import svg

    # SVG: it stays sharp at any size, and the report needs no other file.
    (folder / f"{name}.svg").write_text(str(svg(spec)), "utf-8")
    return title, f"{name}.svg"


def count_noun(number: int, noun: str) -> str:
    """A number with its noun.

    Args:
        number: How many.
        noun: The singular of a noun whose plural ends in s.

    Returns:
        The number with thousands separators, and the noun.

    >>> count_noun(1, "seed"), count_noun(2, "seed")
    ('1 seed', '2 seeds')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"
