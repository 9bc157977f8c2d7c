"""Precision-independent digests of weights, to detect networks that two models share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

__all__ = ["encoder_digests", "plain_tensors", "weight_digests"]

SIGNS = 256
"""Entries of a matrix whose signs are digested; smaller matrices are left out."""


def weight_digests(networks: Iterable[nn.Module]) -> list[str]:
    """Digest the signs of entries spread over each weight matrix.

    Rounding keeps signs, so float32, float16 and bfloat16 copies have the same digests.

    Args:
        networks: Modules whose weights are digested; weights on the device `meta` are left out.

    Returns:
        Hexadecimal digests, sorted, each once.
    """
    digests = {
        _digest(weight)
        for network in networks
        for parameter in network.parameters()
        for weight in plain_tensors(parameter)
        # Vectors are left out: norms and biases often start as ones or zeros, so that different
        # networks would agree in them.
        if weight.ndim > 1 and weight.numel() >= SIGNS and not weight.is_meta
    }
    return sorted(digests)


def encoder_digests(pipeline: Any) -> list[str]:
    """Digests of a pipeline's text and image encoders, which classifiers may share.

    Args:
        pipeline: A diffusers pipeline.

    Returns:
        What `weight_digests` gives of its transformers networks; empty where it has none.
    """
    from transformers import PreTrainedModel

    parts = getattr(pipeline, "components", {}).values()
    return weight_digests(part for part in parts if isinstance(part, PreTrainedModel))


def plain_tensors(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that hold a tensor's values.

    Args:
        tensor: A parameter or buffer.

    Yields:
        The tensor itself; of a quantized one, such as torchao's, its integers and scales, since it
        has few of a tensor's operations itself.
    """
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()
    for name in names:
        yield from plain_tensors(getattr(tensor, name))


def _digest(weight: Tensor) -> str:
    flat = weight.detach().flatten()
    signs = flat[:: len(flat) // SIGNS][:SIGNS].signbit().cpu().numpy()
    # 48 bits tell thousands of matrices apart, and keep the lists in manifests short.
    return hashlib.blake2b(signs.tobytes(), digest_size=6).hexdigest()
