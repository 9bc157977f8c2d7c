"""Names to things: how a new style, edit, search, family or classifier joins in one file.

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

from clerestory.errors import RegistryError

__all__ = ["Registry", "filled", "load_plugin", "plugins", "suggest"]

T = TypeVar("T")


def suggest(name: str, known: Iterable[str]) -> str:
    """The end of a lookup error: the nearest known names and, where they are few, all of them."""
    names = sorted(known)
    folded = {each.casefold(): each for each in names}
    matches = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.5)
    near = [folded[match] for match in matches]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    shown = ", ".join(names[:24]) + (f" and {len(names) - 24} more" if len(names) > 24 else "")
    return f"{hint} Known: {shown or 'none'}."


class Registry(Mapping[str, T]):
    """A mapping that is filled by decoration, refuses a second entry of a name, and suggests."""

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorate a class or function to enter it under `name`."""
        return lambda entry: self.add(name, entry)

    def add(self, name: str, entry: T) -> T:
        """Enter `entry` under `name` and hand it back; RegistryError if the name is taken."""
        if name in self._entries:
            raise RegistryError(f"A {self.noun} called {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise RegistryError(f"No {self.noun} is called {name!r}.{suggest(name, self)}")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def filled(registry: Registry[T], package: str, group: str) -> Registry[T]:
    """Import every module of a package and every plug-in of an entry-point group.

    Each module registers its own entries, so that a new one is one file and nothing else.

    Args:
        registry: The registry that the modules fill.
        package: The dotted name of the package with the built-in entries.
        group: The entry-point group of plug-ins.

    Returns:
        The same registry.

    Raises:
        RegistryError: A plug-in cannot be imported; the message has its reason.
    """
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    for entry in plugins(group).values():
        load_plugin(entry)
    return registry


def plugins(group: str) -> dict[str, EntryPoint]:
    """Entry points of installed packages by name; imports none of them."""
    return {entry.name: entry for entry in entry_points(group=group)}


def load_plugin(entry: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        RegistryError: It cannot be imported; the message has the reason.
    """
    try:
        return entry.load()
    except Exception as error:
        reason = " ".join(str(error).split())[:160]
        raise RegistryError(f"The plug-in {entry.value} cannot be used: {reason}") from error
