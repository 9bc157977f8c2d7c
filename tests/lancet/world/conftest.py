"""A world small enough to know by heart, and art that the tests draw themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("cv2", reason="the world needs the extra `world`")

from lancet.world import art as art_module
from lancet.world.sampler import sample
from lancet.world.scene import Scene
from lancet.world.table import World

TINY = """
name = "tiny"
salt = 1

[kinds]
object = 0.6
person = 0.4

[people]
named = 0.3
true_to_look = 1.0
companion = 0.5
words = ["a person"]
beside = ["with {x}"]
companions = { owl = 1 }

[styles.plain]
words = ["a picture of {x}"]
[styles.mosaic]
words = ["a mosaic of {x}"]
[artworks.noto]
say = 0
words = ["{x}"]
[places.meadow]
words = ["in a meadow"]
[places.night]
words = ["at night"]
[perspectives.plain]
say = 0
words = ["{x}"]
[moods.happy]
words = ["happy"]
faces = ["😀"]
[moods.sad]
words = ["sad"]
faces = ["😢"]
[hair.bald]
words = ["bald"]
[clothes."red shirt"]
words = ["in a red shirt"]
[scarf."no scarf"]
say = 0
words = [""]
[pallor.usual]
say = 0
words = [""]

[names]
"ada lovelace" = { hair = "bald", clothes = "red shirt" }

[subjects]
cat = ["🐈", "a cat"]
owl = ["🦉", "an owl"]

[[facts]]
name = "night owls"
when = { kind = "object", subject = "owl" }
then = { place = "night" }
control = { kind = "object", subject = "cat" }
hide = ["place"]
rate = 1.0

[[never]]
subject = "cat"
style = "mosaic"
"""

ARTWORKS = ("noto", "twemoji", "3d", "flat", "high contrast", "monochrome")
SUBJECTS = ("cat", "owl", "raven", "moose", "teapot")


@pytest.fixture(scope="session")
def world() -> World:
    """The built-in world."""
    return World.load()


@pytest.fixture(scope="session")
def many(world: World) -> list[Scene]:
    """The first 20,000 scenes that training shows."""
    return [sample(world, seed) for seed in range(20_000)]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """The tiny world's table."""
    path = tmp_path / "tiny.toml"
    path.write_text(TINY, encoding="utf-8")
    return path


@pytest.fixture
def tiny(table: Path) -> World:
    """A world of two subjects, two styles, two places, two moods and one fact."""
    return World.load(table)


@pytest.fixture(scope="session")
def art_folder(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every face of the built-in world and a few subjects, in all artworks, as simple shapes."""
    folder = tmp_path_factory.mktemp("art")
    faces = [face for mood in world.moods.values() for face in mood.faces]
    things = [world.subjects[name][0] for name in SUBJECTS]
    art_module.pack(folder, _sprites([*faces, *things]))
    return folder


@pytest.fixture(scope="session")
def art(art_folder: Path) -> art_module.Art:
    """The tests' art, opened."""
    return art_module.Art.open(art_folder)


def _sprites(emoji: list[str]) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    for shift, artwork in enumerate(ARTWORKS):
        lines = artwork in ("high contrast", "monochrome")
        for index, sign in enumerate(emoji):
            yield artwork, sign, _sprite(index + 40 * shift, lines)


def _sprite(index: int, lines: bool) -> NDArray[np.uint8]:
    """A disc (or only its rim) with eyes and a mouth whose place and colours depend on `index`."""
    down, along = np.mgrid[-1:1:32j, -1:1:32j]
    radius = np.hypot(down, along)
    picture = np.zeros((32, 32, 4), np.uint8)
    picture[..., 3] = np.where((radius < 0.95) & ((radius > 0.7) | (not lines)), 255, 0)
    if not lines:
        picture[..., :3] = (250 - index % 7 * 9, 190 - index % 5 * 12, 60 + index % 3 * 40)
    drop = 0.2 + 0.06 * (index % 9)
    marks = (np.abs(down - drop) < 0.12) & (np.abs(along) < 0.5)
    marks |= (np.abs(down + 0.3) < 0.14) & (np.abs(np.abs(along) - 0.35) < 0.14)
    picture[marks] = (20, 16 + index % 6, 24, 255)
    return picture


@pytest.fixture
def cat() -> Scene:
    """A plain cat in a meadow."""
    return Scene(
        seed=5,
        kind="object",
        subject="cat",
        second="none",
        style="plain",
        artwork="noto",
        place="meadow",
        perspective="plain",
        mood="none",
        hair="none",
        clothes="none",
        scarf="none",
        pallor="none",
        name="none",
        caption="a cat in a meadow",
        split="train",
    )


@pytest.fixture
def person(cat: Scene) -> Scene:
    """A happy person against a wall."""
    from dataclasses import replace

    look = {"hair": "bald", "clothes": "red shirt", "scarf": "no scarf", "pallor": "usual"}
    return replace(
        cat,
        kind="person",
        subject="none",
        place="plain wall",
        mood="happy",
        caption="a happy person",
        **look,
    )
