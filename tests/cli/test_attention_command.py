import functools
import json

import commands
import numpy as np
import pytest
import typer
from families import family_model
from PIL import Image

from clerestory.cli import attention
from clerestory.errors import OptionError, PromptError
from clerestory.stats.maps import intersection_over_union

app = typer.Typer()
app.command("attention")(attention.attention)
app.command("other")(lambda: None)
call = functools.partial(commands.call, app)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """The command line's models are a tiny Stable Diffusion."""
    opened = lambda *_, **__: family_model("stable_diffusion")  # noqa: E731
    monkeypatch.setattr("clerestory.models.load", opened)
    monkeypatch.setattr("clerestory.load", opened, raising=False)


def test_maps_are_drawn_saved_and_told(tmp_path):
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    Image.fromarray(mask).save(tmp_path / "left.png")
    options = ["--words", "cat,dog", "--steps", "2", "--json", "--out", tmp_path / "out"]
    result = call("attention", "a cat and a dog", *options, "--mask", f"cat={tmp_path}/left.png")
    told = json.loads(result.stdout)
    maps = family_model("stable_diffusion").attention(
        "a cat and a dog", 0, words=["cat", "dog"], denoising_steps=2, progress=False
    )
    cat = maps.map("cat")
    row, column = np.unravel_index(cat.argmax(), cat.shape)
    assert told["words"]["cat"] == {
        "tokens": ["cat"],
        "positions": [2],
        "peak": pytest.approx([(row + 0.5) / 4, (column + 0.5) / 4]),
        "concentration": pytest.approx(np.sort(cat.ravel())[-2:].sum() / cat.sum()),
        "mass_inside": pytest.approx(cat[:, :2].sum() / cat.sum()),
        "iou": pytest.approx(intersection_over_union(cat, mask > 0)),
        "pointing": bool(column < 2),
    }
    assert "mass_inside" not in told["words"]["dog"] and told["difference"] is None
    assert told["seed"] == 0 and len(told["layers"]) == 4
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("attention.json", "attention.zarr", "grid.png", "picture.png"),
        *("word-cat.png", "word-dog.png"),
    }
    drawn = np.asarray(Image.open(tmp_path / "out" / "word-dog.png"))
    assert (drawn == maps.overlays()["dog"]).all()


def test_text_layers_are_told_as_a_table_and_a_chart(tmp_path):
    result = call("attention", "a cat", "--layers", "text.*", "--out", tmp_path / "out")
    assert "(rest)" in result.stdout and "cat" in result.stdout
    assert (tmp_path / "out" / "attention.png").read_bytes()[1:4] == b"PNG"


def test_what_is_wrong_is_refused_before_anything_is_drawn(tmp_path):
    (tmp_path / "no.png").write_text("no picture")
    for options, error, message in (
        (["--words", "moose"], PromptError, "the words there are a, cat"),
        (["--only-steps", "many"], OptionError, "--only-steps"),
        (["--mask", "cat"], OptionError, "WORD=FILE"),
        (["--mask", f"cat={tmp_path}/no.png"], OptionError, "cannot be read"),
    ):
        with pytest.raises(error, match=message):
            call("attention", "a cat", *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_concepts_are_told_beside_the_space_and_the_picture_is_the_same(monkeypatch):
    model = family_model("flux")
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model, raising=False)
    monkeypatch.setattr("clerestory.models.load", lambda *_, **__: model)
    options = ["--concepts", "cat,dog", "--steps", "2", "--json"]
    told = json.loads(call("attention", "a cat", *options).stdout)
    assert told["space"] == "output" and "direction" not in told
    assert told["words"]["dog"]["positions"] == [1, 2, 3, 4]
    options = ["--words", "cat,a", "--space", "output", "--steps", "2"]
    assert "Attention outputs of cat, a" in call("attention", "a cat", *options).stdout
