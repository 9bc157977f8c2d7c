"""The k largest latents of each position (Makhzani and Frey 2013, Gao et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations, check_k

__all__ = ["TopK"]


@activations.register("topk")
@dataclass(frozen=True, eq=False)
class TopK(Activation):
    """Keeps the `k` largest latents of each position, of those that are above 0.

    Attributes:
        k: Number of latents.

    >>> import torch
    >>> TopK(1)(torch.tensor([[1.0, 3.0], [-2.0, -1.0]]))
    tensor([[0., 3.],
            [0., 0.]])
    """

    elementwise: ClassVar[bool] = False
    k: int

    @override
    def check(self, latents: int) -> None:
        check_k(self.k, latents)

    @override
    def at_l0(self, values: Tensor, l0: float) -> TopK:
        return TopK(min(max(1, round(l0)), values.shape[1]))

    @override
    def __call__(self, values: Tensor) -> Tensor:
        # Unsorted, which is faster: the order is that of the latents.
        top = values.topk(self.k, dim=-1, sorted=False)
        return torch.zeros_like(values).scatter(-1, top.indices, top.values.relu())
