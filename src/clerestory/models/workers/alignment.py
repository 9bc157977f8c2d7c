"""The alignment of weights in memory, by which kernels of a CPU choose how they round.

Weights that are read from a file stand where they stand in the file, those that were pickled at
multiples of 64 bytes: a product with the same weights then differs by its last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clerestory.models.core.pipeline_state import pipeline_parts
from clerestory.models.core.weight_digests import stored_tensors

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["alignments", "restore_alignments"]

LINE = 64
"""Bytes of a vector register, and of a line of the cache."""


def alignments(model: Model) -> list[int]:
    """The alignment of each weight of a model, of its dictionaries too.

    Args:
        model: The model.

    Returns:
        Addresses modulo 64; -1 for a weight that is not in the CPU's memory, or not dense there.
    """
    return [each.data_ptr() % LINE if _is_plain(each) else -1 for each in _tensors(model)]


def restore_alignments(model: Model, offsets: Sequence[int]) -> None:
    """Move weights to where they are aligned as in another process.

    Args:
        model: The same model as there; its values stay the same.
        offsets: What `alignments` gave there.
    """
    for tensor, offset in zip(_tensors(model), offsets, strict=False):
        if offset >= 0 and _is_plain(tensor) and tensor.data_ptr() % LINE != offset:
            tensor.data = _aligned_copy(tensor.detach(), offset)


def _tensors(model: Model) -> Iterator[Tensor]:
    parts = pipeline_parts(model.pipeline).values()
    yield from stored_tensors(part for part in parts if isinstance(part, nn.Module))
    for attached in model.dictionaries.values():
        placed = attached.on(torch.device("cpu"))
        yield from (each for each in vars(placed).values() if isinstance(each, Tensor))


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not tensor.is_quantized
        and tensor.is_contiguous()
        and tensor.numel() > 0
    )


def _aligned_copy(tensor: Tensor, offset: int) -> Tensor:
    size = tensor.numel() * tensor.element_size()
    memory = torch.empty(size + LINE, dtype=torch.uint8)
    start = (offset - memory.data_ptr()) % LINE
    copy = memory[start : start + size].view(tensor.dtype).view(tensor.shape)
    return copy.copy_(tensor)
