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

__all__ = ["ContextResult", "Controls", "FamiliarityResult", "Verdict", "phrase_folder"]

Verdict = Literal["familiar", "unfamiliar", "undecided"]


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
    """

    names: tuple[str, ...]
    distances: tuple[float, ...]
    consistencies: tuple[float | None, ...]

    def quantiles(self, figure: Literal["distances", "consistencies"]) -> list[float] | None:
        """The lowest, the median, the 95th percentile and the highest; None where unknown.

        Args:
            figure: Which of the two figures.

        Returns:
            Four numbers, in that order.
        """
        values = [value for value in getattr(self, figure) if value is not None]
        return np.quantile(values, [0, 0.5, 0.95, 1]).tolist() if values else None


@dataclass(frozen=True, eq=False, repr=False)
class FamiliarityResult(PicturedResult):
    """A phrase, and whether its pictures differ from those of invented names.

    Attributes:
        phrase: The name.
        verdict: `familiar` at p ≤ .01, `unfamiliar` above .1, `undecided` in between.
        p: The share of the phrase and its controls that lies at least as far from the others as
            the phrase.
        distance: The norm of the phrase's mean deviation; 1 is the median control's.
        consistency: The mean cosine between its deviations in two contexts; None with one context.
        contexts: What was measured in each.
        controls: The invented names.
        classifiers: The accuracy of each on held-out pictures; None where it is unknown.
        embedding: Where the image embedding comes from; None without one.
        seeds: Seeds per context, which are averaged first.
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
    classifiers: Mapping[str, float | None]
    embedding: str | None
    seeds: tuple[int, ...]
    provenance: Provenance

    @property
    def verdict_text(self) -> str:
        """The verdict for a reader."""
        if self.verdict == "unfamiliar":
            return "unfamiliar: falls back on context"
        return self.verdict

    def summary(self) -> str:
        """The verdict, p, distance and consistency."""
        farthest = max(self.controls.distances)
        text = (
            f"{self.phrase}: {self.verdict_text}; p {self.p:.3g} among {len(self.controls.names)} "
            f"controls, distance {self.distance:.2f} (the median control's is 1, the farthest's "
            f"{farthest:.2f})"
        )
        quantiles = self.controls.quantiles("consistencies")
        if self.consistency is not None and quantiles is not None:
            low, *_, high = quantiles
            text += f", consistency {self.consistency:.2f} (controls: {low:.2f} to {high:.2f})"
        return f"{text}."

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
