"""The states between encoder and decoder that rungs are built on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution import SegmentedPrompt
from clerestory.attribution.paraphrases import TEMPLATES, fits_window
from clerestory.errors import EvidenceError
from clerestory.evaluation import fill
from clerestory.suppression.case import Case

__all__ = ["Ground"]

Matrix = NDArray[np.float64]
SEEDS = (0, 1)
LEAST = 6
"""Sentences that directions need."""


@dataclass(frozen=True, eq=False)
class Ground:
    """The states between encoder and decoder: of the prompt, its control, and directions there.

    `away` are the unwanted classes' directions by their words, `[class, unit]`; `instead` those of
    the classes that the control shows in their place; `stay` those of what is to be kept, each said
    by itself. `apart` is the mean difference of prompt and control, `usual` the control's mean.
    `plain` and `said` are the states that directions come from.
    """

    site: str
    away: Matrix
    instead: Matrix
    stay: Matrix
    apart: Matrix
    usual: Matrix
    plain: Matrix
    said: tuple[Matrix, ...]

    @classmethod
    def of(cls, case: Case, carriers: Sequence[SegmentedPrompt], instead: Sequence[str]) -> Ground:
        """Read on the half that tunes; `instead` are words as `case.said` are.

        EvidenceError where the model hands nothing over.
        """
        model, site = case.model, case.model.conditioning_site
        if site not in model.sites:
            raise EvidenceError(f"{model.name} has no place between encoder and decoder to edit.")
        count = len(case.prompt.pieces)
        fitting = _fitting(case, carriers, instead)
        full, none = ([one.text([here] * count) for one in fitting] for here in (True, False))

        def read(texts: Sequence[str]) -> Matrix:
            run = model.run(list(texts), list(SEEDS), read=site, pictures=False)
            values = run.activations.unlabelled[site].values().mean(1).astype(np.float64)
            return np.asarray(values.reshape(len(texts), len(SEEDS), -1).mean(1))

        plain = read(none)
        said, others = (
            tuple(read([fill(words, one) for one in none]) for words in every)
            for every in (case.said, instead)
        )
        stay = []
        for piece in case.prompt.pieces:
            alone, stand_in = (
                read([frame.replace("{item}", one) for frame in TEMPLATES[:12]])
                for one in (_noun(piece.words), piece.baseline or "a thing")
            )
            stay.append((alone - stand_in).mean(0))
        return cls(
            site,
            np.array([(one - plain).mean(0) for one in said]),
            np.array([(one - plain).mean(0) for one in others]).reshape(-1, plain.shape[1]),
            np.array(stay),
            (read(full) - plain).mean(0),
            plain.mean(0),
            plain,
            said,
        )

    def basis(self, *, guarded: bool) -> Matrix:
        """Orthonormal directions of the unwanted; `guarded` against those that are to stay."""
        ways = self.away
        if guarded:
            axes, _ = np.linalg.qr(self.stay.T)
            ways = ways - ways @ axes @ axes.T
        axes, _ = np.linalg.qr(ways.T)
        return np.asarray(axes.T * np.sign(axes.T @ self.apart)[:, None])


def _fitting(
    case: Case, carriers: Sequence[SegmentedPrompt], instead: Sequence[str]
) -> list[SegmentedPrompt]:
    """Sentences that leave room for the words; EvidenceError where there are too few."""
    none = [False] * len(case.prompt.pieces)
    said = (*case.said, *instead)
    found = [
        one
        for one in carriers
        if fits_window(case.model, [fill(words, one.text(none)) for words in said])
    ]
    if len(found) < LEAST:
        raise EvidenceError("With the words of the unwanted the prompt is too long to be read.")
    return found


def _noun(words: str) -> str:
    """The words with an article, where they begin with none."""
    lead = words.partition(" ")[0].lower()
    if lead in ("a", "an", "the"):
        return words
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"
