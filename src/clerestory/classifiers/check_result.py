"""A check as a recording's folder, or findings, keep it; whether its counts fit together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clerestory.errors import EvidenceError
from clerestory.io.fields import made

__all__ = ["Told", "told_of"]


@dataclass(frozen=True)
class _Rates:
    """A class's share, as `Check.told` gives it."""

    said: float
    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Told:
    """What `Check.told` gives."""

    source: str
    marked: int
    agreed: int
    unsure: tuple[int, ...]
    agreement: Mapping[str, float]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    pictures: int
    rates: Mapping[str, _Rates]


def told_of(told: Any) -> Told:
    """The fields of a kept check; EvidenceError where they do not fit."""
    read = made(Told, told, "a classifier's check", EvidenceError)
    every = len(read.classes)
    counts = [*read.unsure, *(count for row in read.confusion for count in row)]
    square = len(read.confusion) == len(read.unsure) == every
    square = square and all(len(row) == every for row in read.confusion)
    if not square or set(read.rates) != set(read.classes) or min(counts, default=-1) < 0:
        raise EvidenceError(f"The check of {read.source[:80]} counts other classes than it has.")
    if not 0 < sum(map(sum, read.confusion)) <= sum(counts) < 2**31:
        raise EvidenceError(f"The check of {read.source[:80]} counts no pictures, or too many.")
    return read
