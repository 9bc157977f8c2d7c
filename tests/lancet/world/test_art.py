"""Art: packed once, refused in one line where it is missing or damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from clerestory.errors import ArtError
from lancet.world import art_fetch
from lancet.world.art import SIZE, Art, code, pack


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A folder with one red and one blue sprite."""
    red = np.zeros((40, 20, 4), np.uint8)
    red[10:30, 5:15] = (255, 0, 0, 255)
    blue = np.full((10, 10, 4), (0, 0, 255, 255), np.uint8)
    pack(tmp_path / "art", [("noto", "🐈", red), ("flat", "🐈", blue)])
    return tmp_path / "art"


def _line(folder: Path) -> str:
    with pytest.raises(ArtError) as caught:
        Art.open(folder).verify()
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_packed_sprite_fills_its_square_and_is_premultiplied(packed: Path) -> None:
    art = Art.open(packed)
    art.verify()
    assert art.artworks == ("noto", "flat")
    sprite = art.sprite("noto", "🐈", SIZE)
    assert sprite.shape == (SIZE, SIZE, 4)
    visible = np.argwhere(sprite[..., 3] > 0.5)
    assert np.ptp(visible[:, 0]) == SIZE - 1
    assert np.ptp(visible[:, 1]) == SIZE // 2 - 1
    assert np.allclose(sprite[SIZE // 2, SIZE // 2], (1, 0, 0, 1), atol=0.01)
    assert art.sprite("flat", "🐈", 30).shape == (30, 30, 4)
    assert (sprite[..., :3] <= sprite[..., 3:] + 1e-6).all()


def test_variation_selectors_do_not_matter() -> None:
    assert code("❤️") == code("❤") == "2764"


def test_a_missing_folder_says_how_to_make_it(tmp_path: Path) -> None:
    assert "make art" in _line(tmp_path / "nothing")


def test_sprites_cut_short_are_refused(packed: Path) -> None:
    pixels = packed / "sprites.npy"
    pixels.write_bytes(pixels.read_bytes()[:-100])
    assert "cut short" in _line(packed)


def test_altered_sprites_are_refused(packed: Path) -> None:
    pixels = packed / "sprites.npy"
    raw = bytearray(pixels.read_bytes())
    raw[-5000] ^= 255
    pixels.write_bytes(bytes(raw))
    assert "altered" in _line(packed)


def test_a_damaged_header_is_refused(packed: Path) -> None:
    pixels = packed / "sprites.npy"
    pixels.write_bytes(b"x" * len(pixels.read_bytes()))
    assert "altered" in _line(packed)


@pytest.mark.parametrize("told", ["{", "{}"])
def test_a_damaged_index_is_refused(packed: Path, told: str) -> None:
    (packed / "sprites.json").write_text(told)
    assert "altered" in _line(packed)


def test_an_unknown_sprite_is_told_with_the_nearest(packed: Path) -> None:
    with pytest.raises(ArtError, match=r"No sprite 'notto/1f408'.*Did you mean noto/1f408"):
        Art.open(packed).sprite("notto", "🐈", 20)


def test_an_invisible_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtError, match="nothing visible"):
        pack(tmp_path, [("noto", "🐈", np.zeros((8, 8, 4), np.uint8))])
    with pytest.raises(ArtError, match="nothing to pack"):
        pack(tmp_path, [])


def test_without_npm_fetching_says_so_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(ArtError, match="npm"):
        art_fetch.fetch(tmp_path / "art", frozenset("🐈"))
    assert not (tmp_path / "art").exists()


def test_art_that_is_there_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    picture = np.full((8, 8, 4), 255, np.uint8)
    pack(tmp_path, [(artwork, "🐈", picture) for artwork in art_fetch.FAMILIES])
    assert art_fetch.fetch(tmp_path, frozenset("🐈")).artworks == tuple(art_fetch.FAMILIES)
    with pytest.raises(ArtError, match="lacks 6 sprites"):
        art_fetch.fetch(tmp_path, frozenset("🐈🦉"))
