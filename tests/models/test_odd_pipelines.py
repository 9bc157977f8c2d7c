"""Pipelines that draw although they are unusual open; those that cannot draw say so at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from families import built, stable_diffusion

from clerestory.errors import ModelError
from clerestory.models import load, wrap
from clerestory.models.families.generic import GenericFamily
from clerestory.models.loading.pipelines import check_task

SMALL = {"height": 16, "width": 16, "steps": 2, "progress": False}


def with_parts(**parts: Any) -> Any:
    from diffusers import StableDiffusionPipeline

    components = {**stable_diffusion().components, **parts}
    return StableDiffusionPipeline(**components, requires_safety_checker=False)


def with_bert() -> Any:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=600,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return with_parts(text_encoder=BertModel(config, add_pooling_layer=False).eval())


def test_a_pipeline_with_an_encoder_of_another_kind_draws_what_it_draws_alone() -> None:
    pipeline = with_bert()
    model = wrap(pipeline)
    assert isinstance(model.family, GenericFamily)
    assert model.description.startswith("Its text_encoder is a BertModel.")
    run = model.run("a cat", 3, read="text.encoder.layer.0.output.dense/out", **SMALL)
    generator = torch.Generator().manual_seed(3)
    (alone,) = pipeline(
        "a cat", height=16, width=16, num_inference_steps=2, generator=generator, output_type="np"
    ).images
    assert run.pictures is not None
    assert np.abs(run.pictures[0] - alone * 255).max() <= 1
    assert np.isfinite(run.read("text.encoder.layer.0.output.dense/out").values).all()


@pytest.mark.parametrize(("length", "expected"), [(10**9, "1,000,000,000"), (77, "77")])
def test_a_tokenizer_longer_than_its_encoder_is_refused_before_anything_is_padded(
    length: int, expected: str
) -> None:
    tokenizer = stable_diffusion().tokenizer
    tokenizer.model_max_length = length
    with pytest.raises(ModelError, match=f"model_max_length {expected}.*tokenizer_config") as error:
        wrap(with_parts(tokenizer=tokenizer))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("WanPipeline", "frames"),
        ("LTXPipeline", "frames"),
        ("StableAudioPipeline", "audios"),
        ("KandinskyV22PriorPipeline", "image_embeds"),
        ("StableCascadePriorPipeline", "image_embeddings"),
    ],
)
def test_a_pipeline_without_pictures_is_refused_by_what_it_gives(kind: str, made: str) -> None:
    import diffusers

    with pytest.raises(ModelError, match=f"is a {kind}: it gives .*{made}.* and no pictures"):
        check_task("some/model", getattr(diffusers, kind))


@pytest.mark.parametrize("kind", ["Kandinsky5T2IPipeline", "SanaPipeline", "ZImagePipeline"])
def test_a_pipeline_of_pictures_is_not_refused(kind: str) -> None:
    import diffusers

    check_task("some/model", getattr(diffusers, kind))


def test_a_pipeline_that_gives_no_pictures_after_all_says_what_it_gave() -> None:
    class Silent:
        components: ClassVar[dict[str, Any]] = {"unet": torch.nn.Linear(1, 1)}

        def __call__(self, prompt: str) -> Any:
            return type("Output", (dict,), {})(sounds=[1])

    with pytest.raises(ModelError, match="Silent gave sounds and no pictures"):
        wrap(Silent()).run("a cat", progress=False)


@pytest.mark.parametrize("part", ["text_encoder", "tokenizer", "unet", "vae", "scheduler", ""])
def test_no_configuration_of_a_checkpoint_imports_its_code(part: str, tmp_path: Path) -> None:
    place, ran = tmp_path / "model", tmp_path / "ran"
    built(stable_diffusion).save_pretrained(place)
    names = [f"Auto{kind}" for kind in ("Config", "Model", "Tokenizer", "ModelForCausalLM")]
    code = f"open({str(ran)!r}, 'w')\nclass Mine: pass\n"
    for folder in (place, place / part):
        (folder / "mine.py").write_text(code)
        (folder / "pipeline.py").write_text(code)
    for path in sorted((place / part).glob("*.json")):
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            continue
        content["auto_map"] = dict.fromkeys(names, "mine.Mine")
        for key in ("_class_name", "tokenizer_class", "architectures", "custom_pipeline"):
            spoilt = {**content, key: ["mine", "Mine"] if key == "_class_name" else "mine.Mine"}
            path.write_text(json.dumps(spoilt))
            try:
                load(place, device="cpu")
            except ModelError as error:
                assert "\n" not in str(error)
            assert not ran.exists(), f"{path.name}: {key}"
        path.write_text(json.dumps({k: v for k, v in content.items() if k != "auto_map"}))
    shutil.rmtree(place)


def test_the_stub_of_a_pipeline_is_none() -> None:
    with pytest.raises(ModelError, match="not a diffusers pipeline"):
        wrap(SimpleNamespace(components={}))
