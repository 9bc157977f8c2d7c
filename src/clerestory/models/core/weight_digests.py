"""Digests of weights: of signs, to detect networks that two models share, or of all bits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = [
    "WeightVersions",
    "encoder_digests",
    "is_readable",
    "plain_tensors",
    "stored_tensors",
    "values_digest",
    "weight_digests",
    "weight_versions",
]

SIGNS = 256
"""Entries of a matrix whose signs are digested; smaller matrices are left out."""
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
WeightVersions = tuple[tuple[int, int, int], ...]
"""Identity, address and version of each weight."""
SUMMED = 2**22
"""Values that are summed at once, since torch copies them as 64-bit integers first."""


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


def values_digest(networks: Iterable[nn.Module]) -> str:
    """Digest every bit of the weights, which a change of a single one alters.

    Args:
        networks: Modules whose weights are digested.

    Returns:
        16 hexadecimal digits, the same on every device; "" where a weight cannot be read, as on the
        device `meta`.
    """
    networks = list(networks)
    if not all(map(is_readable, networks)):
        return ""
    try:
        digests = {_exact_digest(tensor) for tensor in stored_tensors(networks)}
    # Kinds of tensors that other libraries define, whose bits torch cannot give.
    except (NotImplementedError, RuntimeError):
        return ""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()[:16] if digests else ""


def is_readable(network: nn.Module) -> bool:
    """Whether all weights have values here, rather than on the device `meta`.

    Args:
        network: The network.

    Returns:
        False for a network that is offloaded module by module.
    """
    return not any(tensor.is_meta for tensor in stored_tensors([network]))


def weight_versions(networks: Iterable[nn.Module]) -> WeightVersions:
    """What torch counts of changes of the weights, in a moment and without reading them.

    Args:
        networks: Modules whose weights are meant.

    Returns:
        Identity, address and version of each; writing through `tensor.data` alters none of them.
    """
    return tuple(
        (id(tensor), 0 if tensor.is_meta else tensor.data_ptr(), tensor._version)
        for tensor in stored_tensors(networks)
    )


def stored_tensors(networks: Iterable[nn.Module]) -> Iterator[Tensor]:
    """Parameters and buffers, without buffers that modules compute when they are called."""
    for network in networks:
        for module in network.modules():
            # What `torch.compile` wraps around a module lists that module's own weights as well.
            if hasattr(module, "_orig_mod"):
                continue
            computed = module._non_persistent_buffers_set
            stored = {name: each for name, each in module._buffers.items() if name not in computed}
            for tensor in (*module._parameters.values(), *stored.values()):
                if tensor is not None:
                    yield from plain_tensors(tensor)


def _exact_digest(tensor: Tensor) -> str:
    flat = tensor.detach().flatten()
    bits = (flat.int_repr() if flat.is_quantized else flat).view(INTEGERS[flat.element_size()])
    # A sum of integers does not depend on their order, so some values in order are added.
    total = sum(int(part.sum(dtype=torch.int64)) for part in bits.split(SUMMED))
    spread = bits[:: max(1, len(bits) // SIGNS)].cpu().numpy().tobytes()
    content = repr((str(tensor.dtype), tuple(tensor.shape), total)).encode() + spread
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _digest(weight: Tensor) -> str:
    flat = weight.detach().flatten()
    entries = flat[:: len(flat) // SIGNS][:SIGNS].cpu()
    # The highest bit of a byte is the sign of 8-bit floats, which have no `signbit`; bytes of
    # packed weights (GGUF, nf4) have no sign, and are told apart by that bit too.
    signs = entries.view(torch.int8) < 0 if entries.element_size() == 1 else entries.signbit()
    # 48 bits tell thousands of matrices apart, and keep the lists in manifests short.
    return hashlib.blake2b(signs.numpy().tobytes(), digest_size=6).hexdigest()
