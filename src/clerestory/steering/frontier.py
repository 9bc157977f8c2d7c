"""What a sweep tried, the frontier of concept against content, and which point is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clerestory.edits import Add
from clerestory.evaluation import Outcome

__all__ = ["Point", "frontier", "picked"]

ENOUGH = 0.97
"""The knee is where a point reaches this share of what the best one does, and keeps most."""


@dataclass(frozen=True, eq=False)
class Point:
    """One edit at one strength, in standard deviations of its site, and how it came out.

    `goal` is the concept's rate, or where it is to go, one less that. `strange` says that the
    pictures left the distribution: they are farther from those that have it by the words (in
    Fréchet distance) than pictures without it are.
    """

    edit: Add
    outcome: Outcome
    goal: float
    strange: bool

    @property
    def kept(self) -> float:
        """The mean over the other classifiers of what is kept; 1 where none looks."""
        kept = self.outcome.mean_preservation
        return 1.0 if kept is None else kept

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "site": self.edit.site,
            "strength": self.edit.strength,
            "concept_rate": self.outcome.target.rate,
            "kept": self.outcome.mean_preservation,
            "distance": self.outcome.distance,
            "frechet": self.outcome.frechet,
            "strange": self.strange,
        }


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in goal and content both, the highest goal first."""
    found: list[Point] = []
    most = -1.0
    for point in sorted(points, key=lambda one: (-one.goal, -one.kept)):
        if point.kept > most:
            found.append(point)
            most = point.kept
    return found


def picked(points: Sequence[Point], keep: float | None = None) -> tuple[Point, list[str]]:
    """The point to take, and what the user should know of it.

    With `keep`, of the points that keep so much the one that reaches most; else the knee. Points
    that left the distribution of pictures are taken only where there are no others.
    """
    warnings: list[str] = []
    fine = [point for point in points if not point.strange]
    if not fine:
        fine = list(points)
        warnings.append("Every edit that was tried leaves the distribution of pictures.")
    enough = [point for point in fine if keep is not None and point.kept >= keep]
    if keep is not None and not enough:
        warnings.append(f"Nothing that was tried keeps {keep:.0%} of the content: it is the knee.")
    if enough:
        best = max(enough, key=lambda one: (one.goal, one.kept))
    else:
        most = max(point.goal for point in fine)
        best = max((p for p in fine if p.goal >= ENOUGH * most), key=lambda one: one.kept)
    if best.goal == 0:
        warnings.append("What was taken does nothing to the concept.")
    return best, warnings
