import numpy as np
import pytest
from PIL import Image

from clerestory.errors import EvidenceError
from clerestory.reporting.pictures import grid, read_pictures, save, slug, write_pictures


def test_a_grid_lays_pictures_out_row_by_row_on_white():
    pictures = np.stack([np.full((128, 128, 3), value, np.uint8) for value in (10, 20, 30)])
    sheet = grid(pictures, columns=2)
    assert sheet.shape == (268, 268, 3)
    assert [sheet[4, 4, 0], sheet[4, 136, 0], sheet[136, 4, 0]] == [10, 20, 30]
    assert (sheet[136:, 136:] == 255).all() and (sheet[:4] == 255).all()


def test_small_pictures_are_enlarged_without_smoothing():
    picture = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), dtype=np.uint8)
    sheet = grid(picture, columns=1)
    assert (sheet[4:132:2, 4:132:2] == picture[0]).all()
    assert (sheet[5:132:2, 5:132:2] == picture[0]).all()


def test_a_picture_is_written_as_it_is(tmp_path):
    picture = np.random.default_rng(1).integers(0, 255, (8, 9, 3), dtype=np.uint8)
    path = save(picture, tmp_path / "one.png")
    assert (np.asarray(Image.open(path)) == picture).all()


def test_a_slug_is_a_file_name_for_any_prompt():
    assert slug("A stained glass of a cat") == "a-stained-glass-of-a-cat"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("!!!") == "picture"
    assert len(slug("word " * 50)) <= 60


def test_pictures_by_name_are_read_as_they_were_written_and_other_archives_are_refused(tmp_path):
    pictures = {"a/b": np.zeros((2, 4, 4, 3), np.uint8), "c": np.ones((1, 3, 3, 3), np.uint8)}
    write_pictures(tmp_path / "pictures.npz", pictures)
    again = read_pictures(tmp_path / "pictures.npz", EvidenceError)
    assert list(again) == ["a/b", "c"]
    assert all(np.array_equal(again[name], array) for name, array in pictures.items())
    np.savez(tmp_path / "other.npz", pictures["c"])
    with pytest.raises(EvidenceError, match="cannot be read"):
        read_pictures(tmp_path / "other.npz", EvidenceError)
