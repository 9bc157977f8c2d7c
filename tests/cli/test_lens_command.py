import functools
import json

import commands
import numpy as np
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import lens
from clerestory.errors import OptionError, RegistryError

app = typer.Typer()
app.command("lens")(lens.lens)
app.command("other")(lambda: None)
call = functools.partial(commands.call, app)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    opened = lambda *_, **__: tiny_model()  # noqa: E731
    monkeypatch.setattr("clerestory.models.load", opened)
    monkeypatch.setattr("clerestory.load", opened, raising=False)


def test_layers_are_drawn_classified_and_saved(tmp_path):
    options = ["--classifier", "colour:light", "--json", "--out", tmp_path / "out"]
    told = json.loads(call("lens", "a cat", "a dog", *options).stdout)
    assert told["layers"] == ["text.blocks.0/resid", "text.blocks.1/resid"]
    assert told["prompts"] == ["a cat", "a dog"] and told["seeds"] == [0, 0]
    (classes,) = told["classes"]
    assert classes["classifier"] == "colour:light"
    assert np.shape(classes["labels"]) == (2, 2) and len(classes["stable_from"]) == 2
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"grid.png", "lens.json", "pictures.npz"}


def test_a_wrong_classifier_or_layer_is_refused_before_anything_is_drawn(tmp_path):
    for options, error in (
        (["--classifier", "nobody:x"], RegistryError),
        (["--layers", "many"], OptionError),
        (["--layers", "7"], OptionError),
    ):
        with pytest.raises(error):
            call("lens", "a cat", *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
