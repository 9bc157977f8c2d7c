"""Attention maps equal probabilities that plain hooks give, step by step, by layer and sample."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest
import torch
from families import WINDOW, built, family_model, small_model, stable_diffusion, tiny_unet
from torch.overrides import _get_current_function_mode_stack

from clerestory.edits import Add
from clerestory.errors import OptionError, PromptError, SiteError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PROMPTS = ["a cat and a dog", "a dog and a cat"]
SEEDS = [3, 4]
KEEP = ["layer", "step", "head"]
SILENT = {"progress": False}


class Recorder:
    """Probabilities of one attention, call by call, from hooks on its parts alone."""

    def __init__(self, model: Any, path: str, parts: list[str], probabilities: Any) -> None:
        root, _, inside = path.partition(".")
        self.attention = getattr(model.pipeline, root).get_submodule(inside)
        self.parts, self.probabilities = parts, probabilities
        self.values: dict[str, torch.Tensor] = {}
        self.calls: list[torch.Tensor] = []

    def __enter__(self) -> Recorder:
        self.hooks = ExitStack()
        for name in self.parts:
            module = self.attention.get_submodule(name)
            hook = lambda m, a, out, name=name: self.values.update({name: out})  # noqa: E731
            self.hooks.callback(module.register_forward_hook(hook).remove)
        handle = self.attention.register_forward_hook(self.compute, with_kwargs=True)
        self.hooks.callback(handle.remove)
        return self

    def __exit__(self, *error: Any) -> None:
        self.hooks.close()

    def compute(self, module: Any, args: Any, kwargs: Any, output: Any) -> None:
        q, k, mask = self.probabilities(self.attention, self.values, kwargs)
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        self.calls.append((logits if mask is None else logits + mask).softmax(-1))


def crossed(attention: Any, values: Any, kwargs: Any) -> Any:
    q, k = (
        values[name].unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for name in ("to_q", "to_k")
    )
    mask = kwargs.get("attention_mask")
    # Of priors a mask for each head, of PixArt one for all.
    return q, k, None if mask is None else mask.reshape(len(q), -1, *mask.shape[1:])


def joined_by_sd3(attention: Any, values: Any, kwargs: Any) -> Any:
    q, k = (torch.cat([values[f"norm_{n}"], values[f"norm_added_{n}"]], 2) for n in "qk")
    return q, k, None


def rotated(value: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Pairs of units as complex numbers, turned by angles `[position, pair]`."""
    pairs = torch.view_as_complex(value.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * angles[:, None]).flatten(-2).transpose(1, 2)


def joined_by_flux(attention: Any, values: Any, kwargs: Any) -> Any:
    cos, sin = kwargs["image_rotary_emb"]
    angles = torch.complex(cos[:, ::2].float(), sin[:, ::2].float())
    both = []
    for n in "qk":
        row = values[f"norm_{n}"]
        if f"norm_added_{n}" in values:
            row = torch.cat([values[f"norm_added_{n}"], row], 1)
        both.append(rotated(row, angles))
    return *both, None


def joined_by_qwen(attention: Any, values: Any, kwargs: Any) -> Any:
    picture, text = kwargs["image_rotary_emb"]
    both = [
        torch.cat(
            [rotated(values[f"norm_added_{n}"], text), rotated(values[f"norm_{n}"], picture)], 2
        )
        for n in "qk"
    ]
    known = kwargs["encoder_hidden_states_mask"]
    mask = None
    if known is not None:
        padding = torch.zeros(len(known), both[0].shape[2]).masked_fill_(
            torch.nn.functional.pad(~known.bool(), (0, both[0].shape[2] - known.shape[1])),
            float("-inf"),
        )
        mask = padding[:, None, None]
    return *both, mask


CROSS = ["to_q", "to_k"]
NORMS = ["norm_q", "norm_k"]
JOINT = [*NORMS, "norm_added_q", "norm_added_k"]
# By family: the layer, its module, what is hooked, tokens of "cat" in both prompts by hand, where
# the picture begins among the queries, and the rows of the prompts in a call, uncond before cond.
LAYERS = {
    "stable_diffusion": (
        "denoiser.up.0.attn.1.blocks.0/cross_attn",
        "unet.up_blocks.0.attentions.1.transformer_blocks.0.attn2",
        CROSS,
        crossed,
        ([2], [7]),
        slice(0, None),
        slice(2, 4),
    ),
    "stable_diffusion_xl": (
        "denoiser.down.1.attn.0.blocks.1/cross_attn",
        "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2",
        CROSS,
        crossed,
        ([2], [7]),
        slice(0, None),
        slice(2, 4),
    ),
    "pixart": (
        "denoiser.blocks.1/cross_attn",
        "transformer.transformer_blocks.1.attn2",
        CROSS,
        crossed,
        # "▁cat"; in the second after "▁a", "▁", "d", "o", "g", "▁a", "n", "d", "▁a".
        ([1], [9]),
        slice(0, None),
        slice(2, 4),
    ),
    "stable_diffusion_3": (
        "denoiser.blocks.0.image/self_attn",
        "transformer.transformer_blocks.0.attn",
        JOINT,
        joined_by_sd3,
        # The picture's 16 positions come first among keys; both encoders have the word.
        ([16 + 2, 16 + WINDOW + 1], [16 + 7, 16 + WINDOW + 9]),
        slice(0, 16),
        slice(2, 4),
    ),
    "flux": (
        "denoiser.blocks.1.image/self_attn",
        "transformer.transformer_blocks.1.attn",
        JOINT,
        joined_by_flux,
        ([1], [9]),
        slice(512, None),
        slice(0, 2),
    ),
    "flux single": (
        "denoiser.single.0/self_attn",
        "transformer.single_transformer_blocks.0.attn",
        NORMS,
        joined_by_flux,
        ([1], [9]),
        slice(512, None),
        slice(0, 2),
    ),
    "qwen_image": (
        "denoiser.blocks.0.image/self_attn",
        "transformer.transformer_blocks.0.attn",
        JOINT,
        joined_by_qwen,
        None,
        slice(-16, None),
        slice(0, 2),
    ),
}


def recorded(name: str, **options: Any) -> tuple[Any, list[torch.Tensor], Any]:
    model = family_model(name.split()[0])
    _, path, parts, probabilities, *_ = LAYERS[name]
    with Recorder(model, path, parts, probabilities) as recorder:
        run = model.run(PROMPTS, 3, **options, **SILENT)
    return model, recorder.calls, run


@pytest.mark.parametrize("name", LAYERS)
def test_maps_are_the_probabilities_of_plain_hooks(name):
    address, *_, positions, picture, rows = LAYERS[name]
    model, calls, run = recorded(name, steps=2)
    maps = model.attention(
        PROMPTS, 3, words="cat", layers=address, keep=KEEP, denoising_steps=2, **SILENT
    )
    assert np.array_equal(maps.pictures, run.pictures)
    assert maps.difference is None
    # Qwen-Image has a call for each branch, the prompt's first.
    calls = calls[::2] if name == "qwen_image" else calls
    # PNDM takes a step more.
    assert len(calls) == maps.array.sizes["step"] == (3 if name == "stable_diffusion" else 2)
    if positions is None:
        positions = [maps.words[prompt][0].positions for prompt in PROMPTS]
    array = maps.array.transpose("sample", "word", "layer", "step", "head", "y", "x").to_numpy()
    for step, call in enumerate(calls):
        for sample, (row, columns) in enumerate(zip(call[rows], positions, strict=True)):
            expected = row[:, picture][:, :, columns].sum(-1)
            got = array[sample, 0, 0, step].reshape(len(expected), -1)
            assert np.abs(got - expected.numpy()).max() < 1e-5
            assert expected.std() > 0
    assert maps.array["layer"].to_numpy().tolist() == [address]


def test_words_attend_to_the_picture_in_joint_attention():
    address, *_, rows = LAYERS["flux"]
    model, calls, _ = recorded("flux", steps=2)
    options = {"layers": address, "keep": ["step"], "denoising_steps": 2, **SILENT}
    maps = model.attention(PROMPTS, 3, words="dog", direction="from-words", **options)
    # Of "▁", "d", "o", "g" the mean; before them "▁a", "▁cat", "▁a", "n", "d", "▁a".
    for sample, first in enumerate((6, 1)):
        for step in range(2):
            tokens = calls[step][rows][sample][:, first : first + 4, 512:]
            got = maps.array[sample, 0, step].to_numpy().ravel()
            assert np.abs(got - tokens.mean((0, 1)).numpy()).max() < 1e-5
    shares = model.attention(PROMPTS, 3, words="dog", direction="between-words", **options)
    # What does not go to the picture goes to words and the rest of the text.
    inside = calls[0][rows][0][:, 6:10, 6:10].sum(-1).mean()
    assert float(shares.array.sel(source="dog")[0, 0, 0]) == pytest.approx(float(inside), abs=1e-5)
    assert shares.array.sum("source").to_numpy() == pytest.approx(1, abs=1e-5)
    assert shares.pictures is None


def test_the_unconditional_branch_is_that_of_the_negative_prompt():
    address, path, parts, probabilities, *_ = LAYERS["stable_diffusion"]
    model = family_model("stable_diffusion")
    options = {"negative": "a dog", "steps": 2}
    with Recorder(model, path, parts, probabilities) as recorder:
        model.run(PROMPTS[:1], 3, **options, **SILENT)
    maps = model.attention(
        PROMPTS[:1],
        3,
        words="dog",
        layers=address,
        branch="uncond",
        steps=[1],
        heads=[1],
        negative="a dog",
        denoising_steps=2,
        **SILENT,
    )
    expected = recorder.calls[1][0, 1, :, 2]
    assert np.abs(maps.array[0, 0].to_numpy().ravel() - expected.numpy()).max() < 1e-5


def test_default_maps_are_means_over_layers_steps_and_heads():
    pipeline = built(stable_diffusion)
    # Cross-attention at 8×8 and at 4×4 positions.
    kinds = [f"CrossAttn{way}Block2D" for way in ("Down", "Up")]
    unet = tiny_unet(down_block_types=(kinds[0],) * 2, up_block_types=(kinds[1],) * 2)
    pipeline.register_modules(unet=unet.eval())
    model = small_model(pipeline, steps=2)
    mean = model.attention(PROMPTS, SEEDS, words=["cat", "dog"], batch=3, **SILENT).array
    assert mean.dims == ("sample", "word", "y", "x")
    assert mean.sizes["sample"] == 4
    every = model.attention(PROMPTS, SEEDS, words=["cat", "dog"], keep="layer", **SILENT).array
    parts = [
        model.attention(PROMPTS, SEEDS, words=["cat", "dog"], layers=address, **SILENT).array
        for address in every["layer"].to_numpy().tolist()
    ]
    # Coarse layers are enlarged to the finest grid.
    grids = {part.sizes["y"] for part in parts}
    assert len(grids) == 2 and max(grids) == mean.sizes["y"]
    enlarged = [
        torch.nn.functional.interpolate(
            torch.from_numpy(part.to_numpy()), size=mean.shape[2:], mode="bilinear"
        )
        for part in parts
    ]
    expected = torch.stack(enlarged).mean(0).numpy()
    assert np.abs(mean.to_numpy() - expected).max() < 1e-6
    assert np.abs(every.mean("layer").to_numpy() - expected).max() < 1e-6


def test_which_word_reads_which_in_a_causal_text_encoder():
    model = family_model("stable_diffusion")
    values: dict[str, torch.Tensor] = {}
    block = "text.blocks.1"
    modules = {tap: model.sites[f"{block}/{tap}"].module for tap in "qk"}
    with ExitStack() as hooks:
        for tap, module in modules.items():
            hook = lambda m, a, out, tap=tap: values.setdefault(tap, out)  # noqa: E731
            hooks.callback(module.register_forward_hook(hook).remove)
        model.run(PROMPTS[0], 0, read="text.blocks.1/q", pictures=False, **SILENT)
    q, k = (values[tap].unflatten(-1, (4, -1)).transpose(1, 2) for tap in "qk")
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    later = torch.ones(logits.shape[2:], dtype=torch.bool).triu(1)
    expected = logits.masked_fill(later, float("-inf")).softmax(-1)[0].mean(0)
    maps = model.attention(PROMPTS[0], layers=f"{block}/self_attn", **SILENT)
    assert maps.array["word"].to_numpy().tolist() == ["a#1", "cat", "and", "a#2", "dog"]
    reads = maps.array[0].to_numpy()
    assert reads.sum(-1) == pytest.approx(1, abs=1e-6)
    # By hand: start, "a", "cat", "a", "n", "d", "a", "dog".
    places = [[1], [2], [3, 4, 5], [6], [7]]
    for reader, own in enumerate(places):
        for source, other in enumerate(places):
            share = expected[own][:, other].sum(1).mean()
            assert reads[reader, source] == pytest.approx(float(share), abs=1e-5)
    assert reads[0, 1] == 0 and reads[1, 0] > 0


def test_a_planted_head_is_found_first():
    model = family_model("stable_diffusion")
    address, head = "denoiser.mid.attn.0.blocks.0", 1
    run = model.run(PROMPTS[0], 0, read=f"{address}/cross_k", pool="tokens:cat", **SILENT)
    keys = run.read(f"{address}/cross_k")[0, 0].to_numpy()
    width = len(keys) // 2
    vector = np.zeros_like(keys)
    own = slice(head * width, (head + 1) * width)
    # All queries of this head look for the key of "cat".
    vector[own] = 60 * keys[own] / (keys[own] ** 2).sum()
    edits = [Add(f"{address}/cross_q", vector)]
    maps = model.attention(
        PROMPTS[0], 0, words="cat", layers="denoiser.*", keep=KEEP, edits=edits, **SILENT
    )
    shares = maps.array.mean(("sample", "word", "step", "y", "x"))
    first = shares.stack(unit=("layer", "head")).idxmax("unit").item()
    assert first == (f"{address}/cross_attn", head)


def test_a_model_without_word_tokens_in_its_denoiser_says_so_and_offers_its_prior():
    model = family_model("unclip")
    with pytest.raises(SiteError, match=r"no maps of words.*layers='prior"):
        model.attention(PROMPTS, 0, words="cat", **SILENT)
    with pytest.raises(SiteError, match="no words"):
        model.attention(PROMPTS, 0, words="cat", layers="denoiser.*", **SILENT)
    path = "prior_prior.transformer_blocks.1.attn1"
    with Recorder(model, path, CROSS, crossed) as recorder:
        model.run(PROMPTS, 0, read="prior/embedding", pictures=False, **SILENT)
    maps = model.attention(
        PROMPTS, 0, words="cat", layers="prior.blocks.1/*", keep="step", **SILENT
    )
    assert maps.array.dims == ("sample", "word", "step") and maps.pictures is None
    for step, call in enumerate(recorder.calls):
        # The prediction is read from the last position; rows of cond come last.
        for sample, (row, token) in enumerate(zip(call[2:], (2, 7), strict=True)):
            share = float(row[:, -1, token].mean())
            assert float(maps.array[sample, 0, step]) == pytest.approx(share, abs=1e-5)


def test_repeated_words_are_numbered_and_absent_ones_refused():
    model = family_model("stable_diffusion")
    prompts = ["a cat and a cat", "a cat"]
    maps = model.attention(prompts, 0, words="cat", **SILENT)
    assert maps.array["word"].to_numpy().tolist() == ["cat#1", "cat#2"]
    assert [word.positions for word in maps.words[prompts[0]]] == [[2], [7]]
    # The second prompt has one.
    assert np.isnan(maps.array[1, 1].to_numpy()).all()
    assert np.isfinite(maps.array[1, 0].to_numpy()).all()
    assert list(maps.figures(1)) == ["cat#1"]
    second = model.attention(prompts[:1], 0, words="cat#2", **SILENT)
    assert second.array[0, 0].to_numpy() == pytest.approx(maps.array[0, 1].to_numpy(), abs=1e-6)
    for absent in ("moose", "cat#3", ""):
        with pytest.raises(PromptError, match="the words there are a, cat, and"):
            model.attention(prompts[:1], 0, words=absent, **SILENT)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layers": "denoiser.sideways"}, SiteError, "No attention layer"),
        ({"layers": "denoiser.*/cross_attn[h0]"}, OptionError, "write heads"),
        ({"layers": "*"}, OptionError, "different kinds"),
        ({"layers": "denoiser.*/self_attn"}, SiteError, "no words"),
        ({"direction": "from-words"}, SiteError, "has no attention from-words"),
        ({"steps": [9]}, SiteError, "none of the steps"),
        ({"steps": [0, 9]}, SiteError, "no step 9"),
        ({"heads": [2]}, SiteError, "2 heads are 0 to 1"),
        ({"branch": "uncond", "guidance": 1.0}, PromptError, "absent"),
        ({"keep": "word"}, OptionError, "keep"),
    ],
)
def test_what_does_not_exist_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        family_model("stable_diffusion").attention(PROMPTS, 0, words="cat", **arguments, **SILENT)


class Homemade:
    """Attention that uses no kernel of torch."""

    def __call__(self, attn: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        return hidden_states


def test_attention_that_is_not_seen_is_refused_by_name():
    model = small_model(built(stable_diffusion))
    model.pipeline.unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = Homemade()
    with pytest.raises(SiteError, match=r"denoiser.mid.attn.0.blocks.0/cross_attn.*Homemade"):
        model.attention(PROMPTS, 0, words="cat", **SILENT)
    assert _get_current_function_mode_stack() == []
    # Other layers are read all the same.
    model.attention(PROMPTS, 0, words="cat", layers="denoiser.up.*/cross_attn", **SILENT)


def test_linear_attention_is_refused_by_name():
    model = family_model("sana")
    with pytest.raises(SiteError, match=r"no words .* in denoiser.blocks.0/self_attn"):
        model.attention(PROMPTS[0], 0, words="cat", layers="denoiser.*/self_attn", **SILENT)


def hook_count(model: Any) -> int:
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks)
        for part in model.pipeline.components.values()
        if isinstance(part, torch.nn.Module)
        for module in part.modules()
    )


class Broken:
    """An edit that fails in the second step."""

    site = "denoiser.mid.res.0/out@1"

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")


def test_slices_and_backends_are_switched_said_and_restored():
    from diffusers.models.attention_dispatch import AttentionBackendName

    model = small_model(built(stable_diffusion))
    plain = model.attention(PROMPTS, 0, words="cat", **SILENT)
    model.pipeline.enable_attention_slicing(1)
    modules = [m for m in model.pipeline.unet.modules() if hasattr(m, "processor")]
    before, hooks = [module.processor for module in modules], hook_count(model)
    assert type(before[0]).__name__ == "SlicedAttnProcessor"
    maps = model.attention(PROMPTS, 0, words="cat", **SILENT)
    assert np.abs(maps.array.to_numpy() - plain.array.to_numpy()).max() < 1e-5
    assert maps.difference is not None and maps.difference.largest <= 2 / 255
    assert "SlicedAttnProcessor" in maps.summary()
    with pytest.raises(RuntimeError, match="broken"):
        model.attention(PROMPTS, 0, words="cat", edits=[Broken()], **SILENT)
    assert [module.processor for module in modules] == before
    assert hook_count(model) == hooks
    assert _get_current_function_mode_stack() == []

    text = model.pipeline.text_encoder
    text.set_attn_implementation("eager")
    reads = model.attention(PROMPTS, 0, words="cat", layers="text.*", **SILENT)
    assert "eager attention of text_encoder" in str(reads.difference)
    assert text.config._attn_implementation == "eager"

    flux = family_model("flux").pipeline.transformer
    processor = flux.transformer_blocks[0].attn.processor
    try:
        processor._attention_backend = AttentionBackendName.FLEX
        with pytest.raises(RuntimeError, match="broken"):
            edit = Broken()
            edit.site = "denoiser/prediction@1"
            family_model("flux").attention(PROMPTS, 0, words="cat", edits=[edit], **SILENT)
        assert processor._attention_backend == AttentionBackendName.FLEX
    finally:
        processor._attention_backend = None


def test_maps_are_saved_drawn_and_loaded(tmp_path):
    import xarray as xr

    model = family_model("flux")
    maps = model.attention(PROMPTS, SEEDS, words=["cat", "dog"], keep="layer", **SILENT)
    maps.save(tmp_path / "maps")
    loaded = type(maps).load(tmp_path / "maps")
    assert loaded.array.identical(maps.array) and loaded.words == maps.words
    assert np.array_equal(loaded.pictures, maps.pictures)
    opened = xr.open_zarr(tmp_path / "maps" / "attention.zarr", consolidated=False)
    assert opened["attention"].dims == ("sample", "word", "layer", "y", "x")
    table = maps.table()
    assert list(table["word"]) == ["cat", "dog"] * 4 and table["concentration"].between(0, 1).all()
    overlays = maps.overlays(1)
    assert {picture.shape for picture in overlays.values()} == {(16, 16, 3)}
    assert maps.plot(1).to_dict()["hconcat"][1]["title"] == "cat"
    everywhere = np.ones((16, 16), bool)
    assert maps.figures(0, {"cat": everywhere})["cat"]["mass_inside"] == pytest.approx(1)
    with pytest.raises(OptionError, match="mask is of"):
        maps.figures(0, {"moose": everywhere})
