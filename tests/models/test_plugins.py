import ast
import os
import subprocess
import sys

import pytest
from tiny import tiny_pipeline

from clerestory.errors import ModelError, RegistryError
from clerestory.models import ModelProfile, load, wrap
from clerestory.models.loading import plugins as registered

PLUGIN = """
from pathlib import Path

from clerestory.models import Checkpoint, ModelProfile, Options

FOLDER = Path({folder!r})


class Profile(ModelProfile):
    def template(self, classifier, label):
        return f"{{label}} {{{{item}}}}"


class Toy:
    default = {default}

    def recognizes(self, folder):
        return (folder / "toy").is_file()

    def checkpoint(self, source):
        place = FOLDER if source == "toy" else Path(source)
        return Checkpoint(place, "a toy", Options(16, 16, steps=2), "7", Profile("toy"))


toy = Toy()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipeline") / "tiny"
    tiny_pipeline().save_pretrained(place)
    (place / "toy").touch()
    return place


@pytest.fixture
def install(folder, tmp_path, monkeypatch):
    """Put a plug-in with one model on the path, as an installed package is."""

    def installed(default=False, module="clerestory_toy"):
        text = PLUGIN.format(folder=str(folder), default=default)
        (tmp_path / f"{module}.py").write_text(text)
        meta = tmp_path / "clerestory_toy-1.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: clerestory-toy\nVersion: 1\n")
        entry = "[clerestory.models]\ntoy = clerestory_toy:toy\n"
        (meta / "entry_points.txt").write_text(entry)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "clerestory_toy", raising=False)

    return installed


def test_a_plugin_opens_its_model_by_name_with_what_it_brings(install):
    install()
    model = load("toy", device="cpu")
    assert (model.name, model.revision, model.defaults.steps) == ("a toy", "7", 2)
    assert model.profile.template("x:style", "glass") == "glass {item}"


def test_a_plugin_opens_a_folder_that_it_recognizes(install, folder):
    install()
    assert load(folder, device="cpu").profile.name == "toy"


def test_names_are_read_without_importing_a_plugin(install):
    install()
    assert "toy" in registered.model_names()
    assert "clerestory_toy" not in sys.modules
    with pytest.raises(ModelError, match=r"'toi'.*Did you mean toy\?"):
        load("toi")
    assert "clerestory_toy" not in sys.modules


def test_a_plugin_that_cannot_be_imported_is_named(install):
    install(module="another")
    with pytest.raises(RegistryError, match="clerestory_toy:toy cannot be used"):
        load("toy")


def test_the_default_is_the_one_that_a_plugin_declares(install, monkeypatch):
    install(default=True)
    known = registered.plugins
    monkeypatch.setattr(registered, "plugins", lambda group: {"toy": known(group)["toy"]})
    assert load(device="cpu").name == "a toy"


def test_without_a_default_a_model_must_be_named(install, monkeypatch):
    install(default=False)
    known = registered.plugins
    monkeypatch.setattr(registered, "plugins", lambda group: {"toy": known(group)["toy"]})
    with pytest.raises(ModelError, match="No model is named"):
        load()


def test_a_model_without_a_profile_brings_nothing():
    profile = wrap(tiny_pipeline()).profile
    assert profile == ModelProfile()
    assert (profile.classifiers, profile.items(3), profile.captions()) == ({}, (), ())
    assert profile.template("any:style", "stained glass") == "{item}, stained glass"


def test_opening_another_model_imports_no_lancet(folder):
    code = f"import sys, clerestory; clerestory.load({str(folder)!r}, device='cpu'); "
    code += "print([name for name in sys.modules if name.startswith('lancet.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # The plug-ins themselves are asked whether the folder is theirs; they import little.
    plugins = {"lancet.profile", "lancet.siblings", "lancet.checkpoint"}
    assert set(ast.literal_eval(done.stdout)) <= plugins


FAMILY = """
import numpy as np

from clerestory.models import Options, Site
from clerestory.models.core.family import Encoding, Family, SiteHook, families, seed_generators


@families.register("Scribbler")
class Scribble(Family):
    stages, encoder_stages = ("text",), ()
    conditioning_site = ""
    defaults = Options(height=8, width=8)

    def __init__(self, pipeline):
        self.pipeline = pipeline
        self.site_hooks = [SiteHook(Site("text/length", (1, 1), "net", module=pipeline.net))]
        self.stage_modules = {"text": pipeline.net}

    def encode(self, batch, until, branch):
        return Encoding({}, [generator.get_state() for generator in seed_generators(batch)])

    def draw(self, batch, encoded, handoff, until):
        import torch

        values = self.pipeline.net(torch.tensor([[float(len(one.prompt))] for one in batch]))
        pictures = values[:, :, None, None].byte().numpy()
        return np.broadcast_to(pictures, (len(batch), 8, 8, 3)).copy()
"""


def test_a_family_joins_by_one_file_and_one_registration(tmp_path):
    (tmp_path / "scribbling.py").write_text(FAMILY)
    meta = tmp_path / "scribbling-1.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: scribbling\nVersion: 1\n")
    (meta / "entry_points.txt").write_text("[clerestory.families]\nscribble = scribbling\n")
    code = (
        "import torch, clerestory\n"
        "from types import SimpleNamespace\n"
        "Scribbler = type('Scribbler', (SimpleNamespace,), {})\n"
        "model = clerestory.load(Scribbler(net=torch.nn.Identity()))\n"
        "run = model.run(['ab', 'abcd'], 0, read='text/length')\n"
        "print(run.pictures[:, 0, 0, 0].tolist(), run.read('text/length').values.ravel().tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[2, 4] [2.0, 4.0]"
