"""Rendering: the same bytes with any number of processes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from lancet.world.art import Art
from lancet.world.drawing import draw
from lancet.world.render import CHUNK, render, render_into
from lancet.world.scene import Scene
from lancet.world.table import World


def _scenes(cat: Scene, person: Scene, world: World, count: int) -> list[Scene]:
    styles = list(world.styles)
    return [
        replace((cat, person)[seed % 2], seed=seed, style=styles[seed % len(styles)])
        for seed in range(count)
    ]


def test_one_process_and_two_give_the_same_bytes(
    world: World, art_folder: Path, cat: Scene, person: Scene
) -> None:
    scenes = _scenes(cat, person, world, CHUNK + 20)
    one = render(world, art_folder, scenes, processes=1)
    two = render(world, art_folder, scenes, processes=2)
    assert one.shape == (CHUNK + 20, 64, 64, 3)
    assert np.array_equal(one, two)


def test_pictures_come_in_the_order_of_their_scenes(
    world: World, art_folder: Path, art: Art, cat: Scene, person: Scene
) -> None:
    scenes = _scenes(cat, person, world, 9)
    out = np.zeros((9, 64, 64, 3), np.uint8)
    render_into(world, art_folder, scenes, out, processes=1)
    for picture, scene in zip(out, scenes, strict=True):
        assert np.array_equal(picture, draw(art, world, scene))
