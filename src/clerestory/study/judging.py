"""What is in the pictures, as classifiers see it, and the rates that come of it.

A content is the replicate: its seeds are averaged first, and intervals count contents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.classifying import Classifier, FactorClassifier
from clerestory.classifying.outcomes import Change, Rate, change, rate
from clerestory.errors import TableError
from clerestory.numeric import wilson
from clerestory.registry import suggest
from clerestory.study.definition import Definition, Judge

__all__ = ["Drawn", "Judged", "Known", "Panel", "Rate", "compared", "known", "rate"]

Flags = NDArray[np.bool_]
Pictures = NDArray[np.uint8]
Lookup = Callable[[str, str], Classifier]
"""A classifier by name and set, `a` or `b`."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What is in pictures `[content, seed]`: the style, the decoy's object, which subject."""

    style: Flags
    object: Flags
    subject: NDArray[np.str_]

    def first(self, contents: int, seeds: int = 1) -> Judged:
        """The same of the first contents and seeds."""
        part = np.s_[:contents, :seeds]
        return Judged(self.style[part], self.object[part], self.subject[part])


@dataclass(frozen=True)
class Drawn:
    """How one way of drawing came out, beside the unedited pictures of the same prompts and seeds.

    `subject_kept`: the classifier names the same subject as in the unedited picture.
    `subject_asked`: it names the subject of the prompt.
    """

    style: Rate
    subject_kept: Rate
    subject_asked: Rate
    object: Rate
    object_added: Change


@dataclass(frozen=True)
class Panel:
    """The three classifiers of a study, all of one set."""

    study: Definition
    style: Classifier
    object: Classifier
    subject: Classifier

    @classmethod
    def open(cls, study: Definition, which: str, lookup: Lookup) -> Panel:
        """The study's classifiers of set `a` or `b`; TableError where one lacks a class."""
        judges = study.classifiers
        style = _opened(judges.style, which, lookup)
        thing = _opened(judges.object, which, lookup)
        subject = lookup(judges.subject.name, which)
        for content in (*study.contents.discovery, *study.contents.report):
            if content not in subject.classes:
                hint = suggest(content, subject.classes)
                raise TableError(f"{subject.source} has no class {content!r} to judge by.{hint}")
        return cls(study, style, thing, subject)

    def judge(self, pictures: Pictures) -> Judged:
        """Judge pictures `[content, seed, height, width, 3]`."""
        contents, seeds = pictures.shape[:2]
        flat = pictures.reshape(-1, *pictures.shape[2:])
        judges = self.study.classifiers
        said = {
            "style": _named(self.style, flat) == judges.style.shows,
            "object": _named(self.object, flat) == judges.object.shows,
            "subject": _named(self.subject, flat),
        }
        shaped = {name: answers.reshape(contents, seeds) for name, answers in said.items()}
        return Judged(**shaped)


@dataclass(frozen=True)
class Known:
    """What is known of a classifier's own error: how often it is right about true pictures."""

    source: str
    right: Rate | None
    right_in_style: Rate | None


def compared(judged: Judged, unedited: Judged, contents: tuple[str, ...]) -> Drawn:
    """Rates of pictures of `contents`, beside the unedited ones."""
    asked = judged.subject == np.array(contents)[:, None]
    return Drawn(
        style=rate(judged.style),
        subject_kept=rate(judged.subject == unedited.subject),
        subject_asked=rate(asked),
        object=rate(judged.object),
        object_added=change(rate(judged.object), rate(unedited.object)),
    )


def known(classifier: Classifier, style: str) -> Known:
    """A classifier's own error, overall and on true pictures in the style, where it is known."""
    if not isinstance(classifier, FactorClassifier):
        return Known(classifier.source, None, None)
    of, factor = classifier.of, classifier.factor
    return Known(
        classifier.source,
        _share(*of.accuracy(factor)),
        _share(*of.accuracy_in_style(factor, style)),
    )


def _share(right: int, every: int) -> Rate | None:
    return Rate(right / every, *wilson(right, every), every) if every else None


def _opened(judge: Judge, which: str, lookup: Lookup) -> Classifier:
    found = lookup(judge.name, which)
    if judge.shows not in found.classes:
        hint = suggest(judge.shows, found.classes)
        raise TableError(f"Classifier {judge.name!r} has no class {judge.shows!r}.{hint}")
    return found


def _named(classifier: Classifier, pictures: Pictures) -> NDArray[np.str_]:
    names: NDArray[np.str_] = np.array(classifier.classes)
    said: NDArray[np.str_] = names[classifier(pictures).argmax(1)]
    return said
