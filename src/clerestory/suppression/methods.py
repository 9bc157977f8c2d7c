"""The rungs: ways to counteract it, each with the settings that are tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution import SegmentedPrompt
from clerestory.edits import Ablate, Add, Erase, Reflect
from clerestory.errors import EvidenceError
from clerestory.evaluation import ITEM, Condition, along
from clerestory.maximization import maximize, words_of
from clerestory.models import Edit
from clerestory.suppression.case import Case
from clerestory.suppression.states import Ground

__all__ = ["RUNGS", "Means", "Setting"]

Matrix = NDArray[np.float64]
STRENGTHS = (0.75, 1.0, 1.5, 2.0, 3.0)
TURNS = (1.0, 1.5, 2.0, 2.5)
SWAPS = (0.4, 0.5, 0.6, 0.75)
FIRM, FIRMEST = (0.15, 0.3), (0.3, 0.45)
"""How much of its own direction all that is to stay gets on top, or one piece of it."""
GUIDANCES = (1.0, 1.5, 2.0, 3.0)
FOUND = 6
"""Found words that are tried."""


@dataclass(frozen=True, eq=False)
class Setting:
    """One way to draw: a rung with its settings.

    Attributes:
        rung: The rung's name.
        setting: What was set, for a reader.
        condition: How it is drawn.
    """

    rung: str
    setting: str
    condition: Condition

    @classmethod
    def of(
        cls,
        rung: str,
        setting: str = "",
        edits: Sequence[Edit] = (),
        suffix: str = "",
        options: Mapping[str, Any] | None = None,
    ) -> Setting:
        """A setting with its condition, named by both."""
        name = f"{rung}: {setting}"
        condition = Condition(name, edits=tuple(edits), options=options or {}, suffix=suffix)
        return cls(rung, setting, condition)


@dataclass(frozen=True, eq=False)
class Means:
    """What rungs are built from: the half that tunes, and what may be spent.

    `instead` are words of what a replacement puts in the unwanted's place. Words are searched with
    `budget` after the `longest` prompt, so that they fit after all.
    """

    case: Case
    carriers: Sequence[SegmentedPrompt]
    instead: Sequence[str]
    longest: str
    budget: int
    tell: Callable[[str, int, int], None]

    @cached_property
    def ground(self) -> Ground:
        """Read when a rung first needs it."""
        return Ground.of(self.case, self.carriers, self.instead)

    @cached_property
    def sides(self) -> dict[str, Matrix]:
        """The unwanted's directions as they are said, and with what is to stay taken out."""
        return {
            "as said": self.ground.basis(guarded=False),
            "kept taken out": self.ground.basis(guarded=True),
        }


def _negative(means: Means) -> list[Setting]:
    """The unwanted words as a negative prompt; EvidenceError where the model has no use for one."""
    model = means.case.model
    name = model.family.negative_option
    if not name:
        raise EvidenceError(f"{model.name} takes no negative prompt.")
    usual = float(getattr(model.defaults, name))
    if usual <= 1:
        raise EvidenceError(
            f"{model.name} draws without guidance ({name} {usual:g}), so nothing leads it away "
            "from a negative prompt."
        )
    words = ", ".join(shows for _, shows in means.case.unwanted)
    return [
        Setting.of(
            "negative prompt",
            f"{words!r}, {name} {usual * size:g}",
            options={"negative": words, name: usual * size},
        )
        for size in GUIDANCES
    ]


def _against(means: Means) -> list[Setting]:
    """What prompt and control differ by, along the unwanted's directions, taken off."""
    ground = means.ground
    return [
        Setting.of(
            "negative direction",
            f"x{size:g}, {mark}",
            (Add(ground.site, -basis.T @ (basis @ ground.apart), size),),
        )
        for mark, basis in means.sides.items()
        for size in STRENGTHS
    ]


def _projected(means: Means) -> list[Setting]:
    """The state held at the control's level along those directions."""
    ground = means.ground
    return [
        Setting.of(
            "projection",
            mark,
            tuple(Ablate(ground.site, way, float(way @ ground.usual)) for way in basis),
        )
        for mark, basis in means.sides.items()
    ]


def _reflected(means: Means) -> list[Setting]:
    """The state turned back where it lies beyond that level."""
    ground = means.ground
    return [
        Setting.of(
            "clipped reflection",
            f"x{turn:g}, {mark}",
            tuple(Reflect(ground.site, way, float(way @ ground.usual), turn) for way in basis),
        )
        for mark, basis in means.sides.items()
        for turn in TURNS
    ]


def _replaced(means: Means) -> list[Setting]:
    """The unwanted's words taken off and the others' put on, what is to stay made firmer.

    EvidenceError where the control shows nothing that could be put there.
    """
    if not means.instead:
        raise EvidenceError("The control shows nothing in the unwanted's place.")
    ground = means.ground
    swap = ground.instead.sum(0) - ground.away.sum(0)
    words = " ".join(say.replace(ITEM, "").strip(" ,") for say in means.instead)
    pieces = [piece.words for piece in means.case.prompt.pieces]
    firmer = {"": np.zeros(len(pieces))}
    firmer |= {f", kept x{one:g}": np.full(len(pieces), one) for one in FIRM}
    firmer |= {
        f", {piece} x{one:g}": one * np.eye(len(pieces))[at]
        for at, piece in enumerate(pieces)
        for one in FIRMEST
        if len(pieces) > 1
    }
    return [
        Setting.of(
            "replacement",
            f"{words!r} x{size:g}{more}",
            (Add(ground.site, size * swap + weights @ ground.stay, 1.0),),
        )
        for size in SWAPS
        for more, weights in firmer.items()
    ]


def _erased(means: Means) -> list[Setting]:
    """Whatever tells the unwanted's words linearly, erased."""
    ground = means.ground
    values = np.concatenate([ground.plain, *ground.said])
    marks = np.repeat(np.arange(1 + len(ground.said)), len(ground.plain))
    return [Setting.of("LEACE", "", (Erase.fit(ground.site, values, marks),))]


def _searched(means: Means) -> list[Setting]:
    """Words after the prompt that lead away from the unwanted, and not from what is to stay.

    SearchError where too few words fit after the prompt, or the budget is none.
    """
    ground, aim = means.ground, None
    for sign, ways in ((-1.0, means.sides["kept taken out"]), (0.5, ground.stay)):
        for place, way in enumerate(ways):
            one = sign * along(ground.site, way, "mean", f"{ground.site} {sign:+g} {place}")
            aim = one if aim is None else aim + one
    assert aim is not None
    banned = [word for _, shows in means.case.unwanted for word in shows.split()]
    found = maximize(
        means.case.model,
        aim,
        search="evolve",
        budget=means.budget,
        space=words_of(
            means.case.model, words=(1, 3), template=f"{means.longest} {{}}", banned=banned
        ),
        null=32,
        best=FOUND,
        draw=False,
        progress=lambda done, of: means.tell("searching words", done, of),
    )
    return [Setting.of("suffix search", repr(one.words), suffix=one.words) for one in found.best]


RUNGS: dict[str, Callable[[Means], list[Setting]]] = {
    "negative prompt": _negative,
    "negative direction": _against,
    "projection": _projected,
    "clipped reflection": _reflected,
    "replacement": _replaced,
    "LEACE": _erased,
    "suffix search": _searched,
}
"""By name the ways that are tried; EvidenceError or SearchError where a model or prompt has none.
"""
