"""Output-space maps equal those of plain hooks, and a second call computes what the first would."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from families import WINDOW, built, family_model, small_model, stable_diffusion_3

from clerestory.errors import OptionError, PromptError, SiteError
from clerestory.models import attention as questions
from clerestory.models.core import attention_outputs as core
from clerestory.models.core.attention_concepts import ConceptTokens

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPT = "a cat"
CONCEPTS = ["cat", "dog"]
"""One that the prompt has, one that it has not."""
SILENT = {"progress": False}
# Of "cat" and "dog" encoded alone: CLIP's token after its start token, and T5's "▁cat", and "▁",
# "d", "o", "g".
SD3_TOKENS = ([1, WINDOW], [1, *range(WINDOW, WINDOW + 4)])
FLUX_TOKENS = ([0], [0, 1, 2, 3])


class Calls:
    """What blocks are given, and what the attention gives to the picture, from hooks alone."""

    def __init__(self, blocks: Any) -> None:
        self.blocks, self.inputs, self.outputs = blocks, [], []

    def __enter__(self) -> Calls:
        self.hooks = ExitStack()
        for block in self.blocks:
            taken = lambda m, a, kwargs: self.inputs.append(kwargs)  # noqa: E731
            handle = block.register_forward_pre_hook(taken, with_kwargs=True)
            self.hooks.callback(handle.remove)
            given = lambda m, args: self.outputs.append(args[0])  # noqa: E731
            handle = block.attn.to_out[0].register_forward_pre_hook(given)
            self.hooks.callback(handle.remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.close()


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """`[head, position, unit]` to outputs of all heads, `[position, unit]`."""
    outputs = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
    return outputs.transpose(0, 1).flatten(1)


def heads(values: torch.Tensor, count: int) -> torch.Tensor:
    return values.unflatten(-1, (count, -1)).transpose(0, 1)


def concept_step(block: Any, inputs: Any, row: int, concepts: torch.Tensor, turn: Any) -> Any:
    """A block's text side for concepts that attend to themselves and the picture, by hand.

    Returns the outputs of their attention and what the block makes of the concepts.
    """
    attention, temb = block.attn, inputs["temb"][row : row + 1]
    picture = block.norm1(inputs["hidden_states"][row : row + 1], emb=temb)[0][0]
    text = concepts[None]
    if getattr(block, "context_pre_only", False):
        normed, rest = block.norm1_context(text, temb)[0], None
    else:
        normed, *rest = block.norm1_context(text, emb=temb)
        normed = normed[0]
    joined = []
    for name in "qkv":
        own = heads(getattr(attention, f"add_{name}_proj")(normed), attention.heads)
        other = heads(getattr(attention, f"to_{name}")(picture), attention.heads)
        if name != "v":
            own = getattr(attention, f"norm_added_{name}")(own)
            other = getattr(attention, f"norm_{name}")(other)
        joined.append(turn(own, other, name))
    outputs = attend(*joined)
    own = outputs[: len(concepts)] if turn is rotate else outputs[-len(concepts) :]
    if rest is None:
        return own, None
    gate, shift, scale, mlp_gate = rest
    text = text + gate[:, None] * attention.to_add_out(own)
    inner = block.norm2_context(text) * (1 + scale[:, None]) + shift[:, None]
    return own, (text + mlp_gate[:, None] * block.ff_context(inner))[0]


def append(own: torch.Tensor, other: torch.Tensor, name: str) -> torch.Tensor:
    """Stable Diffusion 3: the picture first."""
    return torch.cat([other, own], 1)


def rotate(own: torch.Tensor, other: torch.Tensor, name: str) -> torch.Tensor:
    """Flux: the text first, and both are rotated by their positions; the text's are all zero."""
    joined = torch.cat([own, other], 1)
    if name == "v":
        return joined
    cos, sin = rotate.angles  # type: ignore[attr-defined]
    angles = torch.complex(cos[:, ::2].float(), sin[:, ::2].float())
    angles = torch.cat([angles[: own.shape[1]], angles[512:]])
    pairs = torch.view_as_complex(joined.float().unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * angles).flatten(-2)


def expected_shares(calls: Calls, row: int, states: Any, tokens: Any, turn: Any) -> list[Any]:
    """`[concept, position]` of each layer and call."""
    shares = []
    for call in range(len(calls.inputs) // len(calls.blocks)):
        concepts = states
        for index, block in enumerate(calls.blocks):
            place = call * len(calls.blocks) + index
            inputs = calls.inputs[place]
            if turn is rotate:
                rotate.angles = inputs["image_rotary_emb"]  # type: ignore[attr-defined]
            outputs, concepts = concept_step(block, inputs, row, concepts, turn)
            means = torch.stack([part.mean(0) for part in outputs.split(tokens)])
            shares.append((means @ calls.outputs[place][row].T).softmax(0))
    return shares


@pytest.mark.parametrize("name", ["stable_diffusion_3", "flux"])
@torch.no_grad()
def test_maps_of_concepts_are_those_of_plain_hooks(name):
    model = family_model(name)
    pipeline, is_flux = model.pipeline, name == "flux"
    transformer = pipeline.transformer
    with Calls(transformer.transformer_blocks) as calls:
        run = model.run(PROMPT, 3, steps=2, **SILENT)
    maps = model.attention(
        PROMPT, 3, concepts=CONCEPTS, keep=["layer", "step"], denoising_steps=2, **SILENT
    )
    assert np.array_equal(maps.pictures, run.pictures)
    picked = FLUX_TOKENS if is_flux else SD3_TOKENS
    states = []
    for concept, positions in zip(CONCEPTS, picked, strict=True):
        if is_flux:
            embeds, *_ = pipeline.encode_prompt(concept, None)
        else:
            embeds, *_ = pipeline.encode_prompt(
                concept, None, None, do_classifier_free_guidance=False
            )
        states.append(transformer.context_embedder(embeds[0, positions]))
    # Of Stable Diffusion 3 the unconditional row comes first.
    expected = expected_shares(
        calls,
        0 if is_flux else 1,
        torch.cat(states),
        [len(positions) for positions in picked],
        rotate if is_flux else append,
    )
    got = maps.array.transpose("sample", "step", "layer", "word", "y", "x").to_numpy()[0]
    assert got.shape[:3] == (2, 2, 2)
    for each, wanted in zip(got.reshape(4, 2, -1), expected, strict=True):
        assert np.abs(each - wanted.numpy()).max() < 1e-4
        assert wanted.std() > 1e-3
    assert next(word.tokens for word in maps.words[PROMPT]) == ["cat"]


JOINT = {
    "stable_diffusion_3": None,
    "flux": "denoiser.*/self_attn",
    "aura_flow": "denoiser.*/self_attn",
    "qwen_image": None,
    "flux_2": "denoiser.*/self_attn",
    "z_image": "denoiser.blocks.*/self_attn",
    "cogview_4": None,
}
"""Families whose denoisers mask nothing of a single prompt, and layers of all their kinds."""


@pytest.mark.parametrize("name", JOINT)
def test_the_prompts_own_states_as_concepts_give_the_outputs_of_its_words(name, monkeypatch):
    """The second call then is the first again, which tells that its parts are put together well."""
    model = family_model(name)
    prompt, options = "a cat and a dog", {"keep": "layer", "denoising_steps": 2, **SILENT}
    run = model.run(prompt, 3, read="denoiser/condition", pool="none", steps=2, **SILENT)
    plain = model.attention(
        prompt, 3, words=CONCEPTS, space="output", layers=JOINT[name], **options
    )
    states = torch.from_numpy(run.read("denoiser/condition")[0, 0].to_numpy())
    window = model.family.text_window(
        model.family.hooks_by_address["denoiser/condition"].text_window, "cond"
    )
    marks = torch.cat([window.word_mask([prompt], word) for word in CONCEPTS])

    def whole(*asked: Any) -> Any:
        found = questions_pass(*asked)
        own = ConceptTokens(found.concepts.names, states, marks, found.concepts.leading)
        return replace(found, concepts=own)

    questions_pass = questions.concept_pass
    monkeypatch.setattr(questions, "concept_pass", whole)
    maps = model.attention(prompt, 3, concepts=CONCEPTS, layers=JOINT[name], **options)
    assert np.array_equal(maps.pictures, run.pictures)
    assert np.abs(maps.array.to_numpy() - plain.array.to_numpy()).max() < 1e-4
    assert float(plain.array.std("word").max()) > 1e-3
    assert maps.array.sum("word").to_numpy() == pytest.approx(1, abs=1e-5)


class Plant:
    """Sets one position of the picture's stream."""

    def __init__(self, site: str, position: int, value: torch.Tensor) -> None:
        self.site, self.position, self.value = site, position, value

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        changed = values.clone()
        changed[:, self.position] = self.value
        return changed


@torch.no_grad()
def test_a_concept_peaks_where_its_state_is_planted():
    pipeline = built(stable_diffusion_3)
    first, last = pipeline.transformer.transformer_blocks
    # No modulation and no gates, so that concepts reach the last block as they were embedded.
    for layer in (first.norm1_context, last.norm1, last.norm1_context):
        for values in layer.linear.parameters():
            values.zero_()
    # There each position attends to the position that is most like it, itself, and gives it.
    for name in ("to_q", "to_k", "to_v", "add_q_proj", "add_k_proj", "add_v_proj"):
        matrix = getattr(last.attn, name)
        matrix.weight.copy_(torch.eye(len(matrix.weight)))
        matrix.bias.zero_()
    for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
        getattr(last.attn, name).weight.fill_(10)
    model = small_model(pipeline, steps=2)
    embeds, *_ = pipeline.encode_prompt("cat", None, None, do_classifier_free_guidance=False)
    planted = pipeline.transformer.context_embedder(embeds[0, 1])
    for position in (5, 10):
        maps = model.attention(
            PROMPT,
            0,
            concepts=CONCEPTS,
            layers="denoiser.blocks.1.image/self_attn",
            edits=[Plant("denoiser.blocks.0.image/resid", position, planted)],
            **SILENT,
        )
        assert int(maps.map("cat").argmax()) == position
        assert maps.map("cat").ravel()[position] > 0.99


def test_heads_and_steps_are_chosen_and_kept_apart():
    model = family_model("flux")
    options = {"concepts": CONCEPTS, "denoising_steps": 2, "pictures": False, **SILENT}
    every = model.attention(PROMPT, 0, keep=["step", "head"], **options).array
    assert every.sizes["head"] == 2 and every.sizes["step"] == 2
    one = model.attention(PROMPT, 0, steps=[1], heads=[1], **options)
    expected = every.isel(step=1).sel(head=1).to_numpy()
    assert np.abs(one.array.to_numpy() - expected).max() < 1e-6
    assert one.pictures is None and one.array.attrs["space"] == "output"


def test_states_of_one_call_alone_are_in_memory(monkeypatch):
    """What is kept for the second call is gone after it, however many steps there are."""
    most = []

    class Watched(core._ConceptReader):
        def _end_call(self, name, output):
            assert self._states.keys() == self._pass.blocks.keys()
            most.append(sum(states.nbytes for states, _ in self._states.values()))
            super()._end_call(name, output)
            assert not self._states and not self._outputs

    monkeypatch.setattr(core, "_ConceptReader", Watched)
    model, first = family_model("flux"), "denoiser.blocks.0.image/self_attn"
    options = {"concepts": CONCEPTS, "pictures": False, **SILENT}
    model.attention([PROMPT, "a dog"], [0, 1], batch=1, denoising_steps=4, **options)
    assert len(most) == 16 and len(set(most)) == 1
    model.attention(PROMPT, 0, layers=first, denoising_steps=2, **options)
    # Blocks after the last layer that is read are not kept.
    assert most[-1] * 2 == most[0]


@pytest.mark.parametrize("name", ["stable_diffusion", "unclip", "pixart", "sana", "kandinsky_5"])
def test_denoisers_without_joint_attention_are_refused_by_name(name):
    model = family_model(name)
    for asked in ({"concepts": CONCEPTS}, {"words": CONCEPTS, "space": "output"}):
        with pytest.raises(SiteError, match=f"{model.name} has no output-space maps.*joint att"):
            model.attention("a cat and a dog", **asked, **SILENT)


def test_what_is_no_set_of_concepts_is_refused():
    model = family_model("flux")
    for asked, error, message in (
        ({"concepts": ["cat"]}, OptionError, "at least two"),
        ({"concepts": "cat"}, OptionError, "must be a list"),
        ({"concepts": ["cat", 3]}, OptionError, "valid string"),
        ({"words": ["cat"], "space": "output"}, OptionError, "at least two"),
        ({"concepts": ["cat", " cat"]}, OptionError, "each once"),
        ({"concepts": CONCEPTS, "words": ["cat"]}, OptionError, "in place of words"),
        ({"concepts": CONCEPTS, "direction": "to-words"}, OptionError, "direction"),
        ({"concepts": CONCEPTS, "layers": "text.*"}, SiteError, "no output-space maps"),
        ({"concepts": ["cat", "moose " * 600]}, PromptError, "moose"),
    ):
        with pytest.raises(error, match=message):
            model.attention(PROMPT, 0, **asked, **SILENT)


def test_denoisers_of_several_texts_take_no_concepts_and_words_all_the_same():
    model = family_model("hidream")
    with pytest.raises(SiteError, match="several texts side by side"):
        model.attention("a cat and a dog", concepts=CONCEPTS, **SILENT)
    maps = model.attention(
        "a cat and a dog", words=CONCEPTS, space="output", denoising_steps=2, **SILENT
    )
    assert maps.array.sum("word").to_numpy() == pytest.approx(1, abs=1e-5)
