"""Named attacks: each is refused in one line, in little memory and time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from clerestory.errors import ClerestoryError, ModelError, PromptError, RecordingError, SiteError
from clerestory.models.core.addresses import parse

from . import attacks
from .bounds import refusal
from .kinds import KINDS, Kind, sealed

SMALL = [name for name in KINDS if name != "pipeline"]
OWN_FILES = {"art", "check", "world", "study", "template", "prompts", "csv", "lines"}
"""What a user names by the file itself, which may be a link."""
ROOT = "activations.zarr/zarr.json"
HARMLESS = {
    ("recording", "manifest.json", "given twice"),
    ("findings", "samples.parquet", "no rows"),
    ("microscope", "0.words.json", "given twice"),
    ("microscope", "most.npy", "huge"),
    ("microscope", "values.npy", "huge"),
    ("tasks", "seconds", "cut short"),
}
"""What may be used all the same: more samples, a list with more in it, bytes after an array, `1.`
for `1.0`."""


@pytest.mark.parametrize("name", KINDS)
def test_a_valid_one_can_be_used(name, copied):
    assert refusal(KINDS[name], copied(name)) is None


@pytest.mark.parametrize("name", SMALL)
def test_every_file_is_attacked_in_every_way(name, copied):
    kind = KINDS[name]
    for at, place in enumerate(kind.files(copied(name))):
        for attack, do in attacks.BY_ENDING.get(place.suffix, attacks.ANY).items():
            folder = copied(name)
            do(kind.files(folder)[at])
            found = tried(kind, folder, f"{place.name}: {attack}")
            mine = kind.remade or (attack == "link" and name in OWN_FILES)
            mine = mine or place.parent.name == "done"  # a chunk without its marker is drawn again
            if not mine and (name, place.name, attack) not in HARMLESS:
                assert found is not None, f"{place.name}: {attack} was not refused"


def tried(kind: Kind, folder: Path, what: str) -> ClerestoryError | None:
    """How it is refused; AssertionError, with what was done, where it fails otherwise."""
    try:
        return refusal(kind, folder)
    except BaseException as error:
        raise AssertionError(f"{kind.name}, {what}: {error!r}") from error


@pytest.mark.parametrize("name", SMALL)
def test_nodes_of_every_json_file_are_replaced_by_anything(name, copied):
    kind, folder, count = KINDS[name], copied(name), 0
    every = 23 if "CLERESTORY_FUZZ" not in os.environ else 1
    for path in kind.files(folder):
        if path.suffix != ".json":
            continue
        text = path.read_text()
        content = json.loads(text)
        for node in attacks.nodes(content):
            for value in (*attacks.VALUES, ...):
                count += 1
                if count % every:
                    continue
                path.write_text(json.dumps(attacks.replaced(content, node, value)))
                tried(kind, folder, f"{path.name}, {node} = {value!r}")
        path.write_text(text)


@pytest.mark.parametrize("units", [10**8, 10**12])
def test_a_manifest_and_arrays_that_agree_on_an_absurd_shape_are_refused(units, copied):
    folder = copied("recording")
    for path in (folder / "manifest.json", folder / ROOT):
        content = json.loads(path.read_text())
        if path.name == "manifest.json":
            content["arrays"]["prior/embedding"]["shape"][1] = units
        else:
            array = content["consolidated_metadata"]["metadata"]["prior/embedding/value"]
            array["shape"][2] = array["chunk_grid"]["configuration"]["chunk_shape"][2] = units
        path.write_text(json.dumps(content))
    sealed(folder, ROOT)
    assert isinstance(refusal(KINDS["recording"], folder), RecordingError)


@pytest.mark.parametrize(
    ("array", "at", "value"),
    [
        ("prior/embedding/value", ("codecs",), [{"name": "bytes"}, {"name": "zstd"}]),
        ("pictures/value", ("codecs", 0, "configuration", "codecs"), [{"name": "gzip"}]),
        ("prior/embedding/value", ("data_type",), "float64"),
        ("prior/embedding/value", ("shape", 0), 2**40),
        ("prompt", ("chunk_grid", "configuration", "chunk_shape"), [2**40]),
        ("prompt", ("codecs",), [{"name": "vlen-utf8"}, {"name": "blosc"}]),
        ("prompt", ("storage_transformers",), [{"name": "x"}]),
    ],
)
def test_arrays_that_the_recorder_does_not_write_are_refused(array, at, value, copied):
    folder = copied("recording")
    content = json.loads((folder / ROOT).read_text())
    place = ("consolidated_metadata", "metadata", array, *at)
    (folder / ROOT).write_text(json.dumps(attacks.replaced(content, place, value)))
    sealed(folder, ROOT)
    found = refusal(KINDS["recording"], folder)
    assert isinstance(found, RecordingError)
    assert "another array" in str(found) or "labels" in str(found)


@pytest.mark.parametrize(
    ("name", "tensor"),
    [
        (name, tensor)
        for name in ("findings", "steered")
        for tensor in attacks.TENSORS
        if (name, tensor) != ("findings", "other names")  # a direction may have any name
    ],
)
def test_tensors_of_other_kinds_are_refused(name, tensor, copied):
    kind, folder = KINDS[name], copied(name)
    for path in kind.files(folder):
        if path.suffix == ".safetensors":
            attacks.TENSORS[tensor](path)
    assert refusal(kind, folder) is not None


@pytest.mark.parametrize("where", ["recording", "microscope"])
def test_a_model_that_is_named_with_pickles_is_refused(where, copied):
    folder = copied(where)
    path = folder / {"recording": "manifest.json", "microscope": "microscope.json"}[where]
    content = json.loads(path.read_text())
    (content["plan"] if where == "recording" else content)["model"]["load_options"] = {
        "pickles": "yes"
    }
    path.write_text(json.dumps(content))
    assert isinstance(refusal(KINDS[where], folder), RecordingError)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("model_index.json", {"unet": ["os", "system"]}, "code of its own"),
        ("model_index.json", {"../../x": ["diffusers", "UNet2DConditionModel"]}, "not a part"),
        ("model_index.json", {"_class_name": "__doc__"}, "does not know"),
        ("model_index.json", {"unet": []}, "not a part"),
        ("unet/config.json", {"layers_per_block": 10**9}, "more than"),
        ("unet/config.json", {"block_out_channels": [10**9, 32]}, "more than"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**12}, "more than"),
    ],
)
def test_a_pipeline_is_refused_before_anything_is_built(file, change, words, copied):
    folder = copied("pipeline")
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **change}))
    found = refusal(KINDS["pipeline"], folder)
    assert isinstance(found, ModelError) and words in str(found)


@pytest.mark.parametrize("attack", ["link", "pipe", "long header", "cut short", "huge"])
def test_a_pipeline_of_damaged_weights_is_refused(attack, copied):
    folder = copied("pipeline")
    attacks.BY_ENDING[".safetensors"][attack](next((folder / "unet").glob("*.safetensors")))
    assert isinstance(refusal(KINDS["pipeline"], folder), ModelError)


def test_a_template_of_a_million_million_prompts_is_refused(tmp_path):
    levels = "".join(
        f"[levels.f{at}]\n" + "".join(f'l{of} = "x"\n' for of in range(10)) for at in range(12)
    )
    (tmp_path / "prompts.toml").write_text(f'templates = ["a"]\n{levels}')
    assert isinstance(refusal(KINDS["template"], tmp_path), PromptError)


def test_a_template_whose_texts_grow_without_end_is_refused(tmp_path):
    text = "".join(f'[levels.f{at}]\na = "{f"{{f{at + 1}}}" * 100}"\n' for at in range(7))
    whole = f'templates = ["{{f0}}"]\n{text}[levels.f7]\na = "x"\n'
    (tmp_path / "prompts.toml").write_text(whole)
    assert isinstance(refusal(KINDS["template"], tmp_path), PromptError)


def test_an_address_of_a_million_million_units_is_refused():
    with pytest.raises(SiteError, match="selects more than"):
        parse("text.blocks.0/mlp[0:999999999999]")
