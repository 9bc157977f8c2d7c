"""What several ways of drawing make of the same contents and seeds, as classifiers see it.

panel = Panel.of("lancet:style", "stained glass")
said = Way("words", "a stained glass of {x}")
plain, words = outcomes(model, [Way("unedited"), said], ["a cat", "a ship"], range(2), panel)
words.concept.rate, words.kept["subject"].rate

The first way is what the others are held to: content is kept where a classifier sees the same in
both pictures of one content and seed. A content is the replicate: its seeds are averaged first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.classifiers.base import Classifier, classifier
from clerestory.classifiers.heads import ClassifierHead, factor_of
from clerestory.errors import EvidenceError, RegistryError
from clerestory.models import Edit, Model
from clerestory.registry import suggest
from clerestory.stats import frechet_distance, newcombe, wilson
from clerestory.types import Role

__all__ = ["Change", "Outcome", "Panel", "Rate", "Way", "change", "judged", "outcomes", "rate"]

CONTENT = "{x}"
Flags = NDArray[np.bool_]
Pictures = NDArray[np.uint8]
Progress = Callable[[str, int, int], None]
"""Told (what, done, of)."""
Cloud = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Rate:
    """A rate over contents, with its Wilson interval."""

    rate: float
    low: float
    high: float
    contents: int


@dataclass(frozen=True)
class Change:
    """A rate less another, with Newcombe's interval."""

    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Way:
    """A way of drawing contents: a prompt that has `{x}` where the content goes, and edits."""

    name: str
    pattern: str = CONTENT
    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        if self.pattern.count(CONTENT) != 1:
            raise EvidenceError(f"The pattern {self.pattern!r} must have {CONTENT} in it, once.")

    def prompts(self, contents: Sequence[str]) -> list[str]:
        """What is asked for each content."""
        return [self.pattern.replace(CONTENT, content) for content in contents]


@dataclass(frozen=True, eq=False)
class Panel:
    """One set of classifiers: `concept` of whose pictures show `shows`, and the `others`.

    `decoy` is what should not come with the concept (a classifier and its class). `cloud` tells
    features of pictures, for Fréchet distances, where the classifier has such.
    """

    concept: Classifier
    shows: str
    others: Mapping[str, Classifier]
    decoy: tuple[Classifier, str] | None = None

    @classmethod
    def of(
        cls,
        name: str,
        shows: str,
        *,
        role: Role = "evaluation",
        others: Sequence[str] | None = None,
        decoy: tuple[str, str] | None = None,
    ) -> Panel:
        """A panel of set `which`; by default the others are its network's other heads.

        RegistryError where a classifier has no such class.
        """
        judge = _having(name, shows, role)
        if others is None:
            others = judge.companions if isinstance(judge, ClassifierHead) else ()
        if decoy is not None:
            others = [one for one in others if one != decoy[0]]
        named = {one: classifier(one, role=role) for one in others}
        rest = {factor_of(one, other): other for one, other in named.items()}
        against = None if decoy is None else (_having(*decoy, role), decoy[1])
        return cls(judge, shows, rest, against)

    @property
    def clouded(self) -> bool:
        """Whether the classifier has features."""
        return isinstance(self.concept, ClassifierHead)

    def cloud(self, pictures: Pictures) -> Cloud | None:
        """Mean and covariance of the pictures' features; None without features."""
        if not isinstance(self.concept, ClassifierHead):
            return None
        seen = self.concept.features(pictures.reshape(-1, *pictures.shape[2:])).astype(float)
        return seen.mean(0), np.cov(seen, rowvar=False)


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one way came out, `kept` by classifier.

    `distance` is the root mean square difference from the first way's pictures, 0 to 1.
    `decoy` is the rate of the decoy's class, `decoy_added` that less the first way's. `frechet` is
    from the pictures of the way that says the words, None where there is none.
    """

    name: str
    concept: Rate
    kept: Mapping[str, Rate]
    distance: float
    decoy: Rate | None
    decoy_added: Change | None
    frechet: float | None
    pictures: Pictures = field(repr=False)

    @property
    def all_kept(self) -> float | None:
        """The mean over classifiers of what is kept; None where there are none."""
        return float(np.mean([one.rate for one in self.kept.values()])) if self.kept else None

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        plain = {name: value for name, value in vars(self).items() if name != "pictures"}
        plain["kept"] = {name: asdict(one) for name, one in self.kept.items()}
        for name in ("concept", "decoy", "decoy_added"):
            plain[name] = None if plain[name] is None else asdict(plain[name])
        return {**plain, "all_kept": self.all_kept}


def rate(hits: Flags) -> Rate:
    """The rate of hits `[content, seed]`, seeds averaged first.

    >>> rate(np.array([[True, False], [True, True]])).rate
    0.75
    """
    means = hits.mean(1)
    return Rate(float(means.mean()), *wilson(float(means.sum()), len(means)), len(means))


def change(one: Rate, other: Rate) -> Change:
    """`one` less `other`; the interval takes them for independent, which pairs make too wide.

    Source: Newcombe 1998, method 10.

    >>> change(Rate(0.5, 0.3, 0.7, 10), Rate(0.5, 0.3, 0.7, 10)).change
    0.0
    """
    hits, others = one.rate * one.contents, other.rate * other.contents
    low, high = newcombe(hits, one.contents, others, other.contents)
    return Change(one.rate - other.rate, low, high)


def outcomes(
    model: Model,
    ways: Sequence[Way],
    contents: Sequence[str],
    seeds: int | Sequence[int],
    panel: Panel,
    *,
    said: str | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Draw every content in every way on the same seeds, and judge it.

    `said` names the way whose pictures the others' Fréchet distance is from. EvidenceError for
    fewer than two contents.
    """
    if len(set(contents)) < 2:
        raise EvidenceError("Give two different contents or more: a content is the replicate.")
    drawn = _drawn(model, ways, contents, seeds, progress)
    return judged(panel, {way.name: drawn[way.name] for way in ways}, said=said)


def judged(
    panel: Panel, drawn: Mapping[str, Pictures], *, said: str | None = None
) -> list[Outcome]:
    """Judge pictures `[content, seed, height, width, 3]` that lie there, by way."""
    first = next(iter(drawn.values()))
    before = {name: _told(judge, first) for name, judge in panel.others.items()}
    cloud = None if said is None else panel.cloud(drawn[said])
    base = None if panel.decoy is None else rate(_shows(*panel.decoy, first))
    return [
        _outcome(name, panel, pictures, first, before, base, cloud)
        for name, pictures in drawn.items()
    ]


def _outcome(
    name: str,
    panel: Panel,
    pictures: Pictures,
    first: Pictures,
    before: Mapping[str, NDArray[np.integer]],
    base: Rate | None,
    cloud: Cloud | None,
) -> Outcome:
    decoy = None if panel.decoy is None else rate(_shows(*panel.decoy, pictures))
    apart = (pictures.astype(np.float32) - first) / 255
    own = None if cloud is None else panel.cloud(pictures)
    return Outcome(
        name=name,
        concept=rate(_shows(panel.concept, panel.shows, pictures)),
        kept={
            other: rate(_told(judge, pictures) == before[other])
            for other, judge in panel.others.items()
        },
        distance=float(np.sqrt((apart**2).mean())),
        decoy=decoy,
        decoy_added=change(decoy, base) if decoy is not None and base is not None else None,
        frechet=None if cloud is None or own is None else frechet_distance(own, cloud),
        pictures=pictures,
    )


def _drawn(
    model: Model,
    ways: Sequence[Way],
    contents: Sequence[str],
    seeds: int | Sequence[int],
    progress: Progress | None,
) -> dict[str, Pictures]:
    """Ways of one pattern share what comes before their edits."""
    patterns: dict[str, list[Way]] = {}
    for way in ways:
        patterns.setdefault(way.pattern, []).append(way)
    if len({way.name for way in ways}) < len(ways):
        raise EvidenceError("Two ways have one name.")
    found: dict[str, Pictures] = {}
    for alike in patterns.values():
        label = f"drawing {', '.join(way.name for way in alike[:3])}"
        runs = model.sweep(
            alike[0].prompts(contents),
            seeds,
            [way.edits for way in alike],
            progress=None if progress is None else _named(progress, label),
        )
        for way, run in zip(alike, runs, strict=True):
            assert run.pictures is not None
            pictures = run.pictures
            found[way.name] = pictures.reshape(len(contents), -1, *pictures.shape[1:])
    return found


def _named(progress: Progress, label: str) -> Callable[[int, int], None]:
    return lambda done, of: progress(label, done, of)


def _told(judge: Classifier, pictures: Pictures) -> NDArray[np.integer]:
    """The likeliest class of each picture, `[content, seed]`."""
    flat = pictures.reshape(-1, *pictures.shape[2:])
    return np.asarray(judge(flat).argmax(1)).reshape(pictures.shape[:2])


def _shows(judge: Classifier, shows: str, pictures: Pictures) -> Flags:
    return np.asarray(_told(judge, pictures) == judge.classes.index(shows))


def _having(name: str, shows: str, role: Role) -> Classifier:
    judge = classifier(name, role=role)
    if shows not in judge.classes:
        raise RegistryError(f"{name} has no class {shows!r}.{suggest(shows, judge.classes)}")
    return judge
