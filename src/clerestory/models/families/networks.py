"""The places inside denoisers and autoencoders: maps, attentions and their heads, MLPs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from clerestory.models.core.family import Place
from clerestory.models.core.types import Site

__all__ = [
    "attention_places",
    "basic_places",
    "end_places",
    "map_places",
    "mlp_place",
    "tap_place",
    "unet_places",
]

QKV = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"))
ADDED = (("q", "add_q_proj"), ("k", "add_k_proj"), ("v", "add_v_proj"))


def end_places(root: str, net: Any, latent: int, prediction: int, argument: str) -> list[Place]:
    """The latent as it comes in, and the part of the prediction that is used."""
    return [
        Place(Site("denoiser/latent", (None, latent), root, module=net), "input", argument),
        Place(
            Site("denoiser/prediction", (None, prediction), root, module=net), channels=prediction
        ),
    ]


def attention_places(
    address: str,
    dotted: str,
    attention: Any,
    names: tuple[tuple[str, str], ...] = QKV,
    *,
    prefix: str = "",
    length: int | None = None,
    tokens: str = "",
    unread: tuple[str, ...] = (),
) -> list[Place]:
    """Queries, keys and values of an attention, head by head, as far as it has them.

    `prefix` stands before a tap's name (`cross_q`); the taps in `unread` feed nothing.
    """
    each = attention.to_q.out_features // attention.heads
    places = []
    for tap, attribute in names:
        module = getattr(attention, attribute, None)
        if module is None:
            continue
        units = module.out_features
        site = Site(
            f"{address}/{prefix}{tap}",
            (length, units),
            f"{dotted}.{attribute}",
            tap not in unread,
            units // each,
            module,
        )
        places.append(Place(site, tokens=tokens))
    return places


def basic_places(address: str, dotted: str, block: Any, tokens: str, window: int) -> list[Place]:
    """diffusers' `BasicTransformerBlock`: self-attention, cross-attention, MLP after its gate."""
    places = []
    for name, prefix, tap in (("attn1", "", "self_attn"), ("attn2", "cross_", "cross_attn")):
        attention = getattr(block, name, None)
        if attention is None:
            continue
        path = f"{dotted}.{name}"
        if name == "attn1":
            places += attention_places(address, path, attention)
        else:
            places += attention_places(address, path, attention, QKV[:1], prefix=prefix)
            places += attention_places(
                address, path, attention, QKV[1:], prefix=prefix, length=window, tokens=tokens
            )
        places.append(tap_place(address, tap, path, attention, attention.to_out[0].out_features))
    width = block.ff.net[-1].out_features
    places.append(mlp_place(address, f"{dotted}.ff", block.ff))
    return [*places, tap_place(address, "resid", dotted, block, width)]


def mlp_place(address: str, dotted: str, forward: Any, **where: Any) -> Place:
    """The neurons of diffusers' `FeedForward`: after the non-linearity or the gate."""
    units = forward.net[-1].in_features
    return tap_place(address, "mlp", f"{dotted}.net.0", forward.net[0], units, **where)


def tap_place(
    address: str,
    tap: str,
    dotted: str,
    module: Any,
    units: int,
    *,
    length: int | None = None,
    **where: Any,
) -> Place:
    """The place of one tap; `where` is what else a `Place` takes, and `feeds`."""
    feeds = where.pop("feeds", True)
    site = Site(f"{address}/{tap}", (length, units), dotted, feeds, module=module)
    return Place(site, **where)


def unet_places(root: str, net: Any, tokens: str = "", window: int = 0) -> list[Place]:
    """Every block of a conditional UNet, and what is inside its attentions."""
    places: list[Place] = []
    images = getattr(getattr(net, "encoder_hid_proj", None), "num_image_text_embeds", None)
    for address, dotted, module in _parts("denoiser", root, net):
        places.append(_map_place(address, dotted, module))
        for index, block in enumerate(getattr(module, "transformer_blocks", ())):
            inside = f"{address}.blocks.{index}"
            path = f"{dotted}.transformer_blocks.{index}"
            places += basic_places(inside, path, block, tokens, window)
        if hasattr(module, "to_q"):
            places += attention_places(address, dotted, module)
            places += attention_places(
                address, dotted, module, ADDED, prefix="condition_", length=images
            )
    return places


def map_places(stage: str, root: str, net: Any) -> list[Place]:
    """Every block of an autoencoder's decoder."""
    return [_map_place(*part) for part in _parts(stage, root, net)]


def _map_place(address: str, dotted: str, module: Any) -> Place:
    units = getattr(module, "out_channels", None) or getattr(module, "out_dim", None)
    if units is None:  # the attention of an autoencoder
        units = module.to_out[0].out_features
    return tap_place(address, "out", dotted, module, units)


def _parts(stage: str, root: str, net: Any) -> Iterator[tuple[str, str, Any]]:
    """Residual blocks, attentions and resamplings of a UNet-like network, by their places in it."""
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
