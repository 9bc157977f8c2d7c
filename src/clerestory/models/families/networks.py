"""Hooks of the sites inside denoisers and autoencoders: maps, attentions and heads, MLPs.

In all functions `address` is what stands before the tap (`denoiser.blocks.3`), `path` or `dotted`
the dotted path of the module in the pipeline, `length` the number of positions (None where it
depends on the picture) and `text_window` the window that the positions are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clerestory.models.core.family import SiteHook
from clerestory.models.core.types import Site

__all__ = [
    "attention_hooks",
    "basic_hooks",
    "end_hooks",
    "map_hooks",
    "mlp_hook",
    "tap_hook",
    "unet_hooks",
]

QKV = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"))
ADDED = (("q", "add_q_proj"), ("k", "add_k_proj"), ("v", "add_v_proj"))


def end_hooks(root: str, net: Any, latent: int, prediction: int, argument: str) -> list[SiteHook]:
    """The latent as the denoiser is fed it, and the channels of its prediction that are used.

    Args:
        root: The denoiser's attribute of the pipeline, such as `unet`.
        net: The denoiser.
        latent: Channels of the latent.
        prediction: Leading channels of the prediction that the scheduler takes.
        argument: The name of the argument that takes the latent.

    Returns:
        The hooks of `denoiser/latent` and `denoiser/prediction`.
    """
    return [
        SiteHook(Site("denoiser/latent", (None, latent), root, module=net), "input", argument),
        SiteHook(
            Site("denoiser/prediction", (None, prediction), root, module=net), channels=prediction
        ),
    ]


def attention_hooks(
    address: str,
    dotted: str,
    attention: Any,
    names: tuple[tuple[str, str], ...] = QKV,
    *,
    prefix: str = "",
    length: int | None = None,
    text_window: str = "",
    unused: tuple[str, ...] = (),
) -> list[SiteHook]:
    """Queries, keys and values of an attention, head by head, as far as it has them.

    Args:
        address: What stands before the tap.
        dotted: The dotted path of the attention in the pipeline.
        attention: diffusers' `Attention`.
        names: Taps with the attributes of the attention that make them.
        prefix: What stands before a tap's name, such as `cross_`.
        length: Number of positions; None where it depends on the picture.
        text_window: The window that the positions are; "" where they are not tokens.
        unused: Taps that affect no output.

    Returns:
        A hook for each tap that the attention has.
    """
    head_size = attention.to_q.out_features // attention.heads
    hooks = []
    for tap, attribute in names:
        module = getattr(attention, attribute, None)
        if module is None:
            continue
        units = module.out_features
        site = Site(
            f"{address}/{prefix}{tap}",
            (length, units),
            f"{dotted}.{attribute}",
            tap not in unused,
            # By the width of this tap: keys and values may have fewer heads than queries.
            units // head_size,
            module,
        )
        hooks.append(SiteHook(site, text_window=text_window))
    return hooks


def basic_hooks(
    address: str, dotted: str, block: Any, text_window: str, window: int
) -> list[SiteHook]:
    """diffusers' `BasicTransformerBlock`: self-attention, cross-attention, MLP after its gate.

    Args:
        address: What stands before the taps.
        dotted: The dotted path of the block in the pipeline.
        block: The block.
        text_window: The window that cross-attention reads its keys and values from.
        window: Its number of tokens.

    Returns:
        Hooks in the order in which the block computes their values.
    """
    hooks = []
    for name, prefix, tap in (("attn1", "", "self_attn"), ("attn2", "cross_", "cross_attn")):
        attention = getattr(block, name, None)
        if attention is None:
            continue
        path = f"{dotted}.{name}"
        if name == "attn1":
            hooks += attention_hooks(address, path, attention)
        else:
            # Of cross-attention only the queries are positions of the picture; keys and values are
            # tokens.
            hooks += attention_hooks(address, path, attention, QKV[:1], prefix=prefix)
            hooks += attention_hooks(
                address,
                path,
                attention,
                QKV[1:],
                prefix=prefix,
                length=window,
                text_window=text_window,
            )
        hooks.append(tap_hook(address, tap, path, attention, attention.to_out[0].out_features))
    width = block.ff.net[-1].out_features
    hooks.append(mlp_hook(address, f"{dotted}.ff", block.ff))
    return [*hooks, tap_hook(address, "resid", dotted, block, width)]


def mlp_hook(address: str, dotted: str, forward: Any, **where: Any) -> SiteHook:
    """The neurons of diffusers' `FeedForward`: after the non-linearity or the gate.

    Args:
        address: What stands before the tap.
        dotted: The dotted path of the MLP in the pipeline.
        forward: The `FeedForward`.
        **where: As in `tap_hook`.

    Returns:
        The hook of `mlp`.
    """
    # The width that the second matrix takes; a gated first layer gives twice as many before its
    # gate.
    units = forward.net[-1].in_features
    return tap_hook(address, "mlp", f"{dotted}.net.0", forward.net[0], units, **where)


def tap_hook(
    address: str,
    tap: str,
    dotted: str,
    module: Any,
    units: int,
    *,
    length: int | None = None,
    **where: Any,
) -> SiteHook:
    """The hook of one tap.

    Args:
        address: What stands before the tap.
        tap: The tap's name.
        dotted: The dotted path of the module in the pipeline.
        module: The module.
        units: Number of units.
        length: Number of positions; None where it depends on the picture.
        **where: Further fields of `SiteHook`, and `affects_output`.

    Returns:
        The hook.
    """
    affects_output = where.pop("affects_output", True)
    site = Site(f"{address}/{tap}", (length, units), dotted, affects_output, module=module)
    return SiteHook(site, **where)


def unet_hooks(root: str, net: Any, text_window: str = "", window: int = 0) -> list[SiteHook]:
    """Every block of a conditional UNet, and what is inside its attentions.

    Args:
        root: The UNet's attribute of the pipeline.
        net: The UNet.
        text_window: The window that cross-attention reads; "" where there are no tokens.
        window: Its number of tokens.

    Returns:
        Hooks block by block, down, mid, up.
    """
    hooks: list[SiteHook] = []
    # unCLIP's decoder turns the image embedding into so many positions.
    images = getattr(getattr(net, "encoder_hid_proj", None), "num_image_text_embeds", None)
    for address, dotted, module in _parts("denoiser", root, net):
        hooks.append(_map_hook(address, dotted, module))
        for index, block in enumerate(getattr(module, "transformer_blocks", ())):
            inside = f"{address}.blocks.{index}"
            path = f"{dotted}.transformer_blocks.{index}"
            hooks += basic_hooks(inside, path, block, text_window, window)
        # unCLIP's attentions have no transformer blocks in them; they join the condition to their
        # own keys and values.
        if hasattr(module, "to_q"):
            hooks += attention_hooks(address, dotted, module)
            hooks += attention_hooks(
                address, dotted, module, ADDED, prefix="condition_", length=images
            )
    return hooks


def map_hooks(stage: str, root: str, net: Any) -> list[SiteHook]:
    """Every block of an autoencoder's decoder.

    Args:
        stage: The stage's name, `vae`.
        root: The dotted path of the decoder in the pipeline.
        net: The decoder.

    Returns:
        Hooks block by block, mid, up.
    """
    return [_map_hook(*part) for part in _parts(stage, root, net)]


def _map_hook(address: str, dotted: str, module: Any) -> SiteHook:
    units = getattr(module, "out_channels", None) or getattr(module, "out_dim", None)
    if units is None:  # the attention of an autoencoder
        units = module.to_out[0].out_features
    return tap_hook(address, "out", dotted, module, units)


def _parts(stage: str, root: str, net: Any) -> Iterator[tuple[str, str, Any]]:
    """Residual blocks, attentions and resamplings of a UNet-like network, with their addresses."""
    blocks = [
        (f"down.{i}", f"down_blocks.{i}") for i in range(len(getattr(net, "down_blocks", ())))
    ]
    blocks += [("mid", "mid_block")] if getattr(net, "mid_block", None) is not None else []
    blocks += [(f"up.{i}", f"up_blocks.{i}") for i in range(len(getattr(net, "up_blocks", ())))]
    for name, path in blocks:
        block = net.get_submodule(path)
        for short, attribute in (
            ("res", "resnets"),
            ("attn", "attentions"),
            ("down", "downsamplers"),
            ("up", "upsamplers"),
        ):
            for index, module in enumerate(getattr(block, attribute, None) or ()):
                if module is not None:
                    yield (
                        f"{stage}.{name}.{short}.{index}",
                        f"{root}.{path}.{attribute}.{index}",
                        module,
                    )
