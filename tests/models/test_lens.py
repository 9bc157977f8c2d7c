"""The diffusion lens, against plain hooks that leave blocks out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from families import ALL_FAMILIES, built, family_model, small_model
from PIL import Image
from tiny import tiny_model, tiny_text

from clerestory.errors import OptionError, SiteError
from clerestory.models.lens import LensResult

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SILENT = {"progress": False}
PROMPTS = ["a cat", "a dog and a cat"]


def without_blocks(blocks, first):
    """Hooks that make blocks from `first` on give what they are given."""

    def skip(module, args, kwargs, output):
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    return [
        block.register_forward_hook(skip, with_kwargs=True, prepend=True)
        for block in list(blocks)[first:]
    ]


def layers_of(encoder):
    return (encoder.text_model if hasattr(encoder, "text_model") else encoder).encoder.layers


def test_a_layer_s_picture_is_that_of_an_encoder_without_the_blocks_after_it():
    model = tiny_model()
    lens = model.lens(PROMPTS, [0, 3], batch=3, **SILENT)
    assert lens.layers == ("text.blocks.0/resid", "text.blocks.1/resid")
    assert (lens.prompts, lens.seeds) == ((*PROMPTS[:1] * 2, *PROMPTS[1:] * 2), (0, 3, 0, 3))
    plain = model.run(PROMPTS, [0, 3], batch=3, **SILENT).pictures
    assert np.array_equal(lens.pictures[lens.layers[1]], plain)
    assert not np.array_equal(lens.pictures[lens.layers[0]], plain)
    # The prompt's own branch alone: with both cut, the negative prompt is cut as well.
    options = {"guidance": 1.0, "prior_guidance": 1.0, **SILENT}
    first = model.lens(PROMPTS, 0, layers=[0], **options)
    handles = without_blocks(layers_of(model.pipeline.prior_text_encoder), 1)
    try:
        short = model.run(PROMPTS, 0, **options).pictures
    finally:
        for handle in handles:
            handle.remove()
    assert np.array_equal(first.pictures["text.blocks.0/resid"], short)


def test_states_before_the_last_block_are_cut_too():
    """SDXL reads the last block but one of its second encoder, and the pooled state of the last."""
    pipeline = built(ALL_FAMILIES["stable_diffusion_xl"])
    pipeline.text_encoder_2 = tiny_text(pipeline.tokenizer_2, 3).eval()
    model = small_model(pipeline)
    options = {"guidance": 0.0, **SILENT}
    lens = model.lens("a cat", 0, encoders="text_2", **options)
    handles = without_blocks(layers_of(model.pipeline.text_encoder_2), 1)
    try:
        short = model.run("a cat", 0, **options).pictures
    finally:
        for handle in handles:
            handle.remove()
    whole = model.run("a cat", 0, **options).pictures
    assert np.array_equal(lens.pictures["text_2.blocks.0/resid"], short)
    assert np.array_equal(lens.pictures["text_2.blocks.2/resid"], whole)
    assert len({picture.tobytes() for picture in lens.pictures.values()}) == 3
    assert not np.array_equal(short, whole)
    assert all(set(cut) == {"text_2"} for cut in lens.cuts)


def test_several_encoders_are_cut_at_the_same_depth():
    model = family_model("stable_diffusion_3")
    lens = model.lens("a cat", 0, **SILENT)
    assert set(lens.cuts[0]) >= {"text", "text_2"}
    assert np.array_equal(lens.pictures[lens.layers[-1]], model.run("a cat", 0, **SILENT).pictures)
    alone = model.lens("a cat", 0, encoders=["text"], layers=[0], **SILENT)
    assert not np.array_equal(alone.pictures[alone.layers[0]], lens.pictures[lens.layers[0]])


def test_a_class_is_stable_from_the_layer_after_its_last_change(tmp_path):
    values = [10, 200, 10, 200, 200], [10, 10, 10, 10, 200], [200] * 5
    layers = tuple(f"text.blocks.{index}/resid" for index in range(5))
    pictures = {
        layer: np.stack([np.full((4, 4, 3), column[row], np.uint8) for column in values])
        for row, layer in enumerate(layers)
    }
    lens = LensResult(
        layers,
        tuple({"text": layer} for layer in layers),
        ("a", "b", "c"),
        (0,) * 3,
        pictures=pictures,
    )

    def light(shown):
        bright = shown.mean((1, 2, 3)) > 100
        return np.stack([~bright, bright], 1).astype(float)

    told = lens.classify("light", ("dark", "light"), light)
    (classes,) = told.classes
    assert classes.stable_from == (layers[3], layers[4], layers[0])
    assert classes.labels[0] == ("dark", "dark", "light")
    assert "light is stable from text.blocks.3/resid on in half of them" in told.summary()
    assert told.table()["light"].tolist()[:3] == ["dark", "dark", "light"]
    told.save(tmp_path / "out")
    saved = json.loads((tmp_path / "out" / "lens.json").read_text())
    assert saved["classes"][0]["stable_from"] == [layers[3], layers[4], layers[0]]
    grid = np.asarray(Image.open(tmp_path / "out" / "grid.png"))
    # Rows are layers, columns are samples; tiles of 128 pixels with gaps of 4.
    assert grid[68, 68].tolist() == [10] * 3 and grid[68 + 132, 68].tolist() == [200] * 3
    assert grid[68 + 132, 68 + 132].tolist() == [10] * 3
    again = LensResult.load(tmp_path / "out")
    assert again.classes == told.classes and again.layers == layers
    assert np.array_equal(again.pictures[layers[2]], pictures[layers[2]])
    assert told.plot().to_dict()


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"layers": [5]}, OptionError, "the layers 0 to 1"),
        ({"layers": []}, OptionError, "the layers 0 to 1"),
        ({"encoders": "text_9"}, SiteError, "no text encoder 'text_9'"),
        ({"encoders": []}, SiteError, "there are text"),
    ],
)
def test_what_there_is_not_is_refused(how, error, words):
    with pytest.raises(error, match=words):
        tiny_model().lens("a cat", 0, **how, **SILENT)


def test_a_model_whose_encoder_s_blocks_are_not_known_is_refused():
    from helpers.planted_cause import model

    with pytest.raises(SiteError, match="no text encoder whose blocks are known"):
        model().lens("a cat", 0, **SILENT)
