"""Hooks of the sites inside networks: attentions and heads, MLPs, residual streams, maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch.nn import Sequential

from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site

__all__ = [
    "Block",
    "basic_hooks",
    "end_hooks",
    "map_hooks",
    "row_hooks",
    "single_hooks",
    "stream_hooks",
    "unet_hooks",
]

PARTS = {"res": "resnets", "attn": "attentions", "down": "downsamplers", "up": "upsamplers"}
"""Modules of a UNet's block, by their names in addresses."""
LAST_MATRICES = ("out_projection", "linear_out", "w2", "linear_2")
"""Names of the last matrix of gated feed-forward networks: AuraFlow, FLUX.2, Z-Image, Lumina 2."""


@dataclass(frozen=True)
class Block:
    """A part of a network whose sites share the beginning of their addresses.

    Attributes:
        address: What stands before the taps, such as `denoiser.blocks.3`.
        path: The dotted path of the module in the pipeline.
        module: The module.
        positions: Number of positions of its sites; None where it depends on the picture.
        text_window: The window that the positions are, or start with; "" if they are not tokens.
        affects_output: As in `Site`.
        stream: As in `SiteHook`.
    """

    address: str
    path: str
    module: Any
    positions: int | None = None
    text_window: str = ""
    affects_output: bool = True
    stream: str = ""

    def tap(
        self,
        tap: str,
        path: str,
        units: int,
        *,
        heads: int | None = None,
        is_input: bool = False,
        output_index: int = 0,
        first_unit: int | None = None,
    ) -> SiteHook:
        """The hook of one value.

        Args:
            tap: The tap's name.
            path: The dotted path within the block of the module that makes the value; "" for the
                block itself.
            units: Number of units.
            heads: Number of attention heads; None without heads.
            is_input: Whether the value is what the module takes rather than what it gives.
            output_index: Of a module that gives several values: the index of the value.
            first_unit: Where the units begin in a value that has those of several sites.

        Returns:
            The hook.
        """
        site = Site(
            f"{self.address}/{tap}",
            (self.positions, units),
            f"{self.path}.{path}".rstrip("."),
            self.affects_output,
            heads,
            self.module.get_submodule(path),
        )
        return SiteHook(
            site,
            is_input=is_input,
            output_index=output_index,
            first_unit=first_unit,
            text_window=self.text_window,
            stream=self.stream,
        )

    def attention(
        self, path: str, taps: str = "qkv", *, prefix: str = "", added: bool = False
    ) -> list[SiteHook]:
        """Queries, keys, values of an attention and what each head gives of them, head by head.

        Args:
            path: The dotted path within the block of diffusers' `Attention`.
            taps: Which of `q`, `k` and `v`; with `q`, `z` follows where a matrix of the attention's
                own mixes the heads.
            prefix: What stands before a tap's name, such as `cross_`.
            added: Whether they are those of the second stream of a joint attention.

        Returns:
            A hook for each tap.
        """
        attention = self.module.get_submodule(path)
        matrices = {
            f"{prefix}{tap}": f"{path}.add_{tap}_proj" if added else f"{path}.to_{tap}"
            for tap in taps
        }
        # Attentions inside single blocks have none: the block mixes their heads with its neurons.
        # A text stream that ends in its attention has none either.
        output = "to_add_out" if added else "to_out"
        if "q" in taps and getattr(attention, output, None) is not None:
            matrices[f"{prefix}z"] = f"{path}.{output}" if added else f"{path}.{output}.0"
        return self.heads(matrices, attention.to_q.out_features // attention.heads)

    def heads(self, matrices: Mapping[str, str], size: int) -> list[SiteHook]:
        """Values of an attention head by head, by the matrices that give or take them.

        Args:
            matrices: By tap, the dotted path within the block of its matrix; of taps that end in
                `z` the one that mixes the heads.
            size: Number of units of a head.

        Returns:
            A hook for each tap.
        """
        hooks = []
        for tap, path in matrices.items():
            path = path.lstrip(".")
            matrix, is_input = self.module.get_submodule(path), tap.endswith("z")
            # By the width of this tap: keys and values may have fewer heads than queries.
            units = matrix.in_features if is_input else matrix.out_features
            hooks.append(self.tap(tap, path, units, heads=units // size, is_input=is_input))
        return hooks

    def mlp(self, path: str) -> SiteHook:
        """The neurons of a feed-forward network: after the non-linearity or the gate.

        Args:
            path: The dotted path within the block of diffusers' `FeedForward`, or of one whose
                last matrix has another name.

        Returns:
            The hook of `mlp`.
        """
        mlp = self.module.get_submodule(path)
        for name in LAST_MATRICES:
            if (last := getattr(mlp, name, None)) is not None:
                # No module makes the product of gate and value, so they are what this one takes.
                return self.tap("mlp", f"{path}.{name}", last.in_features, is_input=True)
        if hasattr(mlp, "conv_point"):
            # Sana's has convolutions and maps, and is gated as well.
            return self.tap("mlp", f"{path}.conv_point", mlp.conv_point.in_channels, is_input=True)
        # The width that the second matrix takes: a gated first layer has twice as many outputs
        # before its gate.
        units = mlp.net[-1].in_features
        return self.tap("mlp", f"{path}.net.0", units)


def end_hooks(
    path: str,
    denoiser: Any,
    argument: str,
    stage: str = "denoiser",
    *,
    channels: int | None = None,
) -> tuple[SiteHook, SiteHook]:
    """The latent as a denoiser takes it, and the channels of its prediction that are used.

    Args:
        path: The denoiser's attribute of the pipeline, such as `unet`.
        denoiser: The denoiser, or a prior.
        argument: The name of its argument that takes the latent, the first one.
        stage: Its stage.
        channels: Number of channels of the latent; None for what the configuration says.

    Returns:
        The hooks of `denoiser/latent` and `denoiser/prediction`.
    """
    # Denoisers that predict a variance as well have more channels; the scheduler takes as many as
    # the latent has, the first ones.
    shape = (None, denoiser.config.in_channels if channels is None else channels)
    latent = Site(f"{stage}/latent", shape, path, module=denoiser)
    prediction = Site(f"{stage}/prediction", shape, path, module=denoiser)
    return (
        SiteHook(latent, is_input=True, argument_name=argument),
        SiteHook(prediction, channels=shape[1]),
    )


def basic_hooks(block: Block, text_window: str, window: int) -> list[SiteHook]:
    """diffusers' `BasicTransformerBlock`: self-attention, cross-attention, MLP after its gate.

    Args:
        block: The block, whose positions are the picture's.
        text_window: The window that cross-attention reads its keys and values from.
        window: Its number of tokens.

    Returns:
        Hooks in the order in which the block computes their values.
    """
    width = block.module.attn1.to_out[0].out_features
    hooks = [*block.attention("attn1"), block.tap("self_attn", "attn1", width)]
    if block.module.attn2 is not None:
        # Of cross-attention only the queries are positions of the picture; keys and values are
        # tokens.
        tokens = replace(block, positions=window, text_window=text_window)
        hooks += [
            *block.attention("attn2", "q", prefix="cross_"),
            *tokens.attention("attn2", "kv", prefix="cross_"),
            block.tap("cross_attn", "attn2", width),
        ]
    return [*hooks, block.mlp("ff"), block.tap("resid", "", width)]


def stream_hooks(
    index: int,
    module: Any,
    width: int,
    window: int | None,
    text_window: str,
    path: str = "transformer.transformer_blocks",
    *,
    mlps: tuple[str, str] = ("ff", "ff_context"),
    text_is_read: bool = True,
    picture_index: int = 1,
) -> list[SiteHook]:
    """One block of two streams (Esser et al. 2024), which meet in their attention.

    Args:
        index: The block's index.
        module: diffusers' `JointTransformerBlock`, `FluxTransformerBlock`, or one like them.
        width: Units of both streams.
        window: Number of tokens of the text's stream; None where batches differ in it.
        text_window: The window that they are.
        path: The dotted path of the list of blocks in the pipeline.
        mlps: The dotted paths within the block of the MLPs of the picture and of the text.
        text_is_read: Whether something reads the text's stream after the block.
        picture_index: Which of the block's two values is the picture's.

    Returns:
        Hooks of the picture's stream, then of the text's.
    """
    address = f"denoiser.blocks.{index}"
    picture = Block(f"{address}.image", f"{path}.{index}", module)
    text = replace(picture, address=f"{address}.text", positions=window, text_window=text_window)
    # The last block may compute nothing for the text after its attention; even its queries
    # there affect nothing.
    is_last = getattr(module, "context_pre_only", False)
    text_output = replace(text, affects_output=text_is_read and not is_last)
    hooks = [
        *picture.attention("attn"),
        picture.tap("self_attn", "attn", width),
        picture.mlp(mlps[0]),
        picture.tap("resid", "", width, output_index=picture_index),
        *text_output.attention("attn", "q", added=True),
        *text.attention("attn", "kv", added=True),
    ]
    # Stable Diffusion 3.5 medium has a second attention of the picture to itself in its first
    # blocks.
    if getattr(module, "attn2", None) is not None:
        hooks += picture.attention("attn2", prefix="second_")
        hooks.append(picture.tap("second_attn", "attn2", width))
    if is_last:
        return hooks
    return [
        *hooks,
        text_output.tap("self_attn", "attn", width, output_index=1),
        text_output.mlp(mlps[1]),
        text_output.tap("resid", "", width, output_index=1 - picture_index),
    ]


def single_hooks(net: Any, window: int, text_window: str) -> list[SiteHook]:
    """Flux's single blocks: text and picture are one row inside, and two streams outside.

    Args:
        net: diffusers' `FluxTransformer2DModel`, or one like it, as the pipeline's `transformer`.
        window: Number of tokens of the text's stream.
        text_window: The window that they are.

    Returns:
        Hooks block by block, `denoiser.single.N`.
    """
    hooks: list[SiteHook] = []
    last = len(net.single_transformer_blocks) - 1
    for index, module in enumerate(net.single_transformer_blocks):
        path = f"transformer.single_transformer_blocks.{index}"
        picture = Block(f"denoiser.single.{index}", path, module)
        row = replace(picture, text_window=text_window)
        # After the last block the text's positions are dropped.
        text = replace(
            row,
            address=f"{picture.address}.text",
            positions=window,
            affects_output=index < last,
        )
        hooks += [
            *row.attention("attn"),
            # The block's own matrix mixes the heads, together with its neurons.
            row.tap("z", "attn", net.inner_dim, heads=module.attn.heads),
            row.tap("mlp", "act_mlp", module.mlp_hidden_dim),
            # The row is split again: the text's stream is returned first.
            picture.tap("resid", "", net.inner_dim, output_index=1),
            text.tap("resid", "", net.inner_dim),
        ]
    return hooks


def row_hooks(name: str, modules: Any, streams: Mapping[str, str]) -> list[SiteHook]:
    """Blocks of a transformer in which text and picture are one row of positions.

    Args:
        name: The attribute of the transformer: `layers`, whose blocks are `denoiser.blocks.N`, or
            the name that they have in addresses as well.
        modules: The blocks.
        streams: Parts of the row, as `StageCall.streams` has them, with their text windows; blocks
            with several have them in their addresses.

    Returns:
        Hooks block by block, part by part.
    """
    hooks: list[SiteHook] = []
    address = "blocks" if name == "layers" else name
    for index, module in enumerate(modules):
        attention = "attention" if hasattr(module, "attention") else "attn"
        width = module.get_submodule(attention).to_out[0].out_features
        for stream, window in streams.items():
            block = Block(
                f"denoiser.{address}.{index}" + (f".{stream}" if len(streams) > 1 else ""),
                f"transformer.{name}.{index}",
                module,
                text_window=window,
                stream=stream,
            )
            # Nothing reads the text's positions after the last block.
            ends = stream == "text" and index == len(modules) - 1
            output = replace(block, affects_output=not ends)
            hooks += [
                *output.attention(attention, "q"),
                *block.attention(attention, "kv"),
                output.tap("self_attn", attention, width),
                output.mlp("feed_forward"),
                output.tap("resid", "", width),
            ]
    return hooks


def unet_hooks(path: str, unet: Any, text_window: str = "", window: int = 0) -> list[SiteHook]:
    """Every block of a conditional UNet, and what is inside its attentions.

    Args:
        path: The UNet's attribute of the pipeline.
        unet: The UNet.
        text_window: The window that cross-attention reads; "" where there are no tokens.
        window: Its number of tokens.

    Returns:
        Hooks block by block, down, mid, up.
    """
    hooks: list[SiteHook] = []
    # unCLIP's decoder turns the image embedding into so many positions.
    image_tokens = getattr(getattr(unet, "encoder_hid_proj", None), "num_image_text_embeds", None)
    for part in _parts("denoiser", path, unet):
        hooks.append(_map_hook(part))
        for index, module in enumerate(getattr(part.module, "transformer_blocks", ())):
            inside = Block(
                f"{part.address}.blocks.{index}", f"{part.path}.transformer_blocks.{index}", module
            )
            hooks += basic_hooks(inside, text_window, window)
        if hasattr(part.module, "transformer_blocks") and hasattr(part.module, "proj_out"):
            # What is added to the map that went in: the values of sdxl-unbox's dictionaries.
            hooks.append(part.tap("update", "proj_out", _map_units(part.module)))
        # unCLIP's attentions have no transformer blocks in them; they join the condition to their
        # own keys and values.
        if hasattr(part.module, "to_q"):
            tokens = window or image_tokens
            condition = replace(part, positions=tokens, text_window=text_window)
            hooks += part.attention("")
            hooks += condition.attention("", "kv", prefix="condition_", added=True)
    return hooks


def map_hooks(stage: str, path: str, decoder: Any) -> list[SiteHook]:
    """Every block of an autoencoder's decoder.

    Args:
        stage: The stage's name, `vae`.
        path: The dotted path of the decoder in the pipeline.
        decoder: The decoder.

    Returns:
        Hooks block by block, mid, up.
    """
    return [_map_hook(part) for part in _parts(stage, path, decoder)]


def _map_hook(part: Block) -> SiteHook:
    return part.tap("out", "", _map_units(part.module))


def _map_units(module: Any) -> int:
    """The number of channels of the map that a module of an autoencoder or UNet gives."""
    for name in ("out_channels", "out_dim"):
        units: int | None = getattr(module, name, None)
        if units is not None:
            return units
    if hasattr(module, "resample"):
        # Qwen-Image's autoencoder, whose convolution of a resampling is within.
        return _map_units(module.resample[-1])
    if hasattr(module, "interpolate"):
        # Sana's autoencoder, which may turn channels into pixels.
        factor = 1 if module.interpolate else module.factor**2
        return _map_units(module.conv) // factor
    if hasattr(module, "conv2"):
        return _map_units(module.conv2)
    if hasattr(module, "conv_out"):
        return _map_units(module.conv_out.conv_point)
    if hasattr(module, "repeats"):
        # HunyuanImage's autoencoder, which turns channels into pixels, two by two.
        return _map_units(module.conv) // 4
    if hasattr(module, "proj"):
        # Its attentions.
        return _map_units(module.proj)
    # Attentions, of which some have no list of output layers.
    units = module.to_out[0].out_features if hasattr(module, "to_out") else module.dim
    return units


def _parts(stage: str, path: str, network: Any) -> Iterator[Block]:
    """Residual blocks, attentions and resamplings of a UNet-like network."""
    ups = _list(network, "up_blocks")
    if ups and isinstance(ups[0], Sequential):
        # Sana's autoencoder, whose blocks of several kinds run from the last to the first.
        for name in reversed(range(len(ups))):
            for index, module in enumerate(ups[name]):
                yield Block(
                    f"{stage}.up.{name}.{index}", f"{path}.up_blocks.{name}.{index}", module
                )
        return
    blocks = [(f"down.{i}", f"down_blocks.{i}") for i in range(len(_list(network, "down_blocks")))]
    blocks += [("mid", "mid_block")] if getattr(network, "mid_block", None) is not None else []
    # HunyuanImage's autoencoder has a list of layers in place of one of blocks.
    is_flat = bool(ups) and not hasattr(ups[0], "resnets")
    blocks += [] if is_flat else [(f"up.{i}", f"up_blocks.{i}") for i in range(len(ups))]
    for part, block in blocks:
        for short, attribute in PARTS.items():
            for index, module in enumerate(_list(network.get_submodule(block), attribute)):
                if module is not None:
                    address = f"{stage}.{part}.{short}.{index}"
                    yield Block(address, f"{path}.{block}.{attribute}.{index}", module)
    for index, module in enumerate(ups if is_flat else ()):
        yield Block(f"{stage}.up.{index}", f"{path}.up_blocks.{index}", module)


def _list(module: Any, attribute: str) -> Any:
    """A list of modules; empty where the module has none, or None in its place."""
    return getattr(module, attribute, None) or ()
