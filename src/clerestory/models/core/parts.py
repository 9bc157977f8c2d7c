"""The parts that a call is computed in: batches of samples, and of many edits some sets at a time.

One process computes part after part. A model with a pool of workers has them computed elsewhere, by
what a `PartWork` does with a model; parts and results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from clerestory.models.core.types import Sample

if TYPE_CHECKING:
    from clerestory.models.model import Model

__all__ = ["Part", "PartPool", "PartWork", "split_into_parts"]

PARTS_PER_WORKER = 4
"""Parts that each worker should get of a call, so that slower ones can take fewer."""
MAX_SETS = 16
"""Sets of edits of a part, which are in memory together where a worker draws them."""


@dataclass(frozen=True)
class Part:
    """What is computed at once.

    Attributes:
        rows: The samples, which make up one batch.
        sets: Sets of edits, by index.
    """

    rows: range
    sets: range


class PartWork(Protocol):
    """What is to be computed of parts; it can be pickled."""

    @property
    def samples(self) -> Sequence[Sample]:
        """All samples, for messages."""

    def open(self, model: Model) -> AbstractContextManager[Callable[[Part], Any]]:
        """Prepare a model.

        Args:
            model: The worker's own model, whose pipeline is held.

        Returns:
            A context whose value computes a part; the result can be pickled.
        """


class PartPool(Protocol):
    """Workers that hold the same model."""

    @property
    def workers(self) -> int:
        """Their number."""

    def compute(self, model: Model, work: PartWork, parts: Sequence[Part]) -> Iterator[Any]:
        """Have parts computed.

        Args:
            model: The model that workers shall hold.
            work: What is computed.
            parts: The parts.

        Yields:
            Their results in order.

        Raises:
            ClerestoryError: As the work where it fails, and ModelError where workers are lost.
        """

    def close(self) -> None:
        """End the workers."""


def split_into_parts(batches: Sequence[range], sets: int, workers: int) -> list[Part]:
    """Split a call into parts: batch by batch, and the sets of a batch together or in groups.

    Sets of a part share what comes before their first edit, so they are split only where batches
    alone would leave workers idle.

    Args:
        batches: The samples of each batch.
        sets: Number of sets of edits.
        workers: Number of workers; 1 for this process.

    Returns:
        The parts, in the order of batches and then of sets.

    >>> split_into_parts([range(0, 4)], 3, 1)
    [Part(rows=range(0, 4), sets=range(0, 3))]
    >>> [list(part.sets) for part in split_into_parts([range(0, 4)], 3, 2)]
    [[0], [1], [2]]
    """
    size = sets
    if workers > 1:
        size = min(MAX_SETS, -(-len(batches) * sets // (PARTS_PER_WORKER * workers)))
    return [
        Part(rows, range(start, min(start + size, sets)))
        for rows in batches
        for start in range(0, sets, max(1, size))
    ]
