"""The largest latent of each of k groups, of EleutherAI's sparsify."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations
from clerestory.errors import DictionaryError

__all__ = ["GroupMax"]


@activations.register("groupmax")
@dataclass(frozen=True, eq=False)
class GroupMax(Activation):
    """Keeps the largest latent of each of `k` groups of neighbours, if above 0.

    Attributes:
        k: Number of groups, which divides the number of latents.

    >>> import torch
    >>> GroupMax(2)(torch.tensor([1.0, 3.0, -2.0, -1.0]))
    tensor([0., 3., 0., 0.])
    """

    elementwise: ClassVar[bool] = False
    k: int

    @override
    def check(self, latents: int) -> None:
        if not isinstance(self.k, int) or not 1 <= self.k <= latents or latents % self.k:
            raise DictionaryError(f"k is {self.k}; it must divide the {latents} latents.")

    @override
    def __call__(self, values: Tensor) -> Tensor:
        groups = values.unflatten(-1, (self.k, -1))
        largest = groups.max(dim=-1, keepdim=True)
        kept = torch.zeros_like(groups).scatter(-1, largest.indices, largest.values.relu())
        return kept.flatten(-2)
