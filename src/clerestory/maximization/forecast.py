"""What a search will take, told before it begins: measured on the first random prompts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clerestory.maximization.scoring import Scorer

__all__ = ["Announce", "Forecast", "measured"]

SOME = 16
"""Prompts that are timed."""


@dataclass(frozen=True)
class Forecast:
    """So many prompts at so many seconds each, with the model run to the end of `reach`."""

    prompts: int
    each: float
    reach: str

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.prompts * self.each

    def __str__(self) -> str:
        size = self.seconds
        unit, scale = ("s", 1) if size < 100 else ("min", 60) if size < 6000 else ("h", 3600)
        return (
            f"{self.prompts:,} prompts at {1000 * self.each:.1f} ms ({self.reach}): "
            f"about {size / scale:.0f} {unit} at most."
        )


Announce = Callable[[Forecast], None]


def measured(scorer: Scorer, texts: Sequence[str], prompts: int) -> Forecast | None:
    """Score these texts, and forecast what `prompts` take; None where nothing was left to time.

    The first batch warms up and does not count.
    """
    each = None
    for start in range(0, min(len(texts), 2 * SOME), SOME):
        part = texts[start : start + SOME]
        new = len({text for text in part if text not in scorer.known})
        began = time.perf_counter()
        scorer(part)
        if new:
            each = (time.perf_counter() - began) / new
    return None if each is None else Forecast(prompts, each, scorer.reach)
