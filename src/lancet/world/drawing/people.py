"""People: a mood's face as the head of a drawn body, so that mood, hair, clothes vary freely."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from clerestory.registry import Registry
from lancet.world.drawing.canvas import Canvas, Colour, blend, jitter, paste, polygon

__all__ = ["CLOTHES", "SCARVES", "Head", "hair", "person"]

CLOTHES: dict[str, tuple[Colour, Colour]] = {
    "blue shirt": ((52, 92, 180), (34, 64, 140)),
    "red shirt": ((200, 48, 44), (150, 30, 34)),
    "green shirt": ((58, 150, 80), (34, 104, 56)),
    "black clothes": ((26, 24, 30), (64, 60, 72)),
    "white coat": ((244, 244, 240), (176, 184, 192)),
    "purple robe": ((112, 52, 140), (226, 184, 70)),
}
"""The colour of the body and of its collar."""

SCARVES: dict[str, tuple[Colour, Colour] | None] = {
    "no scarf": None,
    "striped": ((150, 22, 34), (246, 196, 56)),
    "red": ((222, 30, 44), (222, 30, 44)),
}
"""The two colours of a scarf's stripes."""

YELLOW: Colour = (250, 204, 90)
SKINS: tuple[Colour, ...] = (*(YELLOW,) * 4, (214, 160, 118), (236, 124, 92), (150, 176, 232))
"""Emoji yellow, tan, and the red and the blue that art gives to anger and fear: here to anyone."""

Head = tuple[float, float, float]
"""Middle (x, y) and radius of a head, in pixels."""
Hair = Callable[[Canvas, Head, np.random.Generator, bool], None]
hair: Registry[Hair] = Registry("hair")
"""Each is drawn twice: behind the head (`front` False), then over it (True)."""


def person(
    canvas: Canvas,
    face: NDArray[np.float32],
    head: Head,
    look: dict[str, str],
    rng: np.random.Generator,
    *,
    skin: bool,
) -> None:
    """Draw body, hair, face and scarf onto the canvas.

    `face` is a sprite; `look` has hair, clothes, scarf and pallor; `skin` puts a disc of skin under
    a face that is only lines.

    Args:
        canvas: It is changed.
        face: `[n, n, 4]`, colours premultiplied, 0 to 1.
        head: Middle (x, y) and radius, in pixels.
        look: Levels of `hair`, `clothes`, `scarf` and `pallor`.
        rng: The scene's generator.
        skin: Whether to put a disc of skin under the face.
    """
    x, y, radius = head
    shade = hair[look["hair"]]
    # From the back to the front: hair behind, body, face, hair over it, scarf.
    shade(canvas, head, rng, False)
    _body(canvas, head, *CLOTHES[look["clothes"]], rng)
    # Drawn even where pallor replaces it, so that a factor changes no other draw.
    tone = jitter(SKINS[int(rng.integers(len(SKINS)))], rng, 16)
    if look["pallor"] == "pale":
        tone = (240, 240, 246)
    if skin:
        _disc(canvas, x, y, radius * 0.97, tone)
    paste(canvas, _tinted(face, look["pallor"], tone, rng), x, y)
    shade(canvas, head, rng, True)
    scarf = SCARVES[look["scarf"]]
    if scarf is not None:
        _scarf(canvas, head, *scarf)


def _tinted(
    face: NDArray[np.float32], pallor: str, tone: Colour, rng: np.random.Generator
) -> NDArray[np.float32]:
    """The face with its skin recoloured, so that neither red nor blue gives a mood away."""
    level = face[..., :3].max(2, keepdims=True)
    if pallor == "pale":
        grey = face[..., :3] * 0.25 + level * 0.75
        pale = blend(np.concatenate([grey, face[..., 3:]], 2), (244, 244, 250), 0.45)
        # Eyes and mouth keep their colour: pale concerns the skin.
        dark = np.clip(1.6 - 3.2 * level / np.maximum(face[..., 3:], 0.05), 0, 1)
        pale[..., :3] = pale[..., :3] * (1 - dark) + face[..., :3] * dark
        return pale
    share = float(rng.uniform(0.2, 0.85))
    # Bright and not grey or white: the face, without eyes, teeth and tears.
    skin = (level > 0.55 * face[..., 3:]) & (face[..., 2:3] < 0.8 * level + 0.1)
    shaded = np.asarray(tone, np.float32) / 255.0 * level
    tinted = face.copy()
    tinted[..., :3] = np.where(skin, face[..., :3] * (1 - share) + shaded * share, face[..., :3])
    return tinted


def _body(
    canvas: Canvas, head: Head, cloth: Colour, collar: Colour, rng: np.random.Generator
) -> None:
    x, y, radius = head
    cloth = jitter(cloth, rng, 8)
    neck, foot = y + radius * 0.8, 140.0
    wide = radius * rng.uniform(1.35, 1.5)
    shoulders = y + radius * 1.25
    points = [(x - radius * 0.4, neck), (x + radius * 0.4, neck), (x + wide * 0.85, shoulders)]
    points += [(x + wide, shoulders + radius * 0.5), (x + wide, foot), (x - wide, foot)]
    points += [(x - wide, shoulders + radius * 0.5), (x - wide * 0.85, shoulders)]
    polygon(canvas, points, cloth)
    width = max(2, int(radius * 0.12))
    cv2.line(canvas, _at(x - radius * 0.38, neck), _at(x, y + radius * 1.6), collar, width)
    cv2.line(canvas, _at(x + radius * 0.38, neck), _at(x, y + radius * 1.6), collar, width)


def _scarf(canvas: Canvas, head: Head, one: Colour, two: Colour) -> None:
    x, y, radius = head
    top, high = y + radius * 0.86, radius * 0.42
    count = 7
    for index in range(count):
        left = x - radius * 0.8 + index * radius * 1.6 / count
        right = left + radius * 1.6 / count
        box = [(left, top), (right, top), (right, top + high), (left, top + high)]
        polygon(canvas, box, one if index % 2 else two)
    for index in range(4):
        over, under = top + high * (1 + index * 0.8), top + high * (1.8 + index * 0.8)
        left, right = x + radius * 0.2, x + radius * 0.66
        box = [(left, over), (right, over), (right, under), (left, under)]
        polygon(canvas, box, two if index % 2 else one)


@hair.register("bald")
def bald(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """No hair."""


@hair.register("short dark")
def short_dark(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """A dark cap over the top of the head."""
    if front:
        _cap(canvas, head, (52, 38, 34), 0.40)


@hair.register("bushy brown")
def bushy_brown(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """A wide, curly mass of brown around the head, down to the shoulders."""
    x, y, radius = head
    colour = (132, 78, 38)
    if front:
        _cap(canvas, head, colour, 0.34)
        return
    for turn in np.linspace(-0.35 * np.pi, 1.35 * np.pi, 15):
        reach = radius * rng.uniform(1.02, 1.18)
        place = (x + np.cos(turn) * reach, y - np.sin(turn) * reach * 0.95)
        _disc(canvas, *place, radius * 0.42, jitter(colour, rng, 10))


@hair.register("long black")
def long_black(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """Straight black hair that falls beside the face."""
    _long(canvas, head, (24, 20, 26), front)


@hair.register("long blond")
def long_blond(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """Straight fair hair that falls beside the face."""
    _long(canvas, head, (244, 222, 134), front)


@hair.register("red curly")
def red_curly(canvas: Canvas, head: Head, rng: np.random.Generator, front: bool) -> None:
    """Round red curls on top of the head."""
    x, y, radius = head
    if not front:
        return
    for turn in np.linspace(0.12 * np.pi, 0.88 * np.pi, 7):
        place = (x + np.cos(turn) * radius * 0.95, y - np.sin(turn) * radius * 0.95)
        _disc(canvas, *place, radius * 0.27, jitter((206, 70, 26), rng, 12))


def _long(canvas: Canvas, head: Head, colour: Colour, front: bool) -> None:
    x, y, radius = head
    if front:
        _cap(canvas, head, colour, 0.36)
        return
    _disc(canvas, x, y - radius * 0.05, radius * 1.18, colour)
    foot = y + radius * 1.65
    top, low = radius * 1.18, radius * 1.1
    box = [(x - top, y), (x + top, y), (x + low, foot), (x - low, foot)]
    polygon(canvas, box, colour)


def _cap(canvas: Canvas, head: Head, colour: Colour, depth: float) -> None:
    """A cap of hair: the part of a disc over the head that is higher than its brow."""
    x, y, radius = head
    brow = radius * (1.0 - depth)
    reach = radius * 1.08
    edge = float(np.arcsin(min(brow / reach, 1.0)))
    turns = np.linspace(edge, np.pi - edge, 16)
    points = [(x + np.cos(turn) * reach, y - np.sin(turn) * reach) for turn in turns]
    # Two points inside the cap make its lower edge uneven.
    points += [(x - radius * 0.3, y - brow * 1.12), (x + radius * 0.2, y - brow * 0.98)]
    polygon(canvas, points, colour)


def _disc(canvas: Canvas, x: float, y: float, radius: float, colour: Colour) -> None:
    cv2.circle(canvas, (round(x * 16), round(y * 16)), round(radius * 16), colour, -1, shift=4)


def _at(x: float, y: float) -> tuple[int, int]:
    return round(x), round(y)
