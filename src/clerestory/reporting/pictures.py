"""Writes pictures to files: one each, and grids."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clerestory.io.reading import ErrorClass, wrap_errors
from clerestory.io.tensor_files import read_arrays
from clerestory.types import Pictures

if TYPE_CHECKING:
    import pandas as pd
    from PIL.Image import Image

__all__ = [
    "PicturedSamples",
    "data_address",
    "grid",
    "labelled_rows",
    "open_picture",
    "pairs",
    "read_pictures",
    "save",
    "save_run",
    "slug",
    "write_pictures",
]

FORMATS = ("PNG", "JPEG")
"""Formats of pictures that are read. Pillow tells a format by the content, whatever the name, and
runs Ghostscript for that of PostScript."""
GAP = 4
"""Pixels between the tiles of a grid."""
LABEL_HEIGHT = 24
"""Pixels of the label of a row."""
MIN_TILE = 128
"""Pixels to which the height of small tiles is enlarged, without smoothing."""
MAX_SLUG_BYTES = 180
"""Bytes of a slug; with index, seed and suffix it stays below 255, the limit of a file name."""


class PicturedSamples(Protocol):
    """Pictures with a table of their samples, such as `clerestory.models.Run`."""

    @property
    def pictures(self) -> NDArray[np.uint8] | None:
        """`[sample, height, width, 3]`, uint8; None if none were drawn."""

    @property
    def samples(self) -> pd.DataFrame:
        """A row per sample with at least the columns `prompt` and `seed`."""


def open_picture(path: Path) -> Image:
    """Open a picture of a folder that anybody may have written.

    Args:
        path: The file.

    Returns:
        The picture, as `PIL.Image.open` gives it; to be closed.

    Raises:
        OSError: It is neither PNG nor JPEG, or cannot be read.
    """
    from PIL import Image

    return Image.open(path, formats=FORMATS)


def slug(text: str, length: int = 60) -> str:
    """Convert a prompt to a file name.

    Args:
        text: A prompt.
        length: Characters at most.

    Returns:
        Lower-case letters, digits and hyphens; `picture` where none of these remain.

    >>> slug("A cat, drawn!")
    'a-cat-drawn'
    """
    # Letters of all scripts stay; only what file systems or shells treat specially is replaced.
    name = re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:length]
    # Cut in bytes, since file systems count those; a letter that is cut in two is left out.
    return name.encode()[:MAX_SLUG_BYTES].decode(errors="ignore").rstrip("-") or "picture"


def grid(
    pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], columns: int
) -> NDArray[np.uint8]:
    """Pictures `[n, height, width, 3]` in rows of `columns`, on white, small ones enlarged.

    Args:
        pictures: All of one size, uint8.
        columns: Pictures a row.

    Returns:
        One picture, `[height, width, 3]`, uint8; the last row may have blank places.
    """
    pictures = np.stack(list(pictures))
    count, height, width, _ = pictures.shape
    # A whole factor, so that every pixel stays a square.
    scale = max(1, -(-MIN_TILE // height))
    tiles = pictures.repeat(scale, axis=1).repeat(scale, axis=2)
    height, width = height * scale, width * scale
    rows = -(-count // columns)
    size = (rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3)
    sheet = np.full(size, 255, np.uint8)
    for index, tile in enumerate(tiles):
        top = GAP + index // columns * (height + GAP)
        left = GAP + index % columns * (width + GAP)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def labelled_rows(rows: Mapping[str, Pictures]) -> NDArray[np.uint8]:
    """Rows of pictures, each under its label.

    Args:
        rows: Pictures by label, `[n, height, width, 3]`, all of one size.

    Returns:
        One picture, `[height, width, 3]`, uint8.
    """
    from PIL import Image, ImageDraw, ImageFont

    parts = []
    for label, pictures in rows.items():
        row = grid(pictures, columns=len(pictures))
        strip = Image.new("RGB", (row.shape[1], LABEL_HEIGHT), "white")
        font = ImageFont.load_default(LABEL_HEIGHT - 2 * GAP)
        ImageDraw.Draw(strip).text((GAP, GAP // 2), label, fill="black", font=font)
        parts += [np.asarray(strip), row]
    return np.concatenate(parts)


def data_address(picture: NDArray[np.uint8]) -> str:
    """A picture as a PNG in a `data:` address, for self-contained pages.

    Args:
        picture: `[height, width, 3]`, or with an alpha channel, uint8.

    Returns:
        The address.
    """
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def pairs(without: PicturedSamples, edited: PicturedSamples, columns: int) -> NDArray[np.uint8]:
    """The pictures of two runs, alternating rows of `columns`: without, edited, without, …

    Args:
        without: The run without edits.
        edited: The run with them, of the same samples.
        columns: Pictures a row; a divisor of the number of samples.

    Returns:
        Pictures in the order in which `grid` lays them out, `[n, height, width, 3]`.
    """
    assert without.pictures is not None and edited.pictures is not None
    both = np.stack([without.pictures, edited.pictures])
    rows = both.reshape(2, -1, columns, *both.shape[2:]).swapaxes(0, 1)
    return np.asarray(rows.reshape(-1, *both.shape[2:]))


def save(picture: NDArray[np.uint8], path: Path) -> Path:
    """Write one picture `[height, width, 3]` as PNG.

    Args:
        picture: uint8.
        path: A file that ends in `.png`; overwritten.

    Returns:
        The path.
    """
    from PIL import Image

    Image.fromarray(picture).save(path)
    return path


def save_run(run: PicturedSamples, folder: Path, **columns: Any) -> None:
    """Write every picture of a run as `PROMPT-seedN.png`, and `samples.json` with their prompts.

    Prompts with equal file names are prefixed with their index in the run.

    Args:
        run: Pictures and their samples.
        folder: An existing folder.
        **columns: Further entries of every row of `samples.json`.
    """
    assert run.pictures is not None
    # Through JSON, which turns NumPy's numbers into Python's.
    rows: list[dict[str, Any]] = json.loads(run.samples.to_json(orient="records"))
    texts = list(dict.fromkeys(row["prompt"] for row in rows))
    names = {text: slug(text) for text in texts}
    # If any two collide, all names get a number, so that those of one run have one form.
    if len(set(names.values())) < len(names):
        names = {text: f"{index}-{slug(text)}" for index, text in enumerate(texts)}
    entries = []
    for row, picture in zip(rows, run.pictures, strict=True):
        name = f"{names[row['prompt']]}-seed{row['seed']}.png"
        save(picture, folder / name)
        entries.append({"file": name, **row, **columns})
    (folder / "samples.json").write_text(json.dumps(entries, indent=1) + "\n")


def write_pictures(path: Path, pictures: Mapping[str, Pictures]) -> None:
    """Write pictures by name to one `.npz` file; names may be any text.

    Args:
        path: The file.
        pictures: Arrays of pictures by name.
    """
    # Names in an array of their own: a key of an archive cannot be any text.
    names = np.array(list(pictures), dtype=str)
    numbered = {str(index): array for index, array in enumerate(pictures.values())}
    np.savez_compressed(path, names=names, **numbered)  # type: ignore[arg-type]


def read_pictures(path: Path, error: ErrorClass) -> dict[str, Pictures]:
    """Read what `write_pictures` wrote.

    Args:
        path: The file.
        error: The class of the error.

    Raises:
        ClerestoryError: Of class `error`, if the file is missing or damaged.

    Returns:
        Pictures by name, as they were written.
    """
    arrays = read_arrays(path, error)
    with wrap_errors(path, error):
        return {str(name): arrays[str(index)] for index, name in enumerate(arrays["names"])}
