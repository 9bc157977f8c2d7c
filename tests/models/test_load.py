import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from tiny import tiny_model, tiny_pipeline

import clerestory
from clerestory.errors import ModelError, OptionError
from clerestory.models import load, wrap
from clerestory.steering import SteeredModel

SMALL = {"height": 16, "width": 16, "steps": 2, "prior_steps": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("pipeline") / "tiny"
    tiny_pipeline().save_pretrained(place)
    return place


@pytest.fixture
def lancet(folder, tmp_path):
    """A folder like Lancet's: the pipeline and a manifest with checksums and defaults."""
    import shutil

    place = tmp_path / "lancet"
    shutil.copytree(folder, place / "model")
    files = [path for path in place.rglob("*") if path.is_file()]
    sums = {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
    manifest = {"settings": {}, "defaults": {**SMALL, "guidance": 2.0}, "files": sums}
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def test_a_pipeline_folder_opens_and_draws_as_the_object_does(folder):
    model = load(folder, device="cpu")
    expected = tiny_model().run("a cat", 3, **SMALL, guidance=4.0, prior_guidance=4.0).pictures
    drawn = model.run("a cat", 3, **SMALL).pictures
    # Weights read from disk lie elsewhere in memory, and some CPUs then add in another order.
    assert np.abs(drawn.astype(int) - expected.astype(int)).max() <= 1
    assert model.name == str(folder)


def test_opening_says_nothing_and_leaves_the_libraries_as_talkative_as_they_were(folder, capfd):
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    def settings():
        logs = (diffusers_log, transformers_log)
        return [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]

    before = settings()
    capfd.readouterr()
    load(folder, device="cpu")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert settings() == before


def test_weights_in_half_precision_are_run_in_single(tmp_path):
    import torch

    tiny_pipeline().to(torch.float16).save_pretrained(tmp_path / "half")
    pipeline = load(tmp_path / "half", device="cpu").pipeline
    parts = (pipeline.unet, pipeline.prior_prior, pipeline.prior_text_encoder, pipeline.movq)
    assert {part.dtype for part in parts} == {torch.float32}


def test_a_lancet_folder_brings_its_defaults(lancet):
    model = load(lancet, device="cpu")
    assert (model.defaults.height, model.defaults.guidance) == (16, 2.0)
    assert re.fullmatch("[0-9a-f]{12}", model.revision)
    assert model.run("a cat").pictures.shape == (1, 16, 16, 3)


def test_a_steered_model_is_refused_on_other_weights(lancet, tmp_path):
    model = load(lancet, device="cpu")
    SteeredModel(model, []).save(tmp_path / "steered")
    assert SteeredModel.load(tmp_path / "steered", load(lancet, device="cpu")).edits == ()
    manifest = json.loads((lancet / "manifest.json").read_text())
    extra = lancet / "model" / "extra.txt"
    extra.write_text("other")
    manifest["files"]["model/extra.txt"] = hashlib.sha256(extra.read_bytes()).hexdigest()
    (lancet / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match="is another"):
        SteeredModel.load(tmp_path / "steered", load(lancet, device="cpu"))


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"files": []}'])
def test_a_damaged_manifest_is_refused_in_one_line(lancet, text):
    (lancet / "manifest.json").write_text(text)
    with pytest.raises(ModelError, match="damaged"):
        load(lancet)


def test_damaged_weights_are_refused_in_one_line(lancet):
    path = lancet / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="damaged") as error:
        load(lancet)
    assert "\n" not in str(error.value)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(ModelError, match=r"'lancer'.*Did you mean lancet\b"):
        load("lancer")


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no model_index\.json"):
        load(tmp_path)
    index = tmp_path / "model_index.json"
    index.write_text("{")
    with pytest.raises(ModelError, match="cannot be read"):
        load(tmp_path)
    index.write_text(json.dumps({"_class_name": "NoSuchPipeline"}))
    with pytest.raises(ModelError, match="is a NoSuchPipeline, which this version of diffusers"):
        load(tmp_path)
    index.write_text(json.dumps({"_class_name": "KandinskyV22CombinedPipeline"}))
    with pytest.raises(ModelError, match="cannot be opened as a Kandinsky") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)


def test_cut_weights_are_refused_in_one_line(folder, tmp_path):
    import shutil

    place = tmp_path / "cut"
    shutil.copytree(folder, place)
    path = place / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be opened") as error:
        load(place)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("part", ["prior_text_encoder", "unet", "movq"])
def test_a_part_that_lacks_a_weight_is_refused_by_name(folder, tmp_path, part):
    import shutil

    from safetensors.torch import load_file, save_file

    place = tmp_path / "lacking"
    shutil.copytree(folder, place)
    path = next((place / part).glob("*.safetensors"))
    state = load_file(path)
    lost = max(state)
    save_file(
        {name: value for name, value in state.items() if name != lost}, path, {"format": "pt"}
    )
    with pytest.raises(ModelError, match="cannot be opened") as error:
        load(place, device="cpu")
    assert "\n" not in str(error.value)


def test_a_config_of_another_kind_is_refused_in_one_line(folder, tmp_path):
    import shutil

    place = tmp_path / "odd"
    shutil.copytree(folder, place)
    (place / "prior_text_encoder" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="cannot be opened") as error:
        load(place, device="cpu")
    assert "\n" not in str(error.value)


def test_weights_in_pickles_are_not_read(folder, tmp_path):
    import shutil

    import torch

    place = tmp_path / "pickled"
    shutil.copytree(folder, place)
    path = place / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(tiny_pipeline().unet.state_dict(), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(
        ModelError, match=r"unet/diffusion_pytorch_model\.bin is a pickle.*--allow-p"
    ):
        load(place)
    opened = load(place, device="cpu", pickles=True)
    expected = tiny_model().run("a cat", 1, **SMALL, guidance=4.0, prior_guidance=4.0).pictures
    assert np.abs(opened.run("a cat", 1, **SMALL).pictures.astype(int) - expected).max() <= 1


def test_an_unknown_device_or_option_or_object_is_refused(folder):
    with pytest.raises(ModelError, match="No device is called 'gpu'"):
        load(folder, device="gpu")
    with pytest.raises(OptionError, match=r"no argument 'stepz'. Write steps"):
        tiny_model().run("a cat", stepz=3)
    with pytest.raises(OptionError, match="prior_steps is 1; it must be 2 or more"):
        tiny_model().run("a cat", prior_steps=1)
    with pytest.raises(ModelError, match="dict is not a diffusers pipeline"):
        wrap({})


def test_importing_clerestory_alone_imports_nothing_heavy():
    code = (
        "import sys, clerestory; print(sorted({'torch', 'numpy', 'diffusers', 'pandas'} & "
        "set(sys.modules)), clerestory.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")


def test_every_public_name_is_there():
    assert all(getattr(clerestory, name) for name in clerestory.__all__)
    assert set(clerestory.__all__) <= set(dir(clerestory))
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        _ = clerestory.Modell


def test_the_pipeline_is_the_one_given():
    pipeline = tiny_pipeline()
    model = wrap(pipeline, name="mine")
    assert model.pipeline is pipeline
    assert np.array_equal(model.run("a cat", **SMALL).pictures.shape, (1, 16, 16, 3))
