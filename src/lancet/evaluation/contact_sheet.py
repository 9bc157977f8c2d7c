"""A contact sheet of drawn pictures with their prompts, to be looked at."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["contact_sheet"]

COLUMNS, SIDE, WIDTH, GAP, LINE = 12, 128, 148, 14, 14
PAPER, TEXT = (251, 250, 246), (45, 45, 48)
LINES = 4


def contact_sheet(
    pictures: NDArray[np.uint8], prompts: Sequence[str], *, columns: int = COLUMNS
) -> Image.Image:
    """Pictures `[n, height, width, 3]` on one page, each with its prompt below it.

    Args:
        pictures: `[n, height, width, 3]`, uint8; each is shown at 128 px.
        prompts: One a picture; four lines of each are shown.
        columns: Pictures a row.

    Returns:
        The page.
    """
    rows = -(-len(pictures) // columns)
    cell = SIDE + LINES * LINE + 2 * GAP
    page = Image.new("RGB", (columns * (WIDTH + GAP) + GAP, rows * cell + GAP), PAPER)
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for place, (picture, prompt) in enumerate(zip(pictures, prompts, strict=True)):
        left = GAP + place % columns * (WIDTH + GAP)
        top = GAP + place // columns * cell
        # Without smoothing: the pixels are what the model drew.
        big = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        page.paste(big, (left, top))
        for row, line in enumerate(textwrap.wrap(prompt, 25)[:LINES]):
            pen.text((left, top + SIDE + 4 + row * LINE), line, TEXT, font)
    return page
