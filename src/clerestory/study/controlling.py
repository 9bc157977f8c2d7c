"""Does it control? The direction added at several strengths, beside words and shuffled directions.

The strength is chosen on contents of the discovery half, judged by classifier set `a`. All else is
drawn from the report half and judged by set `b`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from clerestory.finding import Finding, Findings
from clerestory.models import Edit, Model
from clerestory.numeric import shuffled, wilson
from clerestory.steering import Add
from clerestory.study.definition import Definition, Half
from clerestory.study.judging import Drawn, Judged, Panel, Pictures, Rate, compared, rate
from clerestory.study.plan import asked

__all__ = [
    "Controls",
    "Gallery",
    "Point",
    "Probe",
    "Shuffled",
    "Span",
    "Tuning",
    "controls",
    "knee",
    "tune",
]

Progress = Callable[[str, int, int], None]

ENOUGH = 0.95
"""The strength is the weakest that reaches this share of the highest style rate of all."""


@dataclass(frozen=True)
class Point:
    """One strength, and how it came out."""

    strength: float
    drawn: Drawn


@dataclass(frozen=True)
class Tuning:
    """The strength that was chosen, and from what: contents of discovery, classifier set `a`."""

    strength: float
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Span:
    """A mean over directions, with its interval over directions."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Shuffled:
    """Directions from shuffled pairs, of the same length: each one's style rate, and all together.

    Each of the `directions` was drawn with as many `contents`.
    """

    style: Span
    subject_kept: Span
    rates: tuple[float, ...]
    kept: tuple[float, ...]
    contents: int

    @property
    def directions(self) -> int:
        """How many there are."""
        return len(self.rates)


@dataclass(frozen=True)
class Probe:
    """A unit moved by `strength` times its own mean difference, and how it came out."""

    unit: str
    kind: str
    drawn: Drawn


@dataclass(frozen=True)
class Controls:
    """What adding the direction does, on the report half, beside everything it is to be held to.

    `repeat`: how often two seeds of one unedited prompt are given the same subject: no way of
    drawing can be expected to keep more than the classifier sees. `decoy` asks for the object.
    """

    site: str
    strength: float
    edited: Drawn
    unedited: Drawn
    words: Drawn
    decoy: Drawn
    shuffled: Shuffled
    curve: tuple[Point, ...]
    probes: tuple[Probe, ...]
    repeat: Rate | None


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures `[content, height, width, 3]` of the first contents and first seed, by how drawn."""

    contents: tuple[str, ...]
    prompts: tuple[str, ...]
    seed: int
    rows: dict[str, Pictures] = field(repr=False)


def tune(study: Definition, model: Model, edit: Add, panel: Panel, progress: Progress) -> Tuning:
    """Choose the strength on the discovery half; `panel` is of set `a`."""
    draw = _Draw(study, model, panel, "discovery", progress)
    steps = study.edit.strengths
    count = min(study.pictures.tune, len(study.contents.discovery))
    sets: list[Sequence[Edit]] = [(), *([edit.times(strength)] for strength in steps)]
    unedited, *rest = draw("tuning", "absent", count, 1, sets)
    points = tuple(
        Point(strength, draw.compare(pictures, unedited))
        for strength, pictures in zip(steps, rest, strict=True)
    )
    return Tuning(knee(points), points)


def knee(points: Sequence[Point]) -> float:
    """The weakest strength that reaches 0.95 of the highest style rate; what is weaker keeps more.

    Where no strength draws the style at all, the one nearest to 1.
    """
    rates = [point.drawn.style.rate for point in points]
    if max(rates) == 0:
        return min((point.strength for point in points), key=lambda s: abs(np.log(s)))
    return next(p.strength for p, r in zip(points, rates, strict=True) if r >= ENOUGH * max(rates))


def controls(
    study: Definition,
    model: Model,
    edit: Add,
    differences: np.ndarray,
    findings: Findings,
    panel: Panel,
    progress: Progress,
) -> tuple[Controls, Gallery]:
    """Draw the report half in every way, and judge it by set `b`. `edit` is as strong as chosen."""
    draw = _Draw(study, model, panel, "report", progress)
    every, seeds = len(study.contents.report), len(study.pictures.seeds)
    unedited, edited = draw("with and without", "absent", every, seeds, [(), [edit]])
    (words,) = draw("saying the words", "shown", every, seeds, [()])
    (decoy,) = draw("the decoy's words", "decoy", min(study.pictures.curve, every), 1, [()])
    curve = _curve(study, draw, edit, unedited, edited)
    mixed, sample = _shuffled(study, draw, edit, differences, unedited)
    probes = _probes(study, draw, edit, findings, unedited)
    found = Controls(
        site=edit.site,
        strength=float(np.asarray(edit.strength)),
        edited=draw.compare(edited, unedited),
        unedited=draw.compare(unedited, unedited),
        words=draw.compare(words, unedited),
        decoy=draw.compare(decoy, unedited),
        shuffled=mixed,
        curve=curve,
        probes=probes,
        repeat=_repeat(draw.judged(unedited)),
    )
    rows = {"unedited": unedited, "edited": edited, "words": words, "shuffled": sample}
    ask = asked(study, "report", "absent", len(sample))
    pictures = {how: part[: len(sample), 0] for how, part in rows.items()}
    return found, Gallery(ask.contents, ask.prompts, study.pictures.seeds[0], pictures)


class _Draw:
    """Draws and judges one half; each array of pictures is judged once."""

    def __init__(
        self, study: Definition, model: Model, panel: Panel, half: Half, progress: Progress
    ) -> None:
        self.study, self.model, self.panel, self.half = study, model, panel, half
        self.progress = progress
        self.contents = asked(study, half, "absent").contents
        self._known: dict[int, tuple[Pictures, Judged]] = {}

    def __call__(
        self, what: str, arm: str, contents: int, seeds: int, sets: Sequence[Sequence[Edit]]
    ) -> list[Pictures]:
        """Pictures `[content, seed, height, width, 3]` for each set of edits."""
        ask = asked(self.study, self.half, arm, contents)
        numbers = self.study.pictures.seeds[:seeds]
        runs = self.model.sweep(
            ask.prompts, numbers, sets, progress=lambda done, of: self.progress(what, done, of)
        )
        shape = (len(ask.prompts), len(numbers))
        drawn = [run.pictures for run in runs if run.pictures is not None]
        return [pictures.reshape(*shape, *pictures.shape[1:]) for pictures in drawn]

    def judged(self, pictures: Pictures) -> Judged:
        """What the classifiers say of pictures."""
        if id(pictures) not in self._known:
            self._known[id(pictures)] = (pictures, self.panel.judge(pictures))
        return self._known[id(pictures)][1]

    def compare(self, pictures: Pictures, unedited: Pictures) -> Drawn:
        """Rates beside the unedited pictures of the same contents and seeds."""
        contents, seeds = pictures.shape[:2]
        base = self.judged(unedited).first(contents, seeds)
        return compared(self.judged(pictures), base, self.contents[:contents])


def _curve(
    study: Definition, draw: _Draw, edit: Add, unedited: Pictures, edited: Pictures
) -> tuple[Point, ...]:
    """All strengths on the same contents; the chosen one is drawn already."""
    count = min(study.pictures.curve, len(unedited))
    others = [strength for strength in study.edit.strengths if strength != edit.strength]
    sets = [[edit.times(strength)] for strength in others]
    drawn = dict(zip(others, draw("strengths", "absent", count, 1, sets), strict=True))
    drawn[float(np.asarray(edit.strength))] = edited[:count, :1]
    return tuple(
        Point(strength, draw.compare(drawn[strength], unedited)) for strength in sorted(drawn)
    )


def _shuffled(
    study: Definition, draw: _Draw, edit: Add, differences: np.ndarray, unedited: Pictures
) -> tuple[Shuffled, Pictures]:
    """At least 20 directions of the same length at the same strength; pictures of the first."""
    norm = float(np.linalg.norm(edit.vector.numpy()))
    made = shuffled(differences, norm, np.random.default_rng(0), study.edit.shuffled)
    count = min(study.pictures.shuffled, len(unedited))
    sets = [[Add(edit.site, direction, edit.strength)] for direction in made]
    drawn = draw("shuffled directions", "absent", count, 1, sets)
    came = [draw.compare(pictures, unedited) for pictures in drawn]
    rates = tuple(each.style.rate for each in came)
    kept = tuple(each.subject_kept.rate for each in came)
    return Shuffled(_over(rates), _over(kept), rates, kept, count), drawn[0]


def _probes(
    study: Definition, draw: _Draw, edit: Add, findings: Findings, unedited: Pictures
) -> tuple[Probe, ...]:
    """Each stage's first neuron and first other direction, moved as far as the direction is."""
    chosen = _chosen(draw.model, findings, edit.site)
    strength = float(np.asarray(edit.strength))
    sets = [[_moved(finding, findings, strength)] for finding in chosen]
    count = min(study.pictures.probes, len(unedited))
    drawn = draw("other units", "absent", count, 1, sets) if sets else []
    return tuple(
        Probe(finding.unit, finding.kind, draw.compare(pictures, unedited))
        for finding, pictures in zip(chosen, drawn, strict=True)
    )


def _chosen(model: Model, findings: Findings, edited: str) -> list[Finding]:
    """The first of each kind and stage by discovery, where a change can reach the picture."""
    first: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings.findings, key=lambda finding: finding.rank):
        site = model.sites[finding.site]
        if site.feeds and not (finding.kind == "direction" and finding.site == edited):
            first.setdefault((site.stage, finding.kind), finding)
    return list(first.values())


def _moved(finding: Finding, findings: Findings, strength: float) -> Add:
    """The finding's part of its site's difference of means, as an edit."""
    direction = findings.direction(finding.site)
    if finding.kind == "neuron":
        unit = int(finding.unit.rpartition("[")[2].removesuffix("]"))
        direction = np.where(np.arange(len(direction)) == unit, direction, 0.0)
    return Add(finding.site, direction, strength)


def _over(rates: tuple[float, ...]) -> Span:
    return Span(float(np.mean(rates)), *wilson(float(np.sum(rates)), len(rates)))


def _repeat(judged: Judged) -> Rate | None:
    if judged.subject.shape[1] < 2:
        return None
    pairs = itertools.combinations(range(judged.subject.shape[1]), 2)
    same = [judged.subject[:, one] == judged.subject[:, two] for one, two in pairs]
    return rate(np.stack(same, 1))
