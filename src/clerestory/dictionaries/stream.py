"""Batches of activations in random order, normalised, in bounded memory, that can be continued.

A stream gathers chunks of a source, in an order that its seed gives, until its buffer is full,
and gives the rows of the buffer in random order. What is left over goes into the next buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.normalization import Normalization
from clerestory.dictionaries.sources import Source
from clerestory.errors import DictionaryError

__all__ = ["NORMALIZATIONS", "ActivationStream", "Place", "Scaling", "estimate"]

Scaling = Literal["none", "constant", "standard"]
NORMALIZATIONS: tuple[Scaling, ...] = ("none", "constant", "standard")
"""`constant` scales so that the mean norm is √width; `standard` subtracts the mean of each unit and
scales so that the mean variance of the units is 1."""


def estimate(values: Tensor, kind: Scaling) -> Normalization:
    """The normalisation of a site, from a part of its activations.

    Args:
        values: `[row, unit]`.
        kind: One of `NORMALIZATIONS`.

    Returns:
        The normalisation.

    Raises:
        DictionaryError: The activations do not vary.
    """
    if kind == "none":
        return Normalization()
    # In float64: sums of many rows lose digits in float32.
    exact = values.double()
    mean = exact.mean(0) if kind == "standard" else torch.zeros(values.shape[1]).double()
    if kind == "standard":
        scale = (exact - mean).square().mean().sqrt()
    else:
        scale = exact.norm(dim=1).mean() / values.shape[1] ** 0.5
    if not scale > 0:
        raise DictionaryError("The activations are all alike, so that no dictionary fits them.")
    return Normalization(
        mean=mean.float() if kind == "standard" else None, scale=scale.float().reshape(1)
    )


@dataclass(frozen=True)
class Place:
    """A place in a stream, with which another process continues it.

    Attributes:
        visit: How often the source was gone through before.
        chunk: The first chunk of the buffer, as an index into the order of this visit.
        batch: Number of batches that the buffer has given.
    """

    visit: int = 0
    chunk: int = 0
    batch: int = 0


class ActivationStream(Iterator[Tensor]):
    """Endless batches of normalised activations; the same for the same arguments.

    Args:
        source: Where the rows come from.
        batch: Rows of a batch.
        buffer: Rows that are shuffled together; memory is for these and for one chunk.
        seed: Gives the order.
        device: Where batches go.

    Attributes:
        normalization: Applied to every batch; set it before the first one.
    """

    def __init__(
        self, source: Source, batch: int, buffer: int, *, seed: int = 0, device: str = "cpu"
    ) -> None:
        self.source, self.batch, self.buffer = source, batch, max(batch, buffer)
        self.seed, self.device = seed, device
        self.normalization = Normalization()
        self._place, self._next = Place(), (0, 0)
        self._remainder: Tensor | None = None
        self._rows: Tensor | None = None
        self._order = torch.empty(0, dtype=torch.int64)
        # Chunks that were read, while all of them together fit into the buffer.
        self._kept: dict[int, Tensor] = {}

    @property
    def rows(self) -> Tensor:
        """The rows of the buffer as the model made them, `[row, unit]`; filled if need be."""
        if self._rows is None:
            self._fill()
        assert self._rows is not None
        return self._rows

    @property
    def place(self) -> Place:
        """Where the next batch is."""
        return self._place

    @property
    def remainder(self) -> Tensor:
        """Rows that an earlier buffer left over, of which the place does not know."""
        return self.rows[:0] if self._remainder is None else self._remainder

    def move(self, place: Place, remainder: Tensor) -> None:
        """Continue at a place of a stream with the same arguments.

        Args:
            place: Its `place`.
            remainder: Its `remainder` at that place.
        """
        self._next, self._remainder = (place.visit, place.chunk), remainder
        self._fill()
        self._place = place

    @override
    def __next__(self) -> Tensor:
        while self._rows is None or (self._place.batch + 1) * self.batch > len(self._rows):
            if self._rows is not None:
                left = self._order[self._place.batch * self.batch :]
                self._remainder = self._rows[left]
            self._fill()
        start = self._place.batch * self.batch
        rows = self._rows[self._order[start : start + self.batch]]
        self._place = Place(self._place.visit, self._place.chunk, self._place.batch + 1)
        # `to` before the normalisation: its tensors are where the batches go.
        return self.normalization.apply(rows.to(self.device))

    def _fill(self) -> None:
        """Fill the buffer from the next chunk on."""
        visit, chunk = self._next
        if chunk >= self.source.chunks:
            visit, chunk = visit + 1, 0
        self._place = Place(visit, chunk)
        order = np.random.default_rng([self.seed, visit]).permutation(self.source.chunks)
        parts = [] if self._remainder is None else [self._remainder]
        count = sum(map(len, parts))
        # A buffer ends with its visit: small sources would be in it several times.
        while chunk < len(order) and count < self.buffer:
            parts.append(self._read(int(order[chunk]), visit))
            count, chunk = count + len(parts[-1]), chunk + 1
        if not count:
            raise DictionaryError(f"{self.source.site} has no values in the training samples.")
        self._next = (visit, chunk)
        self._rows = torch.cat(parts)
        shuffle = np.random.default_rng([self.seed, visit, self._place.chunk])
        self._order = torch.from_numpy(shuffle.permutation(len(self._rows)))

    def _read(self, chunk: int, visit: int) -> Tensor:
        if chunk in self._kept:
            return self._kept[chunk]
        rows = torch.from_numpy(np.ascontiguousarray(self.source.read(chunk, visit).values))
        if self.source.repeats:
            self._kept[chunk] = rows
            if sum(map(len, self._kept.values())) > self.buffer:
                self._kept.clear()
        return rows
