"""Draws a scene: place, subject or person, perspective, style."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from clerestory.registry import Registry
from lancet.world.art import Art
from lancet.world.drawing.canvas import SIDE, Canvas, blend, light, paste, set_apart
from lancet.world.drawing.people import person
from lancet.world.drawing.places import places
from lancet.world.scene import NONE, Scene
from lancet.world.styles import styles
from lancet.world.table import World

__all__ = ["COARSE", "FURNISHED", "LINES", "View", "draw", "object_masks", "views"]

LINES = ("high contrast", "monochrome")
"""Artworks of black lines, drawn light on dark places and with skin under a face."""
FURNISHED = ("mosaic wall", "stained glass window")
"""Places with an object of their own, which a close-up must not cover."""
COARSE = ("mosaic", "oil", "pixel art", "stained glass")
"""Styles in which only a large subject, or a large head, can be recognized."""
Covers = dict[str, Canvas]
"""By object, how much of each pixel it covers, `[SIDE, SIDE]`, 0 to 1."""


@dataclass(frozen=True)
class View:
    """A perspective: size and position of the subject, horizon, and tilt of the picture."""

    size: float = 1.0
    rise: float = 0.0
    horizon: float = 86.0
    turn: float = 0.0
    lean: float = 0.0


views: Registry[Callable[[np.random.Generator], View]] = Registry("perspective")


@views.register("plain")
def plain(rng: np.random.Generator) -> View:
    """Straight ahead, at a usual distance."""
    return View()


@views.register("close-up")
def close_up(rng: np.random.Generator) -> View:
    """Near, so that the subject fills the picture."""
    return View(size=1.75, rise=-2.0, horizon=104.0)


@views.register("distant")
def distant(rng: np.random.Generator) -> View:
    """Small, far away, with much of the place around it."""
    return View(size=0.68, rise=-8.0, horizon=78.0)


@views.register("tilted")
def tilted(rng: np.random.Generator) -> View:
    """The whole picture turned by about 20°."""
    return View(turn=float(rng.choice([-1, 1]) * rng.uniform(17, 27)))


@views.register("from below")
def from_below(rng: np.random.Generator) -> View:
    """The horizon low, the subject high up and leaning back."""
    return View(size=1.12, rise=-14.0, horizon=119.0, lean=0.30)


def draw(art: Art, world: World, scene: Scene, size: int = 64) -> NDArray[np.uint8]:
    """Draw a scene; the same scene and art give the same bytes.

    Args:
        art: The sprites.
        world: The world, with the emoji of each level.
        scene: The scene.
        size: Width and height in pixels, at most 128.

    Returns:
        `[size, size, 3]`, uint8.

    Raises:
        ArtError: A sprite is missing.
    """
    drawn = _draw(art, world, scene)
    # Drawn at twice the default size and halved, which smooths every edge.
    small = cv2.resize(drawn, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def object_masks(
    art: Art, world: World, scene: Scene, size: int = 64
) -> dict[str, NDArray[np.bool_]]:
    """Where each object of a scene stands in its picture.

    A style may move edges by a few pixels, as a mosaic does; masks are those of the scene before
    its style. What lies around an object is calmed, which is not part of its mask.

    Args:
        art: The sprites.
        world: The world.
        scene: The scene.
        size: Width and height in pixels, as in `draw`.

    Returns:
        By object the pixels that it covers by half or more, `[size, size]`; of objects that
        overlap the later one covers the earlier. A person is no object.

    Raises:
        ArtError: A sprite is missing.
    """
    _, covers, _ = _compose(art, world, scene)
    return {
        name: cv2.resize(cover, (size, size), interpolation=cv2.INTER_AREA) >= 0.5
        for name, cover in covers.items()
    }


def _draw(art: Art, world: World, scene: Scene) -> NDArray[np.uint8]:
    """A scene at its full size, `[128, 128, 3]`."""
    canvas, _, rng = _compose(art, world, scene)
    # Half is added, since the conversion cuts off.
    picture = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return styles[scene.style](picture, rng)


def _compose(art: Art, world: World, scene: Scene) -> tuple[Canvas, Covers, np.random.Generator]:
    """A scene without its style, its objects, and the generator that the style goes on with."""
    # Another stream than the sampler's, so that drawing does not change the samples.
    rng = np.random.default_rng([scene.seed, 2])
    view = views[scene.perspective](rng)
    if scene.place in FURNISHED:
        view = replace(view, size=min(view.size, 1.2))
    # After the limit above: a coarse style needs size more than a window needs room.
    if scene.style in COARSE:
        view = replace(view, size=max(view.size * 1.15, 0.9))
    canvas = places[scene.place](rng, view.horizon + rng.normal(0, 3))
    if scene.kind == "person":
        covers = _draw_person(canvas, art, world, scene, view, rng)
    elif scene.kind == "pair":
        covers = _draw_pair(canvas, art, world, scene, view, rng)
    else:
        size = rng.uniform(78, 96) * view.size
        x, y = 64 + rng.normal(0, 4), 70 + view.rise + rng.normal(0, 3)
        cover = _draw_object(canvas, art, world, scene, scene.subject, (x, y, size), rng)
        covers = {scene.subject: cover}
    return (
        _project(canvas, view),
        {name: _project(cover, view) for name, cover in covers.items()},
        rng,
    )


def _draw_pair(
    canvas: Canvas, art: Art, world: World, scene: Scene, view: View, rng: np.random.Generator
) -> Covers:
    pair_size = min(view.size, 1.2)
    reach = 32 * min(pair_size, 1.05)
    covers: Covers = {}
    for side, name in ((-1, scene.subject), (1, scene.second)):
        size = rng.uniform(66, 74) * pair_size
        x, y = 64 + side * reach + rng.normal(0, 2), 76 + view.rise + rng.normal(0, 4)
        cover = _draw_object(canvas, art, world, scene, name, (x, y, size), rng)
        # The second lies over the first where they overlap.
        covers = {other: own * (1 - cover) for other, own in covers.items()}
        covers[name] = covers[name] + cover if name in covers else cover
    return covers


def _draw_person(
    canvas: Canvas, art: Art, world: World, scene: Scene, view: View, rng: np.random.Generator
) -> Covers:
    coarse = scene.style in COARSE
    has_object = scene.subject != NONE
    share = rng.uniform(0.60, 0.66) if coarse else rng.uniform(0.50, 0.58)
    nearness = max(min(view.size, 1.35), 0.85 if coarse else 0.66)
    radius = share * SIDE / 2 * (0.86 if has_object else 1.0) * nearness
    x = 64 + rng.normal(0, 3) - (20 * min(nearness, 1.1) if has_object else 0)
    y = 54 + view.rise + rng.normal(0, 2) + (4 if view.size > 1 else 0)
    faces = world.moods[scene.mood].faces
    face = art.sprite(scene.artwork, faces[int(rng.integers(len(faces)))], round(radius * 2))
    look = {part: getattr(scene, part) for part in ("hair", "clothes", "scarf", "pallor")}
    person(canvas, face, (x, y, radius), look, rng, skin=scene.artwork in LINES)
    if has_object:
        size = rng.uniform(50, 56) * min(nearness, 1.3)
        placement = (x + radius + size * 0.36, 88 + view.rise + rng.normal(0, 3), size)
        cover = _draw_object(canvas, art, world, scene, scene.subject, placement, rng)
        return {scene.subject: cover}
    return {}


def _draw_object(
    canvas: Canvas,
    art: Art,
    world: World,
    scene: Scene,
    name: str,
    placement: tuple[float, float, float],
    rng: np.random.Generator,
) -> Canvas:
    """Draw an object; what of each pixel it covers."""
    x, y, size = placement
    sprite = art.sprite(scene.artwork, world.subjects[name][0], round(size))
    # Mirrored at random: no factor may depend on the side that a sprite faces.
    if rng.random() < 0.5:
        sprite = sprite[:, ::-1]
    # Black lines would be invisible on a dark place.
    if scene.artwork in LINES and light(canvas, x, y) < 0.42:
        sprite = blend(sprite, (238, 236, 226), 1.0)
    cover = set_apart(canvas, sprite, x, y)
    paste(canvas, sprite, x, y)
    return cover


def _project(canvas: Canvas, view: View) -> Canvas:
    """The composed scene, rotated or leaning back as the perspective requires."""
    if not view.turn and not view.lean:
        return canvas
    if view.turn:
        matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), view.turn, 1.0)
        turned = cv2.warpAffine(canvas, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
        return np.asarray(turned, np.float32)
    side, cut = float(SIDE), view.lean * SIDE / 2
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    leaning_corners = np.array([[0, 0], [side, 0], [side + cut, side], [-cut, side]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, leaning_corners)
    leaning = cv2.warpPerspective(canvas, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(leaning, np.float32)
