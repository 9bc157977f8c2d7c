"""Lookup by name: a new edit, search, family or classifier is one file with one registration.

>>> greetings: Registry[str] = Registry("greeting")
>>> _ = greetings.add("hello", "Hello!")
>>> greetings["hello"]
'Hello!'
>>> greetings["helo"]
Traceback (most recent call last):
    ...
clerestory.errors.RegistryError: No greeting is called 'helo'. Did you mean hello? Known: hello.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from clerestory.errors import RegistryError, describe_error

__all__ = ["Registry", "load_plugin", "nearest", "plugins", "suggest"]

T = TypeVar("T")


def suggest(name: str, names: Iterable[str]) -> str:
    """The end of a lookup error: the nearest names and, where they are few, all of them.

    Args:
        name: The name that was not found.
        names: The names that exist.

    Returns:
        A text that begins with a space.
    """
    ordered = sorted(names)
    near = nearest(name, ordered)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    shown = ", ".join(ordered[:24]) + (
        f" and {len(ordered) - 24} more" if len(ordered) > 24 else ""
    )
    return f"{hint} Known: {shown or 'none'}."


def nearest(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """The names that are most like another one.

    Args:
        name: The name that was not found.
        names: The names that exist.
        count: How many at most.

    Returns:
        The nearest first.
    """
    # Case is the most common mistake and should not hide the nearest name.
    folded = {each.casefold(): each for each in names}
    matches = difflib.get_close_matches(name.casefold(), folded, n=count, cutoff=0.5)
    return [folded[match] for match in matches]


class Registry(Mapping[str, T]):
    """A mapping that modules fill by decoration.

    The modules of `package`, and the plug-ins of the entry-point group `group`, are imported when a
    name is first looked up. So a new entry is one file with one decorator, in this distribution as
    in any other, and no module has to be imported for its side effect.

    Args:
        noun: What an entry is called in messages, in the singular.
        package: The dotted name of the package whose modules register the built-in entries.
        group: The entry-point group of plug-ins.
    """

    def __init__(self, noun: str, *, package: str = "", group: str = "") -> None:
        self.noun, self.package, self.group = noun, package, group
        self._entries: dict[str, T] = {}
        self._complete = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters a class or function under `name`.

        Args:
            name: The name of the entry.

        Returns:
            The decorator; it returns what it decorates.
        """
        return lambda entry: self.add(name, entry)

    def add(self, name: str, entry: T) -> T:
        """Enter `entry` under `name`.

        Returns:
            The entry.

        Raises:
            RegistryError: The name is taken.
        """
        if name in self._entries:
            raise RegistryError(f"A {self.noun} called {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def _import_entries(self) -> dict[str, T]:
        """All entries, after the modules that register them have been imported."""
        if not self._complete:
            # Set first: a module that looks a name up while it is imported sees what is there.
            self._complete = True
            try:
                self._import_modules()
            except BaseException:
                self._complete = False  # so that the next lookup reports the same error
                raise
        return self._entries

    def _import_modules(self) -> None:
        if self.package:
            # Built-in entries first, so that a plug-in cannot take the name of one.
            for module in pkgutil.iter_modules(importlib.import_module(self.package).__path__):
                importlib.import_module(f"{self.package}.{module.name}")
        if self.group:
            for entry in plugins(self.group).values():
                load_plugin(entry)

    def __getitem__(self, name: str) -> T:
        entries = self._import_entries()
        if name not in entries:
            raise RegistryError(f"No {self.noun} is called {name!r}.{suggest(name, entries)}")
        return entries[name]

    def __contains__(self, name: object) -> bool:
        # Mapping's own would look the name up, and format an error with
        # suggestions where it is absent.
        return name in self._import_entries()

    def __iter__(self) -> Iterator[str]:
        return iter(self._import_entries())

    def __len__(self) -> int:
        return len(self._import_entries())


def plugins(group: str) -> dict[str, EntryPoint]:
    """Entry points of installed packages by name; imports none of them.

    Args:
        group: The entry-point group.

    Returns:
        Entry points by name.
    """
    # By name alone: importing a plug-in may take seconds, and its commands are only listed here.
    return {entry.name: entry for entry in entry_points(group=group)}


def load_plugin(entry: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        RegistryError: It cannot be imported; the message has the reason.
    """
    try:
        return entry.load()
    # Any error at all: a plug-in is other people's code, and one that fails
    # should not break the rest.
    except Exception as error:
        raise RegistryError(
            f"The plug-in {entry.value} cannot be used: {describe_error(error)}"
        ) from error
