"""Styles: each has the look that it is known by, the same one every time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lancet.world.drawing.places import places
from lancet.world.styles import styles
from lancet.world.table import World

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def picture() -> Picture:
    """A yellow disc with dark eyes in a meadow, at the size that is composed."""
    canvas = places["meadow"](np.random.default_rng(0), 86.0)
    down, along = np.mgrid[0:128, 0:128]
    canvas[np.hypot(down - 64, along - 64) < 40] = (246, 200, 60)
    for eye in (50, 78):
        canvas[np.hypot(down - 54, along - eye) < 6] = (20, 16, 20)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _styled(name: str, picture: Picture, seed: int = 0) -> Picture:
    return styles[name](picture, np.random.default_rng(seed))


def test_every_style_of_the_table_has_a_recipe(world: World) -> None:
    assert set(world.styles) == set(styles)


@pytest.mark.parametrize("name", styles)
def test_a_style_gives_the_same_bytes_again_and_leaves_its_input_alone(
    name: str, picture: Picture
) -> None:
    before = picture.copy()
    first, second = _styled(name, picture), _styled(name, picture)
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert np.array_equal(picture, before)


def test_no_two_styles_look_alike(picture: Picture) -> None:
    looks = {name: _styled(name, picture).astype(float) for name in styles}
    for one, other in [(a, b) for a in looks for b in looks if a < b]:
        assert np.abs(looks[one] - looks[other]).mean() > 8, (one, other)


def test_plain_is_the_picture_itself(picture: Picture) -> None:
    assert np.array_equal(_styled("plain", picture), picture)


def test_ink_is_two_toned(picture: Picture) -> None:
    tones = np.unique(_styled("ink", picture).reshape(-1, 3), axis=0)
    assert len(tones) == 2
    assert tones.mean(1).min() < 40
    assert tones.mean(1).max() > 230


def test_pixel_art_is_sixteen_blocks_a_side_in_at_most_ten_colours(picture: Picture) -> None:
    blocks = _styled("pixel art", picture).reshape(16, 8, 16, 8, 3)
    assert (blocks == blocks[:, :1, :, :1]).all()
    assert len(np.unique(blocks[:, 0, :, 0].reshape(-1, 3), axis=0)) <= 10


def test_mosaic_has_grout_between_tiles_of_eight_pixels(picture: Picture) -> None:
    shown = _styled("mosaic", picture).astype(float)
    inside = np.arange(128) % 8
    seam = (inside == 0) | (inside == 7)
    whole = shown[~seam][:, ~seam]
    colour = np.ptp(whole, axis=2).mean()
    assert np.ptp(shown[seam], axis=2).mean() < 0.6 * colour
    tiles = shown.reshape(16, 8, 16, 8, 3)[:, 3:5, :, 2:6]
    assert np.ptp(tiles, axis=(1, 3)).max() < 2


def test_neon_is_mostly_nearly_black_with_bright_tubes(picture: Picture) -> None:
    brightness = _styled("neon", picture).max(2)
    assert np.median(brightness) < 60
    assert brightness.max() > 200


def test_stained_glass_has_dark_leads_between_vivid_panes(picture: Picture) -> None:
    shown = _styled("stained glass", picture).astype(int)
    lead = (shown == (14, 13, 16)).all(2)
    assert 0.10 < lead.mean() < 0.45
    assert np.ptp(shown[~lead], axis=1).mean() > 1.3 * np.ptp(picture.astype(int), axis=2).mean()


def test_pencil_is_nearly_grey_on_light_paper(picture: Picture) -> None:
    shown = _styled("pencil", picture).astype(int)
    assert np.ptp(shown, axis=2).max() <= 12
    assert np.percentile(shown.mean(2), 90) > 200


def test_watercolour_leaves_a_border_of_paper(picture: Picture) -> None:
    shown = _styled("watercolour", picture)
    border = np.concatenate([shown[:2].reshape(-1, 3), shown[:, :2].reshape(-1, 3)])
    assert border.mean() > 235
    assert shown[40:90, 40:90].mean() < 225


def test_halftone_has_black_dots_on_few_flat_colours(picture: Picture) -> None:
    shown = _styled("halftone", picture)
    flat = np.isin(shown, (20, 150, 255)).all(2)
    assert flat.mean() > 0.1
    assert (shown.max(2) < 60).mean() > 0.05


def test_oil_is_made_of_strokes(picture: Picture) -> None:
    shown = _styled("oil", picture)
    sky = np.s_[4:20, 4:124]
    assert shown[sky].std(axis=(0, 1)).mean() > 2 * picture[sky].std(axis=(0, 1)).mean()
