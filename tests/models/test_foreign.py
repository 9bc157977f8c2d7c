"""A generator that is no diffusers pipeline, wrapped by the very code of the how-to."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from clerestory.edits import Add
from clerestory.models.families import chroma

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "add-a-model.md"


class Encoder(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.letters = nn.EmbeddingBag(256, width)
        self.up, self.act = nn.Linear(width, 2 * width), nn.GELU()
        self.down = nn.Linear(2 * width, width)

    def forward(self, prompts):
        bags = [self.letters(torch.tensor([list(prompt.encode())])) for prompt in prompts]
        return self.down(self.act(self.up(torch.cat(bags))))


class Painter(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.colour, self.blur = nn.Linear(width, 3), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, noisy, states):
        return self.blur(noisy) + self.colour(states)[..., None, None]


class Sketch(nn.Module):
    """The foreign generator: no pipeline, no scheduler, nothing of diffusers."""

    def __init__(self, width=12):
        super().__init__()
        self.width, self.encoder, self.painter = width, Encoder(width), Painter(width)

    def encode(self, prompts):
        return self.encoder(prompts)

    def paint(self, states, generators, steps):
        picture = torch.stack([torch.randn(3, 16, 16, generator=each) for each in generators])
        for _ in range(steps):
            picture = picture + 0.5 * self.painter(picture, states)
        return picture.sigmoid()


def blocks():
    """The Python of the page, block by block."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_table_on_the_page_is_the_family_that_is_shipped():
    source = Path(inspect.getfile(chroma)).read_text()
    assert blocks()[0] == source[source.index("from __future__") :]


@pytest.fixture
def model():
    code = blocks()[1]
    assert len(code.splitlines()) < 60
    names = {}
    exec(code, names)
    torch.manual_seed(0)
    return names["opened"](Sketch())


def test_the_pages_code_serves_a_foreign_generator(model):
    net = model.pipeline
    run = model.run(["a cat", "a dog"], range(2), read="*")
    with torch.no_grad():
        generators = [torch.Generator().manual_seed(seed) for seed in (0, 1, 0, 1)]
        states = net.encode(["a cat", "a cat", "a dog", "a dog"])
        bare = (net.paint(states, generators, 4) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(run.pictures, bare)
    condition = run.read("denoiser/condition").values[:, 0]
    assert np.allclose(condition, states.numpy(), atol=1e-6)
    assert run.read("denoiser/latent").sizes == {"sample": 4, "step": 4, "unit": 3}


def test_a_class_that_is_registered_opens_by_load(model):
    import clerestory
    from clerestory.models.core.family import families

    families.add("Sketch", type(model.family))
    try:
        opened = clerestory.load(model.pipeline)
    finally:
        del families._entries["Sketch"]
    assert np.array_equal(opened.run("a cat", 1).pictures, model.run("a cat", 1).pictures)


def test_a_foreign_generator_is_swept_stopped_and_edited_like_any_other(model):
    seen = []
    model.pipeline.encoder.register_forward_hook(lambda *_: seen.append("text"))
    model.pipeline.painter.register_forward_hook(lambda *_: seen.append("step"))
    edits = [
        [],
        [Add("denoiser/condition", np.ones(12))],
        [Add("denoiser/condition", -np.ones(12))],
    ]
    plain, up, down = model.sweep("a cat", range(3), edits)
    assert seen == ["text", *["step"] * 12]
    assert (plain.pictures != up.pictures).any() and (up.pictures != down.pictures).any()
    seen.clear()
    run = model.run("a cat", 0, read=["text.blocks.0/mlp[3]"], pictures=False)
    assert seen == ["text"] and run.read("text.blocks.0/mlp").shape == (1, 1, 1)
    alone = model.run("a cat", [2], edits=edits[1])
    assert np.abs(alone.pictures[0].astype(int) - up.pictures[2]).max() <= 1
