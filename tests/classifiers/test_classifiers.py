from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny import tiny_model, tiny_text, tiny_tokenizer

from clerestory.classifiers import label_samples, load_classifier
from clerestory.contrasts.predictions import PASSED, PictureClassifiers
from clerestory.errors import ModelError, RecordingError, RegistryError
from clerestory.recordings import record


def noise(count: int = 6) -> Any:
    return np.random.default_rng(0).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)


def test_a_function_of_ones_own_is_a_classifier(mine: Any) -> None:
    judge = load_classifier("python:mine_for_tests:brightness")
    assert judge.classes == ("dark", "light")
    pictures = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 255)])
    assert np.allclose(judge(pictures), [[1, 0], [0, 1]])
    with pytest.raises(ModelError, match=r"gave \[6, 3\].*\[6, 2\] are expected"):
        load_classifier("python:mine_for_tests:wrong")(noise())


def test_colours_are_measured() -> None:
    tint, light = load_classifier("colour:tint"), load_classifier("colour:light")
    tones = [(40, 60, 120), (120, 120, 120), (220, 200, 140)]
    pictures = np.stack([np.full((8, 8, 3), tone, np.uint8) for tone in tones])
    assert [tint.classes[at] for at in tint(pictures).argmax(1)] == ["cool", "neutral", "warm"]
    assert [light.classes[at] for at in light(pictures).argmax(1)] == ["dark", "middling", "light"]
    between = np.full((1, 8, 8, 3), round(0.625 * 255), np.uint8)
    assert np.allclose(light(between)[0, 1:], 0.5, atol=0.02)
    assert np.allclose(tint(noise()).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("colour:hue", "No colour is called 'hue'"),
        ("python:mine_for_tests:without", "an attribute `classes`"),
        ("python:mine_for_tests:nothing", "cannot be used"),
        ("python:no_such_module_here:f", "cannot be used: No module named"),
        ("zero-shot:some/model", "names no model with classes"),
        ("zero-shot:some/model[one]", "names no model with classes"),
        ("lancet:moood", "mood"),
        ("python:mine_for_tests:twice", "the classes 'a', 'a'; two or more are expected"),
        ("python:mine_for_tests:spelt", "has the classes ; two or more"),
        ("python:broken_for_tests:f", "cannot be used: invalid syntax"),
        ("oracle:mood", "No classifier kind is called 'oracle'.*lancet.*zero-shot"),
    ],
)
def test_what_is_no_classifier_is_refused_in_one_line(mine: Any, name: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words) as caught:
        load_classifier(name)
    assert "\n" not in str(caught.value)


def test_an_image_classifier_of_transformers_answers_as_it_does_itself(tmp_path: Path) -> None:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=16,
        id2label={0: "fear", 1: "joy", 2: "anger"},
        label2id={"fear": 0, "joy": 1, "anger": 2},
    )
    model = ViTForImageClassification(config).eval()
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    model.save_pretrained(tmp_path / "vit")
    processor.save_pretrained(tmp_path / "vit")
    judge = load_classifier(f"classifier:{tmp_path / 'vit'}")
    assert judge.classes == ("fear", "joy", "anger")
    with torch.no_grad():
        given = processor(list(noise()), return_tensors="pt")
        expected = model(**given).logits.softmax(-1).numpy()
    assert np.allclose(judge(noise()), expected, atol=1e-5)
    assert judge(noise(0)).shape == (0, 3)


def test_a_zero_shot_classifier_takes_classes_in_any_words(tmp_path: Path) -> None:
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    tokenizer = tiny_tokenizer()
    text = tiny_text(tokenizer).config
    vision = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    vision |= {"intermediate_size": 48, "image_size": 32, "patch_size": 16}
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision, projection_dim=16)
    CLIPModel(config).save_pretrained(tmp_path / "clip")
    tokenizer.save_pretrained(tmp_path / "clip")
    size = {"height": 32, "width": 32}
    CLIPImageProcessor(size=size, crop_size=size).save_pretrained(tmp_path / "clip")
    judge = load_classifier(f"zero-shot:{tmp_path / 'clip'}[a cat, a dog,  a cat b]")
    assert judge.classes == ("a cat", "a dog", "a cat b")
    odds = judge(noise())
    assert odds.shape == (6, 3)
    assert np.allclose(odds.sum(1), 1, atol=1e-5)
    other = load_classifier(f"zero-shot:{tmp_path / 'clip'}[a dog, a cat]")(noise())
    pair = odds[:, [1, 0]] / odds[:, :2].sum(1, keepdims=True)
    assert np.allclose(other, pair, atol=1e-4)


def test_a_checkpoint_without_a_trained_head_is_no_classifier(tmp_path: Path) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil, ViTModel

    sizes: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 16, "image_size": 32, "patch_size": 16}
    for name, made in (
        ("body", ViTModel(ViTConfig(**sizes))),
        ("age", ViTForImageClassification(ViTConfig(**sizes, num_labels=1))),
        ("cranes", ViTForImageClassification(ViTConfig(**sizes, id2label=CRANES))),
    ):
        made.save_pretrained(tmp_path / name)
        ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / name)
    with pytest.raises(ModelError, match="not a trained classifier: its weights lack classifier"):
        load_classifier(f"classifier:{tmp_path / 'body'}")
    with pytest.raises(ModelError, match="has one output"):
        load_classifier(f"classifier:{tmp_path / 'age'}")
    cranes: Any = load_classifier(f"classifier:{tmp_path / 'cranes'}")
    assert cranes.classes == ("crane 0", "drake", "crane 2")
    digest = cranes.digest
    assert digest == type(cranes)(*[getattr(cranes, one) for one in FIELDS]).digest
    other = type(cranes)(*[getattr(cranes, one) for one in FIELDS])
    next(other.model.parameters()).data += 1
    assert other.digest != digest


CRANES = {0: "crane", 1: "drake", 2: "crane"}
FIELDS = ("source", "classes", "model", "prepare")


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be opened as a classifier") as caught:
        load_classifier(f"classifier:{tmp_path / 'nowhere'}")
    assert "\n" not in str(caught.value)


def test_labels_are_columns_and_each_picture_is_looked_at_once(recording: Any, mine: Any) -> None:
    name = "python:mine_for_tests:brightness"
    table = label_samples(recording, name)
    assert list(table) == ["predicted.brightness", "predicted.brightness.confidence"]
    light = recording.pictures(range(8)).mean((1, 2, 3)) / 255
    assert list(table.iloc[:, 0]) == ["light" if one > 0.5 else "dark" for one in light]
    assert np.allclose(table.iloc[:, 1], np.maximum(light, 1 - light), atol=1e-6)
    assert sum(mine.calls) == 8
    again = label_samples(recording, name, column="tone")
    assert list(again) == ["predicted.tone", "predicted.tone.confidence"]
    assert sum(mine.calls) == 8


def test_a_gate_rules_pictures_out(recording: Any, mine: Any) -> None:
    gated = label_samples(
        recording,
        "python:mine_for_tests:brightness",
        picture_filter="python:mine_for_tests:face=present",
    )
    face = recording.pictures(range(8))[:, 0, 0, 0] > 127
    assert list(gated.iloc[:, 0] != "") == face.tolist()


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        ("face", "names no label"),
        ("python:mine_for_tests:face=presnt", "no class 'presnt'.*present"),
    ],
)
def test_what_is_no_gate_is_refused(recording: Any, mine: Any, gate: str, words: str) -> None:
    with pytest.raises(RegistryError, match=words):
        label_samples(recording, "python:mine_for_tests:brightness", picture_filter=gate)


def test_a_gate_holds_also_where_no_condition_asks_what_is_drawn(recording: Any, mine: Any) -> None:
    eyes = PictureClassifiers.from_queries(
        recording, ["prompt == 'a cat'"], {}, "python:mine_for_tests:face=present"
    )
    face = recording.pictures(range(8))[:, 0, 0, 0] > 127
    for table in eyes.predictions().values():
        assert table[PASSED].tolist() == face.tolist()


def test_a_function_beside_the_caller_is_found_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "mine_here.py").write_text(
        "def face(pictures): ...\nface.classes = ('present', 'none')\n"
    )
    code = "from clerestory.classifiers import load_classifier\n"
    code += "print(load_classifier('python:mine_here:face').source)"
    script = tmp_path / "elsewhere" / "script.py"
    script.parent.mkdir()
    script.write_text(code)
    ran = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "python:mine_here:face" in ran.stdout


def test_without_pictures_there_is_nothing_to_label(tmp_path: Path, mine: Any) -> None:
    bare = record(
        tiny_model(), ["a cat"], sites="text/pooled", out=tmp_path / "bare", pictures=False
    )
    with pytest.raises(RecordingError, match="holds no pictures"):
        label_samples(bare, "python:mine_for_tests:brightness")


def test_a_plug_in_package_adds_a_kind(tmp_path: Path) -> None:
    (tmp_path / "plugged.py").write_text(
        "from clerestory.classifiers import classifier_kinds\n"
        "class Sure:\n"
        "    classes, source = ('yes', 'no'), 'sure'\n"
        "    def __call__(self, pictures): ...\n"
        "@classifier_kinds.register('sure')\n"
        "def sure(name, role): return Sure()\n"
    )
    told = tmp_path / "plugged-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text("[clerestory.classifiers]\nsure = plugged\n")
    code = "from clerestory.classifiers import load_classifier\n"
    code += "print(load_classifier('sure:x').classes)"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.strip() == "('yes', 'no')"
