"""What a check of causes found: what changing a unit does, beside what the unit detects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.contrasts.findings import Kind
from clerestory.errors import EvidenceError
from clerestory.io.outputs import empty_folder
from clerestory.stats import newcombe

__all__ = ["Band", "Causes", "Control", "Effect", "Range", "Swap", "change"]

FILE = "causes.json"


@dataclass(frozen=True)
class Effect:
    """A change of the rate at which the concept is drawn, 1 = all of it, with a 95% interval."""

    effect: float
    low: float
    high: float


@dataclass(frozen=True)
class Band:
    """The effects of directions from shuffled pairs: their mean, the least and the greatest.

    `beside` is the unit's own effect on the same `contents`.
    """

    mean: float
    low: float
    high: float
    directions: int
    contents: int
    beside: float


@dataclass(frozen=True)
class Control:
    """One unit: what it detects (AUROC held out) and what it controls.

    `addition`: moved, in prompts without the concept, as far as the concept moves it. `ablation`:
    held, in prompts that say it, where it is without it; the rate that is lost. `patching`: the
    whole site's activation of the prompt that says it put into its matched prompt, and `back`, the
    rate lost the other way round; None where no matched prompts fit. `shuffled` are directions of
    the same length at the same site, None where all pairs differ alike. `collateral`: how often
    each other classifier sees with the addition what it saw without.
    """

    unit: str
    kind: Kind
    detects: float
    addition: Effect
    ablation: Effect
    patching: Effect | None
    back: Effect | None
    shuffled: Band | None
    collateral: Mapping[str, float]

    @property
    def controls(self) -> bool:
        """Whether the addition does more than chance, and more than every shuffled direction."""
        band = self.shuffled
        return band is not None and self.addition.low > 0 and band.beside > band.high


@dataclass(frozen=True)
class Range:
    """What putting a contiguous range of a stage's blocks, or of steps, into the other run does.

    `holds` is True where whole outputs are put in, which hold what came before as well.
    """

    stage: str
    first: str
    last: str
    effect: Effect
    holds: bool = False


@dataclass(frozen=True)
class Swap:
    """Of pictures with the condition of one sample and the noise of another: whom they take after.

    Shares of pictures in which a classifier sees what it saw in the one parent (`condition`, with
    a 95% interval), in the other (`noise`); counted where it saw two things. `layout`: whose 8×8
    greys are nearer.
    """

    factor: str
    condition: float
    low: float
    high: float
    noise: float
    pictures: int


@dataclass(frozen=True, eq=False)
class Causes:
    """Units that were changed, and where and when the concept gets into the picture.

    `words` is the change by saying them (after `group`: from others' prompts to the group's own),
    and `words_keep` how often other classifiers then see what they saw. `unedited` is the rate
    without, in `contents` contents.
    """

    classifier: str
    shows: str
    contents: int
    unedited: float
    words: Effect
    words_keep: Mapping[str, float]
    controls: tuple[Control, ...] = ()
    where: tuple[Range, ...] = ()
    when: tuple[Range, ...] = ()
    swaps: tuple[Swap, ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def told(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        told = asdict(self)
        for one, own in zip(told["controls"], self.controls, strict=True):
            one |= {"words": told["words"], "controls": own.controls}
        return {**told, "sentences": list(self.sentences())}

    def sentences(self) -> tuple[str, ...]:
        """The answer in words, and never more than the figures show."""
        said = [self._holding()] if self.controls else []
        for what, ranges in (("where", self.where), ("when", self.when)):
            said += [_shortest(what, stage, ranges) for stage in dict.fromkeys(_stages(ranges))]
        return tuple(said)

    def _holding(self) -> str:
        holding = [one.unit for one in self.controls if one.controls]
        if not holding:
            return f"None of {len(self.controls)} units controls {self.shows!r}."
        names = ", ".join(holding)
        verb = "controls" if len(holding) == 1 else "control"
        return f"Of {len(self.controls)} units, {len(holding)} {verb} {self.shows!r}: {names}."

    def save(self, folder: Path) -> None:
        """Write `causes.json` into a folder, new or empty."""
        empty_folder(folder)
        (folder / FILE).write_text(json.dumps(self.told(), indent=1, allow_nan=False) + "\n")


def change(after: NDArray[np.bool_], before: NDArray[np.bool_], *, lost: bool = False) -> Effect:
    """The change of a rate, from flags `[content, seed]`; seeds are averaged within contents.

    `lost` turns it round: what there was less of afterwards.
    """
    if len(after) != len(before) or not len(after):
        raise EvidenceError(f"{len(after)} contents after and {len(before)} before: none to tell.")
    one, other = (before, after) if lost else (after, before)
    hits, others, of = float(one.mean(1).sum()), float(other.mean(1).sum()), len(one)
    return Effect((hits - others) / of, *newcombe(hits, of, others, of))


def _stages(ranges: tuple[Range, ...]) -> list[str]:
    return [one.stage for one in ranges]


def _shortest(what: str, stage: str, ranges: tuple[Range, ...]) -> str:
    """The shortest range that does nearly as much as the best one of its stage.

    Of whole outputs, which hold all that came before: the one that ends first.
    """
    own, kind = [one for one in ranges if one.stage == stage], _KINDS[what]
    sure = [one for one in own if one.effect.low > 0]
    if not sure and max(one.effect.high for one in own) < NEARLY:
        return f"In the {stage}, no range of {kind} does it by itself."
    if not sure:
        return f"In the {stage}, it cannot be told whether a range of {kind} does it."
    best = max(one.effect.effect for one in sure)
    enough = [one for one in sure if one.effect.effect >= 0.9 * best]
    order = list(dict.fromkeys(one.last for one in own))
    chosen = min(enough, key=lambda one: order.index(one.last) if one.holds else _length(own, one))
    span = chosen.first if chosen.first == chosen.last else f"{chosen.first} to {chosen.last}"
    does = chosen.effect
    verb = "hold" if chosen.holds else "put in"
    return (
        f"In the {stage}, {kind} {span} {verb} {does.effect:.2f} of it "
        f"({does.low:.2f} to {does.high:.2f}; the best of {len(own)} ranges has {best:.2f})."
    )


_KINDS = {"where": "blocks", "when": "steps"}
NEARLY = 0.15
"""An effect that is surely below this is called none."""


def _length(own: list[Range], one: Range) -> int:
    """How many parts of its stage a range covers."""
    parts = list(dict.fromkeys(each.first for each in own))
    lasts = list(dict.fromkeys(each.last for each in own if each.first == parts[0]))
    return lasts.index(one.last) - parts.index(one.first) + 1
