"""The result of `familiarity`: the verdict, and the figures that it rests on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from typing_extensions import override

from clerestory.recognition.contexts import ContextEffect
from clerestory.recognition.store import NAMES
from clerestory.reporting.results import PicturedResult, Provenance

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "NOT_SHOWN",
    "ContextResult",
    "Controls",
    "FamiliarityResult",
    "Power",
    "Verdict",
    "phrase_folder",
]

Verdict = Literal["familiar", "not shown to be familiar", "undecided"]
NOT_SHOWN: Verdict = "not shown to be familiar"


@dataclass(frozen=True)
class ContextResult:
    """One context.

    Attributes:
        distance: How far the phrase lies from other names there, in units of the median control.
        effects: The labels that the context adds to invented names.
    """

    distance: float
    effects: tuple[ContextEffect, ...]


@dataclass(frozen=True)
class Controls:
    """The invented names that the phrase is compared with.

    Attributes:
        names: The names.
        distances: Their distances; the median is 1.
        consistencies: Their consistencies; None with a single context.
        matched: How many have as many words and tokens as the phrase; None where the model has no
            text encoder.
    """

    names: tuple[str, ...]
    distances: tuple[float, ...]
    consistencies: tuple[float | None, ...]
    matched: int | None

    def quantiles(self, figure: Literal["distances", "consistencies"]) -> list[float] | None:
        """The lowest, the median, the 95th percentile and the highest; None where unknown.

        Args:
            figure: Which of the two figures.

        Returns:
            Four numbers, in that order.
        """
        values = [value for value in getattr(self, figure) if value is not None]
        return np.quantile(values, [0, 0.5, 0.95, 1]).tolist() if values else None


@dataclass(frozen=True)
class Power:
    """How many names that the model knows are told from the same controls by the same test.

    Attributes:
        names: The known names, of as many words as the phrase.
        p: The p of each, as that of the phrase.
        familiar: How many have p ≤ .01.
        share: Their share.
        interval: Of the share, 95%.
    """

    names: tuple[str, ...]
    p: tuple[float, ...]
    familiar: int
    share: float
    interval: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.familiar} of {len(self.names)} names that the model knows are familiar by this "
            f"test ({self.share:.0%}, {low:.0%} to {high:.0%})"
        )


@dataclass(frozen=True, eq=False, repr=False)
class FamiliarityResult(PicturedResult):
    """A phrase, and whether its pictures differ from those of invented names.

    Attributes:
        phrase: The name.
        verdict: `familiar` at p ≤ .01, `not shown to be familiar` above .1, `undecided` in between.
        p: The share of the phrase and its controls that lies at least as far from the others as
            the phrase.
        distance: The norm of the phrase's mean deviation; 1 is the median control's.
        consistency: The mean cosine between its deviations in two contexts; None with one context.
        contexts: What was measured in each.
        controls: The invented names.
        power: Which share of known names the test tells; None where fewer than two are listed.
        classifiers: The accuracy of each on held-out pictures; None where it is unknown.
        embedding: Where the image embedding comes from; None without one.
        seeds: Seeds of every name, which are averaged first; None where each has its own.
        seeds_per_item: Number of seeds of each name.
        provenance: Where the result comes from.
        pictures: Of the phrase and the first controls `[context, height, width, 3]`, by name.
    """

    figures_file = "familiarity.json"

    phrase: str
    verdict: Verdict
    p: float
    distance: float
    consistency: float | None
    contexts: Mapping[str, ContextResult]
    controls: Controls
    power: Power | None
    classifiers: Mapping[str, float | None]
    embedding: str | None
    seeds: tuple[int, ...] | None
    seeds_per_item: int
    provenance: Provenance

    @property
    def verdict_text(self) -> str:
        """The verdict for a reader."""
        if self.verdict == NOT_SHOWN:
            return f"{NOT_SHOWN}: drawn as invented names are"
        return self.verdict

    @property
    def power_text(self) -> str:
        """The power for a reader, which says how much a name that is not familiar means."""
        if self.power is None:
            return "which share of known names the test tells is not known: list some"
        return str(self.power)

    @property
    def matched_text(self) -> str:
        """How many controls are as long as the phrase."""
        count, matched = len(self.controls.names), self.controls.matched
        if matched is None:
            return "lengths in tokens are not known"
        return f"{matched} of {count} have as many words and tokens"

    def summary(self) -> str:
        """The verdict, p, distance and consistency, with the lengths of controls and the power."""
        farthest = max(self.controls.distances)
        text = (
            f"{self.phrase}: {self.verdict_text}; p {self.p:.3g} among {len(self.controls.names)} "
            f"controls ({self.matched_text}), distance {self.distance:.2f} (the median "
            f"control's is 1, the farthest's {farthest:.2f})"
        )
        quantiles = self.controls.quantiles("consistencies")
        if self.consistency is not None and quantiles is not None:
            low, *_, high = quantiles
            text += f", consistency {self.consistency:.2f} (controls: {low:.2f} to {high:.2f})"
        return f"{text}; {self.power_text}."

    def table(self) -> pd.DataFrame:
        """A row for each context and label that the context adds to invented names."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for name, context in self.contexts.items():
            row = {"context": name, "distance": round(context.distance, 2)}
            rows += [
                row
                | {
                    "classifier": effect.classifier,
                    "label": effect.label,
                    "rate": round(effect.rate.rate, 2),
                    "other_contexts": round(effect.other_contexts, 2),
                    "phrase_rate": effect.phrase_rate,
                }
                for effect in context.effects
                # A context without effects keeps a row, for its distance.
            ] or [row]
        columns = ["context", "distance", "classifier", "label", "rate", "other_contexts"]
        return pd.DataFrame(rows, columns=[*columns, "phrase_rate"])

    def plot(self) -> Any:
        """Distance and consistency of the phrase among its controls."""
        from clerestory.recognition.page import chart

        return chart(self)

    def page(self) -> str:
        """The verdict, its figures and pictures as an HTML page."""
        from clerestory.recognition.page import page

        return page(self)

    @override
    def write(self, folder: Path) -> None:
        from clerestory.recognition.page import sheet
        from clerestory.reporting.pictures import save

        super().write(folder)
        save(sheet(self), folder / "sheet.png")


def phrase_folder(folder: Path, phrase: str) -> Path:
    """The folder of a phrase's result: its words, with a digest where they are ambiguous.

    Args:
        folder: The folder of all phrases.
        phrase: The phrase.

    Returns:
        A folder within it; different phrases have different ones.
    """
    from clerestory.reporting.pictures import slug

    name = slug(phrase)
    # A slug drops case and marks; a digest tells apart what these alone distinguish.
    if name.replace("-", " ") != phrase or name == NAMES:
        # A phrase may hold half a surrogate pair, which plain UTF-8 refuses to encode.
        raw = phrase.encode(errors="surrogatepass")
        name += "-" + hashlib.blake2b(raw, digest_size=3).hexdigest()
    return folder / name
