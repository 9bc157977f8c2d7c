"""Hooks of the sites inside networks: attentions and heads, MLPs, residual streams, maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site

__all__ = ["Block", "basic_hooks", "end_hooks", "map_hooks", "stream_hooks", "unet_hooks"]

PARTS = {"res": "resnets", "attn": "attentions", "down": "downsamplers", "up": "upsamplers"}
"""Modules of a UNet's block, by their names in addresses."""


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
    """

    address: str
    path: str
    module: Any
    positions: int | None = None
    text_window: str = ""
    affects_output: bool = True

    def tap(
        self,
        tap: str,
        path: str,
        units: int,
        *,
        heads: int | None = None,
        is_input: bool = False,
        output_index: int = 0,
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
            site, is_input=is_input, output_index=output_index, text_window=self.text_window
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
        head_size = attention.to_q.out_features // attention.heads
        hooks = []
        for tap in taps:
            projection = f"{path}.add_{tap}_proj" if added else f"{path}.to_{tap}"
            projection = projection.lstrip(".")
            units = self.module.get_submodule(projection).out_features
            # By the width of this tap: keys and values may have fewer heads than queries.
            hooks.append(self.tap(prefix + tap, projection, units, heads=units // head_size))
        # Attentions inside single blocks have none: the block mixes their heads with its neurons.
        # A text stream that ends in its attention has none either.
        output = "to_add_out" if added else "to_out"
        if "q" in taps and getattr(attention, output, None) is not None:
            matrix = output if added else f"{output}.0"
            units = attention.get_submodule(matrix).in_features
            hooks.append(
                self.tap(
                    f"{prefix}z",
                    f"{path}.{matrix}".lstrip("."),
                    units,
                    heads=units // head_size,
                    is_input=True,
                )
            )
        return hooks

    def mlp(self, path: str) -> SiteHook:
        """The neurons of a feed-forward network: after the non-linearity or the gate.

        Args:
            path: The dotted path within the block of diffusers' `FeedForward`, or of one with a
                gate of its own, whose last matrix is `out_projection`.

        Returns:
            The hook of `mlp`.
        """
        last = getattr(self.module.get_submodule(path), "out_projection", None)
        if last is not None:
            # No module makes the product of gate and value, so they are what this one takes.
            return self.tap("mlp", f"{path}.out_projection", last.in_features, is_input=True)
        # The width that the second matrix takes: a gated first layer has twice as many outputs
        # before its gate.
        units = self.module.get_submodule(path).net[-1].in_features
        return self.tap("mlp", f"{path}.net.0", units)


def end_hooks(
    path: str, denoiser: Any, argument: str, stage: str = "denoiser"
) -> tuple[SiteHook, SiteHook]:
    """The latent as a denoiser takes it, and the channels of its prediction that are used.

    Args:
        path: The denoiser's attribute of the pipeline, such as `unet`.
        denoiser: The denoiser, or a prior.
        argument: The name of its argument that takes the latent, the first one.
        stage: Its stage.

    Returns:
        The hooks of `denoiser/latent` and `denoiser/prediction`.
    """
    # Denoisers that predict a variance as well have more channels; the scheduler takes as many as
    # the latent has, the first ones.
    shape = (None, denoiser.config.in_channels)
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
    width = block.module.ff.net[-1].out_features
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
    window: int,
    text_window: str,
    path: str = "transformer.transformer_blocks",
) -> list[SiteHook]:
    """One block of two streams (Esser et al. 2024), which meet in their attention.

    Args:
        index: The block's index.
        module: diffusers' `JointTransformerBlock`, `FluxTransformerBlock`, or one like them.
        width: Units of both streams.
        window: Number of tokens of the text's stream.
        text_window: The window that they are.
        path: The dotted path of the list of blocks in the pipeline.

    Returns:
        Hooks of the picture's stream, then of the text's.
    """
    address = f"denoiser.blocks.{index}"
    picture = Block(f"{address}.image", f"{path}.{index}", module)
    text = replace(picture, address=f"{address}.text", positions=window, text_window=text_window)
    # The last block computes nothing for the text after its attention; even the text's queries
    # there affect nothing.
    is_last = getattr(module, "context_pre_only", False)
    text_queries = replace(text, affects_output=not is_last)
    hooks = [
        *picture.attention("attn"),
        picture.tap("self_attn", "attn", width),
        picture.mlp("ff"),
        picture.tap("resid", "", width, output_index=1),
        *text_queries.attention("attn", "q", added=True),
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
        text.tap("self_attn", "attn", width, output_index=1),
        text.mlp("ff_context"),
        text.tap("resid", "", width),
    ]


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
    module = part.module
    units = getattr(module, "out_channels", None) or getattr(module, "out_dim", None)
    # The attention of an autoencoder has neither.
    return part.tap("out", "", module.to_out[0].out_features if units is None else units)


def _parts(stage: str, path: str, network: Any) -> Iterator[Block]:
    """Residual blocks, attentions and resamplings of a UNet-like network."""
    blocks = [(f"down.{i}", f"down_blocks.{i}") for i in range(len(_list(network, "down_blocks")))]
    blocks += [("mid", "mid_block")] if getattr(network, "mid_block", None) is not None else []
    blocks += [(f"up.{i}", f"up_blocks.{i}") for i in range(len(_list(network, "up_blocks")))]
    for name, block in blocks:
        for short, attribute in PARTS.items():
            for index, module in enumerate(_list(network.get_submodule(block), attribute)):
                if module is not None:
                    address = f"{stage}.{name}.{short}.{index}"
                    yield Block(address, f"{path}.{block}.{attribute}.{index}", module)


def _list(module: Any, attribute: str) -> Any:
    """A list of modules; empty where the module has none, or None in its place."""
    return getattr(module, attribute, None) or ()
