"""What a classifier is, how one is opened by name, and which names may run code or fetch.

    mood = load_classifier("lancet:mood")
    mood(pictures)                          # [n, class] probabilities
    parse_target("lancet:mood=scared")      # Target(classifier='lancet:mood', label='scared')

A new kind is one file and one registration: a function of what stands behind the colon.

    @classifier_kinds.register("mine")
    def open_mine(name: str, role: Role) -> Classifier: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, Protocol, TypeAlias, runtime_checkable

from clerestory.errors import RegistryError
from clerestory.registry import Registry, suggest
from clerestory.types import Floats, Pictures, Role

__all__ = [
    "Classifier",
    "Target",
    "classifier_kinds",
    "is_code",
    "is_trusted",
    "load_classifier",
    "parse_target",
    "resolve_label",
    "trusted_names",
]


@runtime_checkable
class Classifier(Protocol):
    """Pictures to probabilities over named classes.

    A classifier may have further attributes: `digest`, where it can change under the same `source`;
    `weight_digests`, where a generator may have the same weights (see
    `models/core/weight_digests.py`); `is_measurement`, where it has learnt nothing. Several heads
    of one network are a `ClassifierHead`.
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the probabilities."""

    @property
    def source(self) -> str:
        """Where it comes from, for reports: `lancet:style (evaluation)`."""

    def __call__(self, pictures: Pictures) -> Floats:
        """Classify pictures.

        Args:
            pictures: `[n, height, width, 3]`.

        Returns:
            Probabilities `[n, class]`; each row adds up to 1.

        Raises:
            ModelError: It cannot read pictures like these.
        """


class Target(NamedTuple):
    """A class of a classifier, by name: `lancet:style=ink`.

    Attributes:
        classifier: The classifier's name.
        label: The class.
    """

    classifier: str
    label: str

    def __str__(self) -> str:
        return f"{self.classifier}={self.label}"


Opener: TypeAlias = Callable[[str, Role], Classifier]

classifier_kinds: Registry[Opener] = Registry(
    "classifier kind", package="clerestory.classifiers.kinds", group="clerestory.classifiers"
)
"""Functions by what stands before the colon of a name."""

_TRUSTED: ContextVar[frozenset[str] | None] = ContextVar("trusted", default=None)
# None: no names from files are about, so that every name was given by a person.


@contextmanager
def trusted_names(names: Iterable[str]) -> Iterator[None]:
    """Let only some names run code or fetch anything, while names from somebody's file are about.

    Any other `python:` classifier is refused before anything is imported, and one of a hub is
    looked for on this machine only.

    Args:
        names: The names that a person gave.
    """
    token = _TRUSTED.set(frozenset(names))
    try:
        yield
    finally:
        # Reset and not cleared: one of these contexts may stand within another.
        _TRUSTED.reset(token)


def is_trusted(name: str) -> bool:
    """Whether a person gave this name, on the command line or in Python, and no file did.

    Args:
        name: The classifier's whole name.

    Returns:
        True outside `trusted_names`; within it, whether the name is one of those.
    """
    trusted = _TRUSTED.get()
    return trusted is None or name in trusted


def is_code(name: str) -> bool:
    """Whether the classifier of this name is code, which is imported and run.

    Args:
        name: The classifier's whole name.

    Returns:
        True for the kind `python`.

    >>> is_code("python:mine:brightness"), is_code("lancet:mood")
    (True, False)
    """
    return name.partition(":")[0] == "python"


def load_classifier(name: str, *, role: Role = "evaluation") -> Classifier:
    """Open a classifier.

    Args:
        name: `KIND:REST`, such as `lancet:mood` or `zero-shot:MODEL[a cat, a dog]`.
        role: Which of two classifiers of that name, where there are two.

    Returns:
        The classifier.

    Raises:
        RegistryError: There is none, or its classes have no names that tell them apart.
        ModelError: Its weights cannot be read.
    """
    kind, _, rest = name.partition(":")
    opened = classifier_kinds[kind](rest, role)
    classes = opened.classes
    # The only class would have probability 1 in every picture.
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise RegistryError(
            f"{name} has the classes {', '.join(map(repr, classes))}; two or more are expected, "
            "each with a name of its own."
        )
    return opened


def resolve_label(name: str, label: str, *, role: Role = "evaluation") -> str:
    """The class of a classifier that a text means: its name, or the one that begins with it.

    Hyphens count as blanks: `black` is `black clothes`, `bushy-brown` is `bushy brown`.

    Args:
        name: The classifier.
        label: The text.
        role: Which of two classifiers of that name.

    Returns:
        The class, as the classifier spells it.

    Raises:
        RegistryError: No class is meant, or several.
    """
    classes = load_classifier(name, role=role).classes
    if label in classes:
        return label
    plain = label.replace("-", " ").strip().casefold()
    spelt = {known.replace("-", " ").casefold(): known for known in classes}
    # Whole words: `black` is `black clothes`, but not `blackberry`.
    beginnings = [known for key, known in spelt.items() if plain and key.startswith(f"{plain} ")]
    if plain in spelt or len(beginnings) == 1:
        return spelt.get(plain) or beginnings[0]
    raise RegistryError(f"{name} has no class {label!r}.{suggest(label, classes)}")


def parse_target(text: str, *, role: Role = "evaluation") -> Target:
    """Read a target as it is typed, `lancet:clothes=black`.

    Args:
        text: CLASSIFIER=LABEL; the label may be shortened as for `resolve_label`.
        role: Which of two classifiers of that name.

    Returns:
        The classifier's name and the class, as the classifier spells it.

    Raises:
        RegistryError: There is no such classifier or class.
    """
    name, equals, label = text.rpartition("=")
    if not equals:
        raise RegistryError(f"{text!r} names no label; write CLASSIFIER=LABEL.")
    return Target(name, resolve_label(name, label, role=role))
