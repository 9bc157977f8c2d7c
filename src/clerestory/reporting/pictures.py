"""Pictures to files: one each, and grids to look at."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from clerestory.models import Run

__all__ = ["data_address", "grid", "pairs", "save", "save_run", "slug"]

_GAP = 4
_LEAST = 128
"""Tiles of a grid are enlarged, without smoothing, to at least this many pixels."""
_LONGEST = 180
"""Bytes of a slug: with a number, a seed and an ending it fits into the 255 of a file's name."""


def slug(text: str, length: int = 60) -> str:
    """A prompt as a file name.

    >>> slug("A cat, drawn!")
    'a-cat-drawn'
    """
    name = re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:length]
    return name.encode()[:_LONGEST].decode(errors="ignore").rstrip("-") or "picture"


def grid(
    pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], columns: int
) -> NDArray[np.uint8]:
    """Pictures `[n, height, width, 3]` in rows of `columns`, on white, small ones enlarged."""
    pictures = np.stack(list(pictures))
    count, height, width, _ = pictures.shape
    scale = max(1, -(-_LEAST // height))
    tiles = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    rows = -(-count // columns)
    size = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3)
    sheet = np.full(size, 255, np.uint8)
    for index, tile in enumerate(tiles):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def data_address(picture: NDArray[np.uint8]) -> str:
    """A picture as a PNG in a `data:` address, for pages that hold all that they show."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def pairs(without: Run, edited: Run, columns: int) -> NDArray[np.uint8]:
    """The pictures of two runs with their rows of `columns` in turn: without, edited, without, …"""
    assert without.pictures is not None and edited.pictures is not None
    both = np.stack([without.pictures, edited.pictures])
    rows = both.reshape(2, -1, columns, *both.shape[2:]).swapaxes(0, 1)
    turned: NDArray[np.uint8] = rows.reshape(-1, *both.shape[2:])
    return turned


def save(picture: NDArray[np.uint8], path: Path) -> Path:
    """Write one picture `[height, width, 3]` as PNG."""
    from PIL import Image

    Image.fromarray(picture).save(path)
    return path


def save_run(run: Run, folder: Path, **about: Any) -> None:
    """Write every picture of a run as `PROMPT-seedN.png`, and `samples.json` with their prompts.

    Prompts whose names come out the same get their number in the run put before them.
    """
    assert run.pictures is not None
    rows: list[dict[str, Any]] = json.loads(run.samples.to_json(orient="records"))
    texts = list(dict.fromkeys(row["prompt"] for row in rows))
    names = {text: slug(text) for text in texts}
    if len(set(names.values())) < len(names):
        names = {text: f"{index}-{slug(text)}" for index, text in enumerate(texts)}
    told = []
    for row, picture in zip(rows, run.pictures, strict=True):
        name = f"{names[row['prompt']]}-seed{row['seed']}.png"
        save(picture, folder / name)
        told.append({"file": name, **row, **about})
    (folder / "samples.json").write_text(json.dumps(told, indent=1) + "\n")
