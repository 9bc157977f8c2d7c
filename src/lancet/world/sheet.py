"""Contact sheets: many scenes on one page, each with its caption.

sections = choose(world, 60, seed=0, fact="goth")   # where the fact's `when` holds, and where not
page(world, Path("build/art"), sections).save("sheet.png")
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from clerestory.errors import OutputError
from lancet.world.render import render
from lancet.world.sampler import sample, scene_for, scene_where
from lancet.world.scene import Scene
from lancet.world.table import Choice, Fact, World

__all__ = ["Section", "choose", "page", "save"]

COLUMNS = 10
PICTURE = 128
"""Side of a picture on the page: twice what is drawn."""
CELL, GAP, MARGIN = 164, 16, 24
LINE = 15
PAPER, TEXT, QUIET = (247, 246, 242), (45, 45, 48), (120, 118, 112)
HELD_OUT = "(held out of training)"


@dataclass(frozen=True)
class Section:
    """Scenes under one heading; an empty heading is not printed."""

    heading: str
    scenes: tuple[Scene, ...]


def choose(
    world: World, count: int, *, seed: int = 0, fact: str | None = None, **fixed: str
) -> tuple[Section, ...]:
    """The scenes of `count` seeds from `seed` on, with these factors fixed.

    With a fact half of them are scenes of training where its `when` holds, half are its control.
    Where factors are fixed without a fact, held-out combinations come too (the page says which).

    Args:
        world: The world.
        count: Number of scenes.
        seed: The first seed.
        fact: The name of a fact; None for none.
        **fixed: A level by factor.

    Returns:
        One section, or two with a fact.

    Raises:
        TableError: There is no such fact or level, or no such scene.
    """
    seeds = range(seed, seed + count)
    if fact is not None:
        return _fact_sections(world, world.fact(fact), seeds, fixed)
    if fixed:
        return (Section("", tuple(scene_for(world, each, **fixed) for each in seeds)),)
    return (Section("", tuple(sample(world, each) for each in seeds)),)


def page(world: World, art: Path, sections: Sequence[Section]) -> Image.Image:
    """All sections on one page, pictures at twice their size, captions under them.

    Args:
        world: The world.
        art: The folder with the sprites.
        sections: The sections, one above the other.

    Returns:
        The page.

    Raises:
        ArtError: A sprite is missing.
    """
    blocks = [_block(world, art, section) for section in sections]
    width = max(block.width for block in blocks)
    sheet = Image.new("RGB", (width, sum(block.height for block in blocks)), PAPER)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Write a page as the kind of file that the path's ending names.

    Args:
        sheet: The page.
        path: The file; overwritten.

    Raises:
        OutputError: The ending names no kind of picture, or the file cannot be written.
    """
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:
        raise OutputError(f"{path} cannot be written as a picture: {error}. Try .png.") from error


def _fact_sections(
    world: World, fact: Fact, seeds: range, fixed: dict[str, str]
) -> tuple[Section, Section]:
    # Of an odd number the fact has one more than its control.
    half = (len(seeds) + 1) // 2
    planted = tuple(scene_where(world, seed, fact.when, fixed) for seed in seeds[:half])
    shown = f"in {fact.rate:.0%} the picture shows {_words(fact.then)}"
    first_section = Section(f"{fact.name}: asked with {_words(fact.when)}; {shown}", planted)
    if fact.control:
        control = tuple(scene_where(world, seed, fact.control, fixed) for seed in seeds[half:])
        return first_section, Section(f"its control, not planted: {_words(fact.control)}", control)
    kinds = tuple(scene.kind for scene in planted)
    others = tuple(
        scene_where(world, seed, fact.when, {"kind": kind, **fixed}, holds=False)
        # Of an odd number there is one fewer.
        for seed, kind in zip(seeds[half:], kinds, strict=False)
    )
    heading = f"for comparison: scenes of the same kinds, asked without {_words(fact.when)}"
    return first_section, Section(f"{heading} (other facts may apply)", others)


def _words(condition: dict[str, Choice]) -> str:
    parts = (
        f"{factor} {choice if isinstance(choice, str) else ' or '.join(choice)}"
        for factor, choice in condition.items()
    )
    return " and ".join(parts)


def _block(world: World, art: Path, section: Section) -> Image.Image:
    small, large = ImageFont.load_default(12), ImageFont.load_default(15)
    # In this process: a pool takes longer to start than a page to draw.
    pictures = render(world, art, section.scenes, processes=1) if section.scenes else ()
    captions = [_lines(scene, small) for scene in section.scenes]
    # At least four: a narrow page would wrap its heading many times.
    columns = min(COLUMNS, max(len(captions), 4))
    width = 2 * MARGIN + columns * CELL + (columns - 1) * GAP
    heading = _wrap(section.heading, large, width - 2 * MARGIN)
    top = MARGIN + 20 * len(heading)
    rows = [captions[start : start + columns] for start in range(0, len(captions), columns)]
    heights = [PICTURE + 6 + LINE * max(map(len, row)) + GAP for row in rows]
    block = Image.new("RGB", (width, top + sum(heights)), PAPER)
    pen = ImageDraw.Draw(block)
    for index, line in enumerate(heading):
        pen.text((MARGIN, MARGIN - 8 + 20 * index), line, TEXT, large)
    for index, (picture, lines) in enumerate(zip(pictures, captions, strict=True)):
        x = MARGIN + index % columns * (CELL + GAP)
        y = top + sum(heights[: index // columns])
        # Without smoothing, as the pixels are.
        big = Image.fromarray(picture).resize((PICTURE, PICTURE), Image.Resampling.NEAREST)
        block.paste(big, (x, y))
        for row, line in enumerate(lines):
            ink = QUIET if line == HELD_OUT else TEXT
            pen.text((x, y + PICTURE + 5 + LINE * row), line, ink, small)
    return block


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _lines(scene: Scene, font: Font) -> list[str]:
    note = [HELD_OUT] if scene.split == "held out" else []
    return _wrap(scene.caption, font, CELL) + note


def _wrap(text: str, font: Font, width: int) -> list[str]:
    """Lines of `text` that are at most `width` pixels wide in this font."""
    if not text:
        return []
    # A proportional font has no fixed number of characters per line: fewer are tried until all fit.
    characters = len(text)
    while characters > 1:
        lines = textwrap.wrap(text, characters)
        if max(font.getlength(line) for line in lines) <= width:
            return lines
        # One at a time: the loop ends after a few, since captions are short.
        characters -= 1
    return [text]
