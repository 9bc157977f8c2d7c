"""Try every rung of the ladder on half of the sentences, report on the other half, choose one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.attributing import paraphrases
from clerestory.errors import EvidenceError
from clerestory.models.seeds import check_seeds
from clerestory.registry import suggest
from clerestory.steering import SteeredModel
from clerestory.suppressing.case import Case
from clerestory.suppressing.judging import Judged, Way, same
from clerestory.suppressing.ladder import ladder
from clerestory.suppressing.stage import Stage

__all__ = ["Rung", "Suppressed", "suppress"]

Progress = Callable[[str, int, int], None]
Pictures = NDArray[np.uint8]
LEAST = 10
NOISES = 8
"""That settings are tried with."""
DROP, KEEP = 0.8, 0.9
"""Of the excess, what has to go; of what is to stay, what has to."""


@dataclass(frozen=True, eq=False)
class Rung:
    """The best setting of a rung: how set a saw it (`tuned`), how set b does, what it costs.

    `ua` is how often the unwanted is not drawn, `ira` how often, on other prompts, its classifiers
    see the same as without the way, `cra` how often the rest do (UnlearnCanvas' three); the last
    two are None where there are no other prompts or no such classifiers.
    """

    way: Way
    tuned: Judged
    came: Judged
    ua: float
    ira: float | None
    cra: float | None
    pictures: Pictures = field(repr=False)

    @property
    def name(self) -> str:
        """What the rung is called."""
        return self.way.rung

    def told(self, before: float) -> dict[str, Any]:
        """Ready for JSON; `before` is the rate of the unwanted without it."""
        came = asdict(self.came)
        return {
            "name": self.name,
            "setting": self.way.setting,
            "unwanted_before": before,
            "unwanted_after": came.pop("unwanted"),
            "kept": came.pop("kept_share"),
            "collateral": None if self.came.rest is None else 1 - self.came.rest,
            **{name: came[name] for name in ("drop", "drop_low", "drop_high", "distance")},
            "ua": self.ua,
            "ira": self.ira,
            "cra": self.cra,
            "by_class": came["by_class"],
        }


@dataclass(frozen=True, eq=False)
class Suppressed:
    """The ladder's rungs beside the prompt as it is and its control, all seen by set b.

    `chosen` is taken by what set a saw; `steered` is the model with its edits, or with the best
    rung's that has some, where what was chosen is words.
    """

    case: Case
    before: Judged
    control: Judged
    rungs: tuple[Rung, ...]
    chosen: Rung
    steered: SteeredModel
    steered_by: str
    contents: int
    seeds: int
    warnings: tuple[str, ...]
    pictures: Mapping[str, Pictures] = field(repr=False)
    """Of the prompt as it is (`before`) and of the control."""

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "prompt": self.case.prompt.whole,
            "unwanted": ["=".join(one) for one in self.case.unwanted],
            "keep": ["=".join(one) for one in self.case.kept],
            "contents": self.contents,
            "seeds": self.seeds,
            "control": self.control.unwanted,
            "rungs": [one.told(self.before.unwanted) for one in self.rungs],
            "chosen": self.chosen.name,
            "setting": self.chosen.way.setting,
            "steered": self.steered_by,
            "warnings": list(self.warnings),
        }


def suppress(
    case: Case,
    *,
    tune: int = 24,
    report: int = 24,
    seeds: int | Sequence[int] = (0, 1),
    elsewhere: Sequence[str] = (),
    budget: int = 300,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> Suppressed:
    """Climb the ladder.

    `tune` sentences choose each rung's setting by set a, one noise each of a few that the report
    has not; `report` others tell by set b. `elsewhere` are prompts of other things, for what it
    does to them. `budget` prompts are scored for words; with 0 none are searched. `only` names
    rungs. EvidenceError where the prompt shows no more of the unwanted than its control, or nothing
    of what is to be kept.
    """
    tell = progress or _silent
    if min(tune, report) < LEAST:
        raise EvidenceError(f"Give {LEAST} sentences or more to tune with, and to report on.")
    every = paraphrases(case.prompt, tune + report, model=case.model)
    first, second = every[:tune], every[tune:]
    numbers = check_seeds(seeds)
    start = Stage(case, first, [_others(numbers)[at % NOISES] for at in range(tune)], "a")
    start.check()
    longest = max((one.whole for one in every), key=lambda text: len(case.model.words(text)))
    rungs = ladder(case, first, start.instead(), longest, budget, tell)
    rungs = {name: rungs[name] for name in _named(only or tuple(rungs), rungs)}
    picked = _tuned(start, rungs, tell)
    end = Stage(case, second, numbers, "b")
    found = _reports(end, picked, list(elsewhere), tell)
    chosen, warnings = _chosen(found)
    steered, by = _steered(case, found, chosen)
    return Suppressed(
        case=case,
        before=end.judged(end.before),
        control=end.judged(end.control),
        rungs=tuple(found),
        chosen=chosen,
        steered=steered,
        steered_by=by,
        contents=report,
        seeds=len(numbers),
        warnings=tuple(warnings),
        pictures={"before": end.before, "control": end.control},
    )


def _tuned(
    stage: Stage, rungs: Mapping[str, Sequence[Way]], tell: Progress
) -> list[tuple[Way, Judged]]:
    """The best setting of each rung, as set a sees it."""
    of, done = sum(map(len, rungs.values())), 0
    found = []
    for ways in rungs.values():
        tried = []
        for way in ways:
            pictures = stage.draw(way)
            tried.append((way, stage.judged(pictures)))
            done += 1
            tell("trying settings", done, of)
        found.append(max(tried, key=lambda pair: (pair[1].worth, pair[1].certainty)))
    return found


def _named(only: Sequence[str], rungs: Mapping[str, object]) -> Sequence[str]:
    """EvidenceError for a rung that there is not."""
    for name in only:
        if name not in rungs:
            raise EvidenceError(f"No rung is called {name!r} here.{suggest(name, rungs)}")
    return only


def _reports(
    stage: Stage, picked: Sequence[tuple[Way, Judged]], others: Sequence[str], tell: Progress
) -> list[Rung]:
    """Each rung on the half that reports, and on other prompts."""
    case, found = stage.case, []
    plain = Way("before").draw(case.model, others, (0,)) if others else None
    for done, (way, tuned) in enumerate(picked):
        found.append(_reported(case, stage, way, tuned, others, plain))
        tell("reporting rungs", done + 1, len(picked))
    return found


def _reported(
    case: Case,
    stage: Stage,
    way: Way,
    tuned: Judged,
    others: Sequence[str],
    plain: Pictures | None,
) -> Rung:
    pictures = stage.draw(way)
    came = stage.judged(pictures)
    ira = cra = None
    if plain is not None:
        there = way.draw(case.model, others, (0,))
        own = list(dict.fromkeys(name for name, _ in case.unwanted))
        rest = [*dict.fromkeys(name for name, _ in case.kept), *case.others]
        ira, cra = (same(names, there, plain, stage.which) for names in (own, rest))
    return Rung(way, tuned, came, 1 - came.unwanted, ira, cra, pictures)


def _chosen(rungs: Sequence[Rung]) -> tuple[Rung, list[str]]:
    """By what set a saw: of those that do enough the surest, else the best."""
    enough = [
        one for one in rungs if (one.tuned.drop or 0) >= DROP and one.tuned.kept_share >= KEEP
    ]
    if enough:
        return max(enough, key=lambda one: one.tuned.certainty), []
    best = max(rungs, key=lambda one: one.tuned.worth)
    return best, [
        f"No rung took away {DROP:.0%} of the excess and kept {KEEP:.0%} of what is to stay."
    ]


def _steered(case: Case, rungs: Sequence[Rung], chosen: Rung) -> tuple[SteeredModel, str]:
    """The chosen rung as a model; where it has no edits, the best of those that have."""
    edited = [one for one in rungs if one.way.edits] or list(rungs)
    own = chosen if chosen.way.edits else max(edited, key=lambda one: one.tuned.worth)
    away = ", ".join(shows for _, shows in case.unwanted)
    about = {"shows": f"without {away}", "rung": own.name, "setting": own.way.setting}
    figures = {"set b": dict(own.came.by_class), "kept_share": own.came.kept_share}
    told = {**about, **figures, "drop": own.came.drop, "prompt": case.prompt.whole}
    return SteeredModel(case.model, own.way.edits, calibration=told), own.name


def _others(seeds: Sequence[int]) -> list[int]:
    """Seeds that are none of these."""
    return [seed for seed in range(len(seeds) + NOISES) if seed not in set(seeds)][:NOISES]


def _silent(what: str, done: int, of: int) -> None:
    pass
