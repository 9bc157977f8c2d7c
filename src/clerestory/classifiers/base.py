"""The interface of classifiers, loading them by name, and which names may run code or download.

    mood = load_classifier("lancet:mood")
    mood(pictures)                          # [n, class] probabilities
    parse_target("lancet:mood=scared")      # Target(classifier='lancet:mood', label='scared')

A new kind is one file with one registered function of the text after the colon.

    @classifier_kinds.register("mine")
    def load_mine(name: str, role: Role) -> Classifier: ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from clerestory.errors import ModelError, RegistryError
from clerestory.registry import Registry, suggest
from clerestory.types import Floats, Pictures, Role

__all__ = [
    "Classifier",
    "Target",
    "classifier_kinds",
    "classifier_name",
    "classify",
    "is_code",
    "is_trusted",
    "load_classifier",
    "parse_target",
    "resolve_label",
    "trusted_names",
]


@runtime_checkable
class Classifier(Protocol):
    """Maps pictures to probabilities of named classes.

    Further attributes are optional: `digest`, if the classifier can change under the same `source`;
    `weight_digests`, if the studied model may share its weights (see
    `models/core/weight_digests.py`); `is_measurement`, if it is not trained; `log_probabilities`,
    a function from a torch tensor of pictures `[n, height, width, 3]`, from 0 to 1, to `[n, class]`
    that autograd can differentiate, for gradients. A classifier that is one of several heads of a
    network is a `ClassifierHead`.
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
            ModelError: The classifier cannot read these pictures.
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


Loader: TypeAlias = Callable[[str, Role], Classifier]

classifier_kinds: Registry[Loader] = Registry(
    "classifier kind", package="clerestory.classifiers.kinds", group="clerestory.classifiers"
)
"""Functions that load a classifier, by the text before the colon of its name."""

_TRUSTED: ContextVar[frozenset[str] | None] = ContextVar("trusted", default=None)
# None outside of `trusted_names`: there every name was given by a person.


@contextmanager
def trusted_names(names: Iterable[str]) -> Iterator[None]:
    """Within this context, only these names may run code or download anything.

    It is entered while names from somebody's file are in use. Other `python:` classifiers are
    refused before anything is imported, and those of a hub are loaded from this machine only.

    Args:
        names: Names that a person gave.

    Yields:
        Nothing; the names are trusted while this is open.
    """
    token = _TRUSTED.set(frozenset(names))
    try:
        yield
    finally:
        # Reset, not cleared, since contexts may be nested.
        _TRUSTED.reset(token)


def is_trusted(name: str) -> bool:
    """Whether a person gave this name, on the command line or in Python, and not a file.

    Args:
        name: The whole name of the classifier.

    Returns:
        True outside of `trusted_names`; within it, whether the name is one of them.
    """
    trusted = _TRUSTED.get()
    return trusted is None or name in trusted


def is_code(name: str) -> bool:
    """Whether the classifier of this name is code that is imported and run.

    Args:
        name: The whole name of the classifier.

    Returns:
        True for the kind `python`.

    >>> is_code("python:mine:brightness"), is_code("lancet:mood")
    (True, False)
    """
    return name.partition(":")[0] == "python"


def classifier_name(classifier: str | Callable[..., Any]) -> str:
    """The name of a classifier; `python:MODULE:FUNCTION` of a function of yours.

    Args:
        classifier: A name, or a function with an attribute `classes`.

    Returns:
        The name.

    Raises:
        RegistryError: The function cannot be found by a name.
    """
    if isinstance(classifier, str):
        return classifier
    module = getattr(classifier, "__module__", "")
    name = getattr(classifier, "__qualname__", "")
    # Functions within functions, and lambdas, cannot be imported.
    if not module or not name.isidentifier():
        raise RegistryError(
            f"{classifier!r:.80} has no name of its own: define it at the top of a module, with an "
            "attribute `classes`."
        )
    return f"python:{module}:{name}"


def load_classifier(name: str | Callable[..., Any], *, role: Role = "evaluation") -> Classifier:
    """Load a classifier by name.

    Args:
        name: `KIND:NAME`, such as `lancet:mood` or `zero-shot:MODEL[a cat, a dog]`; or a function
            of yours, as `classifier_name` takes it.
        role: Which of two classifiers of that name, if there are two.

    Returns:
        The classifier.

    Raises:
        RegistryError: There is no such classifier, or the names of its classes are not distinct.
        ModelError: Its weights cannot be read.
    """
    name = classifier_name(name)
    kind, _, name_of_kind = name.partition(":")
    # The kind decides what the rest of the name means, and whether roles differ.
    classifier = classifier_kinds[kind](name_of_kind, role)
    classes = classifier.classes
    # A single class would have probability 1 in every picture.
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise RegistryError(
            f"{name} has the classes {', '.join(map(repr, classes))}; two or more are expected, "
            "each with a name of its own."
        )
    return classifier


def classify(classifier: Classifier, pictures: Pictures) -> Floats:
    """Classify pictures, and check the answer.

    Args:
        classifier: The classifier.
        pictures: `[n, height, width, 3]`.

    Returns:
        Probabilities `[n, class]`.

    Raises:
        ModelError: The classifier cannot read these pictures, or gives anything but a finite number
            for each class. Of NaN the first would be the likeliest class.
    """
    probabilities = np.asarray(classifier(pictures))
    expected = (len(pictures), len(classifier.classes))
    if probabilities.shape != expected or not np.isfinite(probabilities).all():
        raise ModelError(
            f"{classifier.source} gave {list(probabilities.shape)} or values that are not finite; "
            f"expected {list(expected)} finite probabilities: its weights may have NaN."
        )
    return probabilities


def resolve_label(name: str, label: str, *, role: Role = "evaluation") -> str:
    """Find a class of a classifier by its name or by the first words of its name.

    Case does not matter, and hyphens count as spaces: `black` is `black clothes`, `bushy-brown` is
    `bushy brown`.

    Args:
        name: Name of the classifier.
        label: Text that names a class.
        role: Which of two classifiers of that name.

    Returns:
        The class, as the classifier spells it.

    Raises:
        RegistryError: The text names no class, or several.
    """
    classes = load_classifier(name, role=role).classes
    if label in classes:
        return label
    # As on a command line, where a blank would need quotes.
    normalised = label.replace("-", " ").strip().casefold()
    by_key = {class_name.replace("-", " ").casefold(): class_name for class_name in classes}
    if normalised in by_key:
        return by_key[normalised]
    # Whole words: `black` is `black clothes`, but not `blackberry`.
    prefix = f"{normalised} "
    matches = [by_key[key] for key in by_key if normalised and key.startswith(prefix)]
    if len(matches) == 1:
        return matches[0]
    raise RegistryError(f"{name} has no class {label!r}.{suggest(label, classes)}")


def parse_target(text: str, *, role: Role = "evaluation") -> Target:
    """Parse a target from text such as `lancet:clothes=black`.

    Args:
        text: CLASSIFIER=LABEL; the label may be shortened as for `resolve_label`.
        role: Which of two classifiers of that name.

    Returns:
        The name of the classifier and the class, as the classifier spells it.

    Raises:
        RegistryError: There is no such classifier or class.
    """
    # The last `=`: the name of a zero-shot classifier may contain one.
    name, equals, label = text.rpartition("=")
    if not equals:
        raise RegistryError(f"{text!r} names no label; write CLASSIFIER=LABEL.")
    return Target(name, resolve_label(name, label, role=role))
