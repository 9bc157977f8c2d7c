"""What a classifier is, and how one is asked for by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import RegistryError
from clerestory.registry import Registry, filled, suggest
from clerestory.types import Role

__all__ = [
    "Classifier",
    "class_of",
    "classifier",
    "condition",
    "families",
    "is_code",
    "is_given",
    "known",
    "only_given",
]


@runtime_checkable
class Classifier(Protocol):
    """Pictures to probabilities over named classes.

    One that can change under the same `source` has a `mark` as well, to tell its versions apart;
    one whose weights a generator may have too has their marks as `weights` (`models/marks.py`); one
    that measures and has learnt nothing says `measured`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the probabilities."""

    @property
    def source(self) -> str:
        """Where it comes from, for reports: `lancet:style (evaluation)`."""

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities `[n, class]` of pictures `[n, height, width, 3]`; each row adds up to 1."""


families: Registry[Callable[[str, Role], Classifier]] = Registry("classifier family")
"""By what stands before the colon: a function of what stands after it, and of the set."""


_GIVEN: ContextVar[frozenset[str] | None] = ContextVar("given", default=None)
"""The names that a person gave, while names from a file are about; None where there are none."""


@contextmanager
def only_given(names: Iterable[str]) -> Iterator[None]:
    """Run with names that may come from somebody else's file: only `names` may run code or fetch.

    Asked for by any other name within, a `python:` classifier is refused before anything is
    imported, and one of a hub is looked for on this machine only.
    """
    token = _GIVEN.set(frozenset(names))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def is_given(name: str) -> bool:
    """Whether a person named this classifier, on the command line or in Python, and no file did."""
    given = _GIVEN.get()
    return given is None or name in given


def is_code(name: str) -> bool:
    """Whether the classifier of this name is code, which is imported and run.

    >>> is_code("python:mine:brightness"), is_code("lancet:mood")
    (True, False)
    """
    return name.partition(":")[0] == "python"


@functools.cache
def known() -> Registry[Callable[[str, Role], Classifier]]:
    """The families, with those of installed plug-ins (entry points `clerestory.classifiers`)."""
    return filled(families, "clerestory.classifiers.kinds", "clerestory.classifiers")


def classifier(name: str, *, role: Role = "evaluation") -> Classifier:
    """The classifier called `FAMILY:REST`.

    RegistryError with the nearest if there is none, or where its classes cannot be told apart.
    """
    family, _, rest = name.partition(":")
    judge = known()[family](rest, role)
    classes = judge.classes
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise RegistryError(
            f"{name} has the classes {', '.join(map(repr, classes))}; two or more are expected, "
            "each with a name of its own."
        )
    return judge


def class_of(name: str, shows: str, *, role: Role = "evaluation") -> str:
    """The class of a classifier that is meant: its name, or the one that begins so.

    Hyphens count as blanks: `black` is `black clothes`, `bushy-brown` is `bushy brown`.
    RegistryError where none or several are meant.
    """
    classes = classifier(name, role=role).classes
    if shows in classes:
        return shows
    plain = shows.replace("-", " ").strip().casefold()
    spelt = {one.replace("-", " ").casefold(): one for one in classes}
    begun = [one for key, one in spelt.items() if plain and key.startswith(f"{plain} ")]
    if plain in spelt or len(begun) == 1:
        return spelt.get(plain) or begun[0]
    raise RegistryError(f"{name} has no class {shows!r}.{suggest(shows, classes)}")


def condition(text: str, *, role: Role = "evaluation") -> tuple[str, str]:
    """`lancet:clothes=black` as the classifier's name and its class; RegistryError for no such."""
    name, equals, shows = text.rpartition("=")
    if not equals:
        raise RegistryError(f"{text!r} names no class; write CLASSIFIER=CLASS.")
    return name, class_of(name, shows, role=role)
