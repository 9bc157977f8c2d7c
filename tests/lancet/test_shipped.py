"""The weights that ship: whole, small enough, a plain pipeline, and as good as they say."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import clerestory
from clerestory.classifiers import load_classifier
from clerestory.errors import ModelError, RegistryError
from lancet import checkpoint
from lancet.classifiers import LancetClassifiers

pytestmark = pytest.mark.weights

WITHOUT_CLERESTORY = """
import sys
sys.modules["clerestory"] = None          # importing it is an error from here on
import torch
from diffusers import DiffusionPipeline
pipeline = DiffusionPipeline.from_pretrained(sys.argv[1])
pipeline.set_progress_bar_config(disable=True)
options = dict(height=64, width=64, num_inference_steps=4, prior_num_inference_steps=3)
generator = torch.Generator().manual_seed(0)
picture = pipeline("a stained glass of a cat", generator=generator, **options).images[0]
print(type(pipeline).__name__, picture.size, len(set(picture.getdata())) > 100)
"""


def test_the_folder_draws_without_clerestory():
    command = [sys.executable, "-W", "ignore", "-c", WITHOUT_CLERESTORY]
    folder = checkpoint.SHIPPED / "model"
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "KandinskyV22CombinedPipeline (64, 64) True", done.stderr


def test_everything_together_takes_at_most_50_megabytes():
    files = [path for path in checkpoint.SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 50e6
    classifiers = [path for path in files if path.parent.name == "classifiers"]
    assert sum(path.stat().st_size for path in classifiers if len(path.stem) == 1) <= 5e6


def test_every_file_is_in_the_manifest():
    files = {
        path.relative_to(checkpoint.SHIPPED).as_posix() for path in checkpoint.SHIPPED.rglob("*.*")
    }
    # The siblings have manifests of their own.
    files = {
        name
        for name in files
        if (checkpoint.SHIPPED / name).is_file() and not name.startswith("siblings/")
    }
    assert files - {"manifest.json"} == set(checkpoint.manifest()["files"])


def test_these_weights_are_frozen():
    """Neurons' numbers, tutorials and figures rest on them: other weights are another version."""
    assert checkpoint.revision() == "1.0-7bffcc90d109"


def test_a_damaged_copy_is_refused_in_one_line(tmp_path):
    import shutil

    copy = tmp_path / "lancet"
    shutil.copytree(checkpoint.SHIPPED, copy)
    broken = copy / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    raw = bytearray(broken.read_bytes())
    raw[len(raw) // 2] ^= 1
    broken.write_bytes(bytes(raw))
    with pytest.raises(ModelError, match="is damaged") as caught:
        clerestory.load(str(copy))
    assert "\n" not in str(caught.value)


def test_reading_every_site_and_an_edit_that_changes_nothing_leave_the_picture_bit_identical():
    class Nothing:
        def __init__(self, site: str) -> None:
            self.site = site

        def __call__(self, value: torch.Tensor) -> torch.Tensor:
            return value.clone()

    model = clerestory.load("lancet")
    bare = model.run("a ship at night", [3], steps=3).pictures
    everything = [Nothing(address) for address in model.sites]
    assert np.array_equal(model.run("a ship at night", [3], steps=3, read="*").pictures, bare)
    edited = model.run("a ship at night", [3], steps=3, edits=everything).pictures
    assert np.array_equal(edited, bare)


@pytest.mark.parametrize(("factor", "bar"), [("style", 0.96), ("subject", 0.90)])
@pytest.mark.parametrize("role", ["selection", "evaluation"])
def test_the_classifiers_know_held_out_renders(role, factor, bar):
    right, of = LancetClassifiers.load(role).accuracy(factor)
    assert of >= 4000
    assert right / of >= bar


def test_the_sets_differ_and_give_probabilities():
    pictures = np.random.default_rng(0).integers(0, 255, (5, 64, 64, 3), dtype=np.uint8)
    one, two = (
        load_classifier("lancet:mood", role=role)(pictures) for role in ("selection", "evaluation")
    )
    assert one.shape == two.shape == (5, 9)
    assert np.allclose(one.sum(1), 1, atol=1e-5)
    assert not np.allclose(np.log(one), np.log(two), atol=0.1)


def test_an_unknown_classifier_suggests_the_nearest():
    with pytest.raises(RegistryError, match="Did you mean mood"):
        load_classifier("lancet:moods")
    with pytest.raises(RegistryError, match="No classifier kind is called 'lancelot'"):
        load_classifier("lancelot:mood")
