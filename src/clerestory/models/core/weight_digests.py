"""What weights are known by, whatever precision they are held in: is one network in two models?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

__all__ = ["encoder_digests", "weight_digests"]

SIGNS = 256
"""So many entries of a matrix are looked at; it has that many at least."""


def weight_digests(networks: Iterable[nn.Module]) -> list[str]:
    """A digest of each weight matrix: of the signs of entries spread over it.

    Rounding keeps signs, so float32, float16 and bfloat16 copies have the same marks.
    """
    marks = (
        _mark(weight)
        for network in networks
        for weight in network.parameters()
        if weight.ndim > 1 and weight.numel() >= SIGNS and not weight.is_meta
    )
    return sorted(set(marks))


def encoder_digests(pipeline: Any) -> list[str]:
    """The marks of a pipeline's text and image encoders, which classifiers may share."""
    from transformers import PreTrainedModel

    parts = getattr(pipeline, "components", {}).values()
    return weight_digests(part for part in parts if isinstance(part, PreTrainedModel))


def _mark(weight: Tensor) -> str:
    flat = weight.detach().flatten()
    signs = flat[:: len(flat) // SIGNS][:SIGNS].signbit().cpu().numpy()
    return hashlib.blake2b(signs.tobytes(), digest_size=6).hexdigest()
