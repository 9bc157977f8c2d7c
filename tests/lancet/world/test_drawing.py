"""Drawing: every level of the table is drawn, the same way every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clerestory.errors import RegistryError
from lancet.world.art import Art
from lancet.world.drawing import draw
from lancet.world.drawing.compose import views
from lancet.world.drawing.people import CLOTHES, SCARVES, hair
from lancet.world.drawing.places import places
from lancet.world.scene import Scene
from lancet.world.table import World


def test_every_level_of_the_table_can_be_drawn(world: World) -> None:
    assert set(world.places) == set(places)
    assert set(world.perspectives) == set(views)
    assert set(world.hair) == set(hair)
    assert set(world.clothes) == set(CLOTHES)
    assert set(world.scarf) == set(SCARVES)


@pytest.mark.parametrize("factor", ["place", "perspective", "style", "artwork"])
def test_each_level_changes_the_picture_of_a_thing(
    factor: str, art: Art, world: World, cat: Scene
) -> None:
    levels = world.levels(factor)
    pictures = {draw(art, world, replace(cat, **{factor: level})).tobytes() for level in levels}
    assert len(pictures) == len(levels)


@pytest.mark.parametrize("factor", ["mood", "hair", "clothes", "scarf", "pallor"])
def test_each_level_changes_the_picture_of_a_person(
    factor: str, art: Art, world: World, person: Scene
) -> None:
    levels = [level for level in world.levels(factor) if level != "none"]
    pictures = {draw(art, world, replace(person, **{factor: one})).tobytes() for one in levels}
    assert len(pictures) == len(levels)


def test_a_picture_is_the_same_bytes_again(art: Art, world: World, person: Scene) -> None:
    beside = replace(person, subject="raven", style="oil")
    first = draw(art, world, beside)
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, draw(art, world, beside))
    assert not np.array_equal(first, draw(art, world, replace(beside, seed=6)))


def test_a_caption_is_not_drawn(art: Art, world: World, cat: Scene) -> None:
    other = replace(cat, caption="a dog", split="held out", name="hypatia")
    assert np.array_equal(draw(art, world, cat), draw(art, world, other))


def test_the_window_is_a_bright_object_in_the_picture(art: Art, world: World, cat: Scene) -> None:
    wall = draw(art, world, replace(cat, place="plain wall")).astype(int)
    window = draw(art, world, replace(cat, place="stained glass window")).astype(int)
    assert replace(cat, place="stained glass window").window == "present"
    assert np.abs(window - wall).mean() > 30
    # Panes are as bright as ever above the cat; around it they are quietened.
    assert np.ptp(window[:20], axis=2).mean() > 1.5 * np.ptp(wall[:20], axis=2).mean()


def test_a_pair_shows_both_things(art: Art, world: World, cat: Scene) -> None:
    pair = replace(cat, kind="pair", second="owl", place="plain wall")
    other = draw(art, world, replace(pair, second="moose")).astype(int)
    changed = np.abs(draw(art, world, pair).astype(int) - other).sum(2)
    assert changed[:, 36:].sum() > 0
    assert changed[:, :24].sum() == 0


def test_an_undrawn_place_is_told_with_the_nearest(art: Art, world: World, cat: Scene) -> None:
    with pytest.raises(RegistryError, match="Did you mean meadow"):
        draw(art, world, replace(cat, place="meadows"))
