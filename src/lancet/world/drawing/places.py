"""The places: what is behind the subject. One function a level of the table.

Each gets the random generator and the horizon's height in pixels, and draws a whole canvas.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from clerestory.registry import Registry
from lancet.world.drawing.canvas import SIDE, Canvas, gradient, jitter

__all__ = ["Place", "places"]

Place = Callable[[np.random.Generator, float], Canvas]
places: Registry[Place] = Registry("place")

BOOKS = (
    (178, 44, 40),
    (40, 92, 150),
    (44, 128, 76),
    (216, 168, 60),
    (124, 66, 130),
    (222, 214, 196),
)
"""The colours of a library's books."""
VIVID = (
    (224, 40, 48),
    (40, 90, 220),
    (250, 200, 40),
    (40, 170, 90),
    (160, 60, 190),
    (250, 130, 40),
    (60, 190, 220),
)
"""The colours of the window's panes."""


@places.register("plain wall")
def plain_wall(rng: np.random.Generator, horizon: float) -> Canvas:
    """One colour, a little lighter at the top."""
    colours = ((232, 222, 200), (238, 200, 205), (196, 222, 214), (210, 212, 228), (244, 234, 190))
    base = jitter(colours[int(rng.integers(len(colours)))], rng)
    return gradient(base, (base[0] * 0.88, base[1] * 0.88, base[2] * 0.88))


@places.register("meadow")
def meadow(rng: np.random.Generator, horizon: float) -> Canvas:
    """Green grass with tufts and flowers under a pale sky."""
    canvas = gradient(jitter((168, 208, 246), rng), jitter((216, 236, 250), rng))
    green = jitter((98, 172, 72), rng)
    _ground(canvas, horizon, green, (green[0] * 0.7, green[1] * 0.8, green[2] * 0.7))
    for _ in range(26):
        x, y = rng.uniform(0, SIDE), rng.uniform(min(horizon + 4, SIDE), SIDE)
        tip = (int(x + rng.normal(0, 2)), int(y - 6))
        cv2.line(canvas, (int(x), int(y)), tip, (58, 128, 46), 1)
    for _ in range(7):
        place = (int(rng.uniform(0, SIDE)), int(rng.uniform(min(horizon + 8, SIDE), SIDE)))
        cv2.circle(canvas, place, 2, ((250, 250, 250), (250, 214, 70))[int(rng.integers(2))], -1)
    return canvas


@places.register("blue sky")
def blue_sky(rng: np.random.Generator, horizon: float) -> Canvas:
    """Blue, with white clouds."""
    canvas = gradient(jitter((74, 148, 236), rng), jitter((150, 204, 250), rng))
    for _ in range(3):
        x, y = rng.uniform(0, SIDE), rng.uniform(8, SIDE - 20)
        for shift in (-9, 0, 9):
            radius = int(rng.uniform(6, 10))
            middle = (int(x + shift), int(y + rng.normal(0, 2)))
            cv2.circle(canvas, middle, radius, (250, 252, 255), -1)
    return canvas


@places.register("dusk")
def dusk(rng: np.random.Generator, horizon: float) -> Canvas:
    """Violet above, orange below, a low sun, dark hills."""
    canvas = gradient(jitter((84, 60, 130), rng), jitter((248, 150, 92), rng))
    sun = (int(rng.uniform(20, SIDE - 20)), int(horizon - 2))
    cv2.circle(canvas, sun, 11, (255, 214, 120), -1)
    _ground(canvas, horizon, jitter((92, 52, 74), rng), (56, 32, 58))
    return canvas


@places.register("night")
def night(rng: np.random.Generator, horizon: float) -> Canvas:
    """Dark blue with stars and a moon."""
    canvas = gradient(jitter((14, 18, 52), rng, 6), jitter((44, 52, 104), rng, 8))
    for _ in range(30):
        x, y = int(rng.uniform(0, SIDE)), int(rng.uniform(0, horizon))
        cv2.circle(canvas, (x, y), int(rng.integers(1, 3)) // 2 + 1, (250, 248, 224), -1)
    moon = (int(rng.uniform(12, SIDE - 12)), int(rng.uniform(10, 26)))
    cv2.circle(canvas, moon, 9, (250, 244, 208), -1)
    _ground(canvas, horizon + 8, (18, 20, 44), (10, 10, 26))
    return canvas


@places.register("sea")
def sea(rng: np.random.Generator, horizon: float) -> Canvas:
    """Waves up to the horizon under a bright sky."""
    canvas = gradient(jitter((150, 210, 240), rng), jitter((226, 244, 250), rng))
    blue = jitter((38, 122, 176), rng)
    _ground(canvas, horizon, blue, (blue[0] * 0.5, blue[1] * 0.7, blue[2] * 0.8))
    for y in np.arange(horizon + 6, SIDE + 8, 9):
        start = rng.uniform(-12, 0)
        for x in np.arange(start, SIDE, 14):
            cv2.ellipse(canvas, (int(x + 7), int(y)), (7, 4), 0, 180, 360, (206, 236, 246), 2)
    return canvas


@places.register("library")
def library(rng: np.random.Generator, horizon: float) -> Canvas:
    """Shelves of books from top to bottom."""
    wood = jitter((112, 74, 44), rng, 10)
    canvas = gradient((wood[0] * 0.55, wood[1] * 0.55, wood[2] * 0.55), (40, 26, 18))
    shelf = float(rng.uniform(25, 30))
    top = float(rng.uniform(-14, 0))
    for y in np.arange(top, SIDE, shelf):
        x = float(rng.uniform(-4, 0))
        while x < SIDE:
            wide, high = rng.uniform(5, 9), shelf * rng.uniform(0.62, 0.84)
            foot = y + shelf - 4
            colour = jitter(BOOKS[int(rng.integers(len(BOOKS)))], rng)
            _box(canvas, x, foot - high, x + wide - 1, foot, colour)
            x += wide
        _box(canvas, 0, y + shelf - 4, SIDE, y + shelf, wood)
    return canvas


@places.register("church")
def church(rng: np.random.Generator, horizon: float) -> Canvas:
    """A stone nave: pillars, round arches between them, a bright end and a checkered floor."""
    stone = jitter((196, 184, 164), rng, 10)
    canvas = gradient((stone[0] * 0.62, stone[1] * 0.62, stone[2] * 0.62), stone)
    step = SIDE / 3
    start = float(rng.uniform(-step, 0))
    for x in np.arange(start, SIDE + step, step):
        middle = int(x + step / 2)
        cv2.ellipse(canvas, (middle, 52), (int(step * 0.36), 34), 0, 180, 360, (78, 66, 62), -1)
        _box(canvas, middle - step * 0.36, 52, middle + step * 0.36, 100, (78, 66, 62))
        cv2.ellipse(canvas, (middle, 56), (int(step * 0.2), 22), 0, 180, 360, (246, 226, 160), -1)
        _box(canvas, middle - step * 0.2, 56, middle + step * 0.2, 84, (246, 226, 160))
        _box(canvas, x - 5, 20, x + 5, 104, jitter((222, 212, 194), rng, 5))
        _box(canvas, x - 8, 16, x + 8, 22, (232, 224, 208))
    for row, y in enumerate(range(100, SIDE, 9)):
        for column, x in enumerate(range(-9, SIDE, 14)):
            shade = (120, 90, 80) if (row + column) % 2 else (206, 196, 180)
            _box(canvas, x, y, x + 14, y + 9, shade)
    return canvas


@places.register("stained glass window")
def stained_glass_window(rng: np.random.Generator, horizon: float) -> Canvas:
    """A dark wall with one tall arched window: bright regular panes, dark leads. An object."""
    wall = jitter((168, 160, 152), rng, 10)
    canvas = gradient(wall, (wall[0] * 0.7, wall[1] * 0.7, wall[2] * 0.7))
    middle, half = SIDE / 2 + rng.normal(0, 5), float(rng.uniform(46, 54))
    top, foot = float(rng.uniform(4, 12)), float(rng.uniform(116, 124))
    glass = _panes(rng, float(rng.uniform(12, 15)))
    shape = np.zeros((SIDE, SIDE), np.uint8)
    spring = int(top + half)
    cv2.ellipse(shape, (int(middle), spring), (int(half), int(half)), 0, 180, 360, 255, -1)
    shape[spring : int(foot), int(middle - half) : int(middle + half)] = 255
    # The frame is the window's shape, four pixels wider on every side.
    frame = cv2.dilate(shape, np.ones((9, 9), np.uint8))
    canvas[frame > 0] = (46, 40, 42)
    canvas[shape > 0] = glass[shape > 0]
    return canvas


@places.register("mosaic wall")
def mosaic_wall(rng: np.random.Generator, horizon: float) -> Canvas:
    """A light wall with one framed panel of small square tiles in rings of colour. An object."""
    canvas = gradient(jitter((222, 206, 180), rng), jitter((196, 176, 148), rng))
    left, top = rng.uniform(10, 18), rng.uniform(8, 16)
    right, foot = rng.uniform(110, 118), rng.uniform(112, 120)
    _box(canvas, left - 4, top - 4, right + 4, foot + 4, (120, 70, 46))
    tile = 6
    down, along = np.mgrid[0:SIDE, 0:SIDE] // tile
    # City-block distance: rings are diamonds, which no other place has.
    ring = np.abs(along - SIDE // tile // 2) + np.abs(down - SIDE // tile // 2)
    tiles = ((46, 110, 150), (226, 196, 120), (170, 66, 52), (240, 232, 214))
    colours = np.stack([jitter(colour, rng) for colour in tiles])
    panel = colours[(ring // 2 + int(rng.integers(4))) % 4].astype(np.float32)
    inside = np.mgrid[0:SIDE, 0:SIDE] % tile
    panel[(inside[0] == 0) | (inside[1] == 0)] = (150, 138, 120)
    box = np.s_[int(top) : int(foot), int(left) : int(right)]
    canvas[box] = panel[box]
    return canvas


def _panes(rng: np.random.Generator, size: float) -> Canvas:
    count = int(SIDE / size) + 2
    vivid = np.array(VIVID, np.float32)
    chosen = vivid[rng.integers(0, len(vivid), (count, count))]
    cells = chosen + rng.normal(0, 10, (count, count, 3))
    axis = np.arange(SIDE) / size
    index = axis.astype(int)
    panes: Canvas = np.asarray(np.clip(cells[index][:, index], 0, 255), np.float32)
    lead = (axis - index) * size < 2.4
    # Leads on a regular grid: the window is an object, unlike the style,
    # whose panes are irregular.
    panes[lead] = (20, 18, 22)
    panes[:, lead] = (20, 18, 22)
    return panes


def _ground(
    canvas: Canvas, horizon: float, top: tuple[float, ...], foot: tuple[float, ...]
) -> None:
    # Close-ups and tilts can move the horizon out of the picture.
    start = int(np.clip(horizon, 0, SIDE - 1))
    share = np.linspace(0, 1, SIDE - start, dtype=np.float32)[:, None, None]
    one, two = np.asarray(top, np.float32), np.asarray(foot, np.float32)
    canvas[start:] = one * (1 - share) + two * share


def _box(
    canvas: Canvas, left: float, top: float, right: float, foot: float, colour: tuple[float, ...]
) -> None:
    box = np.s_[max(int(top), 0) : max(int(foot), 0), max(int(left), 0) : max(int(right), 0)]
    canvas[box] = colour
