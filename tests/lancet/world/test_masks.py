"""Masks of a scene's objects, against pictures of the same scene without one of them."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from lancet.world.art import Art
from lancet.world.drawing import compose, draw, object_masks
from lancet.world.scene import Scene
from lancet.world.table import World

SIZE = 128


def _without(name: str, sign: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is pasted for a sprite, and nothing calmed around it."""
    lookup, sprites = Art.sprite, []

    def sprite(self: Art, artwork: str, emoji: str, size: int) -> np.ndarray:
        found = lookup(self, artwork, emoji, size)
        if emoji == sign:
            sprites.append(size)
            return np.zeros_like(found)
        return found

    monkeypatch.setattr(Art, "sprite", sprite)


@pytest.mark.parametrize("perspective", ["plain", "tilted", "from below", "distant"])
@pytest.mark.parametrize("gone", ["cat", "owl"])
def test_pixels_change_in_the_mask_and_next_to_it_alone_when_an_object_is_removed(
    art: Art,
    world: World,
    cat: Scene,
    gone: str,
    perspective: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = replace(cat, kind="pair", second="owl", place="plain wall", perspective=perspective)
    masks = object_masks(art, world, scene, SIZE)
    # Before the style, which may change every pixel a little.
    whole = compose._compose(art, world, scene)[0]
    _without(gone, world.subjects[gone][0], monkeypatch)
    changed = np.abs(whole - compose._compose(art, world, scene)[0]).max(2)
    assert set(masks) == {"cat", "owl"} and masks[gone].shape == (SIZE, SIZE)
    assert masks[gone].sum() > 200
    # An object's surroundings are calmed: 5 pixels, and a blur of 2 more, which a turned picture
    # reflects at its edges. What is calmed around the second has a little of the first, over which
    # it lies.
    reach = 49 if perspective == "tilted" else 33
    others = masks["owl"] if gone == "cat" else np.zeros_like(masks["owl"])
    near = (
        cv2.dilate((masks[gone] | others).astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    )
    assert changed[~near].max() < 0.5
    inside = cv2.erode(others.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    # The sprite may let a trace of it through.
    assert (changed[inside & ~masks[gone]] < 2).all()
    # Some colours are like what is behind them.
    assert (changed[masks[gone]] > 4).mean() > 0.6


def test_masks_of_a_pair_share_no_pixel_and_have_the_size_asked_for(
    art: Art, world: World, cat: Scene
) -> None:
    scene = replace(cat, kind="pair", second="moose", perspective="close-up", place="plain wall")
    masks = object_masks(art, world, scene)
    assert not (masks["cat"] & masks["moose"]).any()
    assert masks["cat"].shape == draw(art, world, scene).shape[:2] == (64, 64)
    # The first stands on the left.
    left, right = (np.nonzero(masks[name])[1].mean() for name in ("cat", "moose"))
    assert left < 32 < right
    alone = replace(cat, kind="object")
    assert list(object_masks(art, world, alone)) == ["cat"]


def test_a_person_is_no_object(art: Art, world: World, person: Scene) -> None:
    assert object_masks(art, world, replace(person, subject="none")) == {}
    assert list(object_masks(art, world, replace(person, subject="owl"))) == ["owl"]
