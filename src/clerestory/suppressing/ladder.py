"""The rungs: ways to counteract it, each with the settings that are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.attributing import Prompt
from clerestory.attributing.carriers import FRAMES, short_enough
from clerestory.errors import EvidenceError
from clerestory.exciting import along, excite, words_of
from clerestory.models import Edit, Model
from clerestory.steering import Ablate, Add, Erase, Reflect
from clerestory.suppressing.case import Case
from clerestory.suppressing.judging import Way

__all__ = ["Ground", "ladder"]

Matrix = NDArray[np.float64]
STRENGTHS = (0.75, 1.0, 1.5, 2.0, 3.0)
TURNS = (1.0, 1.5, 2.0, 2.5)
SWAPS = (0.4, 0.5, 0.6, 0.75)
FIRM, FIRMEST = (0.15, 0.3), (0.3, 0.45)
"""How much of its own direction all that is to stay gets on top, or one piece of it."""
GUIDANCES = (1.0, 1.5, 2.0, 3.0)
SEEDS = (0, 1)
LEAST = 6
"""Sentences that directions need."""
FOUND = 6
"""Found words that are tried."""


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
    def of(cls, case: Case, carriers: Sequence[Prompt], instead: Sequence[str]) -> Ground:
        """Read on the half that tunes; `instead` are words as `case.said` are.

        EvidenceError where the model hands nothing over.
        """
        model, site = case.model, case.model.family.bridge
        if site not in model.sites:
            raise EvidenceError(f"{model.name} has no place between encoder and decoder to edit.")
        count = len(case.prompt.pieces)
        carriers = [
            one
            for one in carriers
            if short_enough(
                model,
                [say.replace("{x}", one.text([False] * count)) for say in (*case.said, *instead)],
            )
        ]
        if len(carriers) < LEAST:
            raise EvidenceError("With the words of the unwanted the prompt is too long to be read.")
        full, none = ([one.text([here] * count) for one in carriers] for here in (True, False))

        def read(texts: Sequence[str]) -> Matrix:
            run = model.run(list(texts), list(SEEDS), read=site, pictures=False)
            values = run.activations.unlabelled[site].values().mean(1).astype(np.float64)
            return np.asarray(values.reshape(len(texts), len(SEEDS), -1).mean(1))

        plain = read(none)
        said, others = (
            tuple(read([words.replace("{x}", one) for one in none]) for words in every)
            for every in (case.said, instead)
        )
        stay = []
        for piece in case.prompt.pieces:
            alone, stand_in = (
                read([frame.replace("{x}", one) for frame in FRAMES[:12]])
                for one in (_noun(piece.words), piece.stand_in or "a thing")
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


def ladder(
    case: Case,
    carriers: Sequence[Prompt],
    instead: Sequence[str],
    longest: str,
    budget: int,
    tell: Callable[[str, int, int], None],
) -> dict[str, list[Way]]:
    """By rung the ways that are tried, on states of the half that tunes.

    `instead` are words of what a replacement puts in the unwanted's place. Words are searched after
    the `longest` prompt, so that they fit after all.
    """
    ground = Ground.of(case, carriers, instead)
    found = {"negative prompt": _negative(case)}
    for guarded in (False, True):
        mark = "kept taken out" if guarded else "as said"
        basis = ground.basis(guarded=guarded)
        levels = (basis @ ground.usual).tolist()
        shift = basis.T @ (basis @ ground.apart)
        found.setdefault("negative direction", []).extend(
            Way("negative direction", f"x{size:g}, {mark}", (Add(ground.site, -shift, size),))
            for size in STRENGTHS
        )
        flat = [Ablate(ground.site, way, at) for way, at in zip(basis, levels, strict=True)]
        found.setdefault("projection", []).append(Way("projection", mark, tuple(flat)))
        found.setdefault("clipped reflection", []).extend(
            Way("clipped reflection", f"x{turn:g}, {mark}", _turned(ground, basis, levels, turn))
            for turn in TURNS
        )
    found["replacement"] = _replaced(case, ground, instead)
    found["LEACE"] = [Way("LEACE", "", (_erased(ground),))]
    if budget:
        found["suffix search"] = _searched(case, longest, ground, budget, tell)
    return {name: ways for name, ways in found.items() if ways}


def _negative(case: Case) -> list[Way]:
    """The unwanted words as a negative prompt; none where the model draws without guidance."""
    defaults = case.model.defaults
    name = "prior_guidance" if "prior" in case.model.family.bridge else "guidance"
    usual = float(getattr(defaults, name))
    if usual <= 1:
        return []
    words = ", ".join(shows for _, shows in case.unwanted)
    return [
        Way(
            "negative prompt",
            f"{words!r}, {name} {usual * size:g}",
            options={"negative": words, name: usual * size},
        )
        for size in GUIDANCES
    ]


def _turned(
    ground: Ground, basis: Matrix, levels: Sequence[float], turn: float
) -> tuple[Edit, ...]:
    return tuple(Reflect(ground.site, way, at, turn) for way, at in zip(basis, levels, strict=True))


def _replaced(case: Case, ground: Ground, instead: Sequence[str]) -> list[Way]:
    """The unwanted's words taken off and the others' put on, what is to stay made firmer."""
    if not instead:
        return []
    swap = ground.instead.sum(0) - ground.away.sum(0)
    words = " ".join(say.replace("{x}", "").strip(" ,") for say in instead)
    pieces = [piece.words for piece in case.prompt.pieces]
    firmer = {"": np.zeros(len(pieces))}
    firmer |= {f", kept x{one:g}": np.full(len(pieces), one) for one in FIRM}
    firmer |= {
        f", {piece} x{one:g}": one * np.eye(len(pieces))[at]
        for at, piece in enumerate(pieces)
        for one in FIRMEST
        if len(pieces) > 1
    }
    return [
        Way(
            "replacement",
            f"{words!r} x{size:g}{more}",
            (Add(ground.site, size * swap + weights @ ground.stay, 1.0),),
        )
        for size in SWAPS
        for more, weights in firmer.items()
    ]


def _erased(ground: Ground) -> Erase:
    values = np.concatenate([ground.plain, *ground.said])
    marks = np.repeat(np.arange(1 + len(ground.said)), len(ground.plain))
    return Erase.fit(ground.site, values, marks)


def _searched(
    case: Case,
    longest: str,
    ground: Ground,
    budget: int,
    tell: Callable[[str, int, int], None],
) -> list[Way]:
    """Words after the prompt that lead away from the unwanted, and not from what is to stay."""
    model: Model = case.model
    aim = None
    for sign, ways in ((-1.0, ground.basis(guarded=True)), (0.5, ground.stay)):
        for place, way in enumerate(ways):
            one = sign * along(ground.site, way, "mean", f"{ground.site} {sign:+g} {place}")
            aim = one if aim is None else aim + one
    assert aim is not None
    banned = [word for _, shows in case.unwanted for word in shows.split()]
    space = words_of(model, words=(1, 3), template=f"{longest} {{}}", banned=banned)
    found = excite(
        model,
        aim,
        search="evolve",
        budget=budget,
        space=space,
        null=32,
        best=FOUND,
        draw=False,
        progress=lambda done, of: tell("searching words", done, of),
    )
    return [Way("suffix search", repr(one.words), suffix=one.words) for one in found.best]


def _noun(words: str) -> str:
    """The words with an article, where they begin with none."""
    lead = words.partition(" ")[0].lower()
    if lead in ("a", "an", "the"):
        return words
    return f"{'an' if words[:1].lower() in 'aeiou' else 'a'} {words}"
