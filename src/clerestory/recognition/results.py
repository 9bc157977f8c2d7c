"""What came of asking whether a model knows a name: the verdict, and all that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from clerestory.recognition.contexts import Made
from clerestory.recognition.observation import Seen
from clerestory.reporting.escaping import to_json

__all__ = ["Beside", "Context", "Familiarity", "Verdict"]

Verdict = Literal["familiar", "unfamiliar", "undecided"]
SAID: dict[Verdict, str] = {
    "familiar": "familiar",
    "unfamiliar": "unfamiliar: falls back on context",
    "undecided": "undecided",
}
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Context:
    """How far the phrase lies from the others in one context, in the median control's distances.

    `made` is what the context makes of made-up names.
    """

    distance: float
    made: tuple[Made, ...]


@dataclass(frozen=True, eq=False)
class Beside:
    """The controls: their names, distances (their median is 1) and consistencies."""

    names: tuple[str, ...]
    distances: Floats
    consistencies: Floats

    def told(self) -> dict[str, Any]:
        """How many, and the lowest, median, 95th in a hundred and highest of their figures."""
        told: dict[str, Any] = {"names": len(self.names)}
        for name in ("distances", "consistencies"):
            ends = np.quantile(getattr(self, name), [0, 0.5, 0.95, 1])
            told[name] = [_number(end) for end in ends.tolist()]
        return told

    @property
    def span(self) -> str:
        """From which consistency to which."""
        ends = self.told()["consistencies"]
        return "none" if ends[0] is None else f"{ends[0]:.2f} to {ends[3]:.2f}"


@dataclass(frozen=True, eq=False)
class Familiarity:
    """A phrase, and whether its pictures are unlike those of names that nobody knows.

    `p` is the share of the pool (the phrase and its controls) that lies at least as far from the
    others as the phrase does. `distance` is that of its mean deviation, 1 the median control's;
    `consistency` the mean cosine between its deviations in two contexts, NaN with a single one.
    `right` says how often each classifier is right on held-out pictures, None where nobody knows.
    """

    phrase: str
    verdict: Verdict
    p: float
    distance: float
    consistency: float
    contexts: Mapping[str, Context]
    controls: Beside
    right: Mapping[str, float | None]
    about: Mapping[str, Any]
    seen: Seen = field(repr=False)
    shown: tuple[Seen, ...] = field(repr=False)

    @property
    def said(self) -> str:
        """The verdict, to a reader."""
        return SAID[self.verdict]

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "phrase": self.phrase,
            "verdict": self.verdict,
            "p": self.p,
            "distance": self.distance,
            "consistency": _number(self.consistency),
            "contexts": {
                name: {"distance": one.distance, "made": [asdict(made) for made in one.made]}
                for name, one in self.contexts.items()
            },
            "controls": self.controls.told(),
            "classifiers": dict(self.right),
            **self.about,
        }

    def save(self, folder: Path) -> None:
        """Write `familiarity.json`."""
        (folder / "familiarity.json").write_text(to_json(self.told()) + "\n", encoding="utf-8")


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
