"""Every command, every parameter, every way in which it can be wrong, from the commands' tree."""

from __future__ import annotations

import json
import os
import shutil
import sys
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from cli.kinds import (
    EMPTY_IS_FINE,
    ENDINGS,
    FILES,
    FOLDERS,
    OUTPUTS,
    TEXTS,
    kind_of,
)
from cli.valid import Valid

__all__ = ["Case", "Command", "Parameter", "cases", "commands"]

Make = Callable[[Valid, Path], object]
"""A wrong value, made of valid ones in a folder of its own."""
FIRST, SHARED = "sites", ("--model", "--prior", "--lora", "--config", "--dictionary")
"""Options that one module reads for all commands: in full for the first, and for others briefly."""
EVERYWHERE = ("empty", "not there", "empty folder")
LINUX_MEMORY = "/proc/self/mem"
"""A file that can be opened, and cannot be read, whoever one is."""


@dataclass(frozen=True)
class Parameter:
    """An argument, or an option by its first name, with its declared type."""

    name: str
    type: Any
    required: bool
    least: float | None
    most: float | None

    @property
    def option(self) -> bool:
        """Whether it has a name on the command line."""
        return self.name.startswith("-")

    def given(self, value: object) -> list[str]:
        """Words of a command line."""
        return [f"{self.name}={value}"] if self.option else [str(value)]


@dataclass(frozen=True)
class Command:
    """A command by its words."""

    name: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Case:
    """A parameter of a command, wrong in one way; `make` is None where it is left out."""

    command: Command
    parameter: Parameter
    label: str
    make: Make | None

    def __str__(self) -> str:
        return f"{self.command.name} {self.parameter.name} {self.label}"


def commands() -> Iterator[Command]:
    """All that `clerestory` has."""
    from clerestory.cli.main import app
    from lancet.cli import app as lancet

    yield from _below(typer.main.get_command(app), ())
    yield from _below(typer.main.get_command(lancet), ("lancet",))


def _below(node: Any, path: tuple[str, ...]) -> Iterator[Command]:
    for name, child in getattr(node, "commands", {}).items():
        yield from _below(child, (*path, name))
    if not hasattr(node, "commands"):
        hints = typing.get_type_hints(node.callback, include_extras=True)
        yield Command(" ".join(path), tuple(_parameter(one, hints) for one in node.params))


def _parameter(one: Any, hints: dict[str, Any]) -> Parameter:
    kind, told = typing.get_args(hints[one.name])
    for wrapper in (types.UnionType, typing.Union, list):
        if typing.get_origin(kind) is wrapper:
            kind = next(each for each in typing.get_args(kind) if each is not type(None))
    option = isinstance(told, typer.models.OptionInfo)
    return Parameter(one.opts[0] if option else one.name, kind, one.required, told.min, told.max)


def cases() -> Iterator[Case]:
    """All that is tried."""
    for command in commands():
        for parameter in command.parameters:
            for label, make in _ways(command, parameter):
                if label in EVERYWHERE or command.name == FIRST or parameter.name not in SHARED:
                    yield Case(command, parameter, label, make)


def _ways(command: Command, parameter: Parameter) -> Iterator[tuple[str, Make | None]]:
    if parameter.type is bool:
        return
    if parameter.required:
        yield "missing", None
    kind = kind_of(command.name, parameter.name)
    if not {parameter.name, f"{command.name} {parameter.name}"} & EMPTY_IS_FINE:
        yield "empty", _text("")
    if parameter.type in (int, float):
        yield from _numbers(parameter)
    if typing.get_origin(parameter.type) is typing.Literal:
        yield "none of the choices", _text("purple")
    elif kind in TEXTS:
        for value in TEXTS[kind][1]:
            yield repr(value)[:30], _text(value)
    elif kind in FILES:
        yield from _files(kind)
    elif kind in FOLDERS:
        yield from _folders(kind)
    elif kind in OUTPUTS:
        yield from _outputs(kind)


def _text(value: str) -> Make:
    return lambda valid, place: value


def _numbers(parameter: Parameter) -> Iterator[tuple[str, Make]]:
    yield "no number", _text("many")
    if parameter.type is float:
        yield "not a number", _text("nan")
        yield "infinite", _text("inf")
    if parameter.least is not None:
        yield "too small", _text(str(parameter.least - 1))
    if parameter.most is not None:
        yield "too big", _text(str(parameter.most + 1))


def _files(kind: str) -> Iterator[tuple[str, Make]]:
    ending = {"prompts": ".csv", "marks": ".csv", "world": ".toml", "lora": ".safetensors"}
    name = "wrong" + ending.get(kind, ".txt")

    def holding(raw: bytes) -> Make:
        def make(valid: Valid, place: Path) -> Path:
            (place / name).write_bytes(raw)
            return place / name

        return make

    def folder(valid: Valid, place: Path) -> Path:
        (place / name).mkdir()
        return place / name

    yield "not there", lambda valid, place: place / name
    yield "a folder", folder
    yield "not readable", lambda valid, place: _unreadable(place / name)
    yield "not UTF-8", holding(b"caf\xe9 \xff\n" * 200)
    if kind != "themes":
        yield "empty file", holding(b"")
    if kind != "lines":
        yield "cut short", holding(b'{"p')


def _folders(kind: str) -> Iterator[tuple[str, Make]]:
    main = FOLDERS[kind]
    other = "steered" if kind != "steered" else "searched"

    def file(valid: Valid, place: Path) -> Path:
        (place / "wrong").write_text("wrong")
        return place / "wrong"

    def empty(valid: Valid, place: Path) -> Path:
        (place / "wrong").mkdir()
        return place / "wrong"

    def stray(valid: Valid, place: Path) -> Path:
        (empty(valid, place) / "stray.json").write_text("{}")
        return place / "wrong"

    def altered(change: Callable[[Path], object]) -> Make:
        def make(valid: Valid, place: Path) -> Path:
            linked = {"copy_function": os.link} if kind == "lancet" else {}
            shutil.copytree(getattr(valid, kind), place / "wrong", **linked)
            if kind == "lancet":
                shutil.copy(place / "wrong" / main, place / "main")
                (place / "main").replace(place / "wrong" / main)
            change(place / "wrong" / main)
            return place / "wrong"

        return make

    yield "not there", lambda valid, place: place / "wrong"
    yield "a file", file
    yield "empty folder", empty
    yield "a folder of something else", stray
    yield (
        f"a folder of kind {other}",
        lambda valid, place: shutil.copytree(getattr(valid, other), place / "wrong"),
    )
    if kind == "report":
        return
    yield "cut short", altered(lambda path: path.write_bytes(path.read_bytes()[:20]))
    yield "not UTF-8", altered(lambda path: path.write_bytes(b"\xff\xfe caf\xe9"))
    yield "only an empty object", altered(lambda path: path.write_text("{}"))
    yield "a list", altered(lambda path: path.write_text("[]"))
    yield "not readable", altered(_unreadable)
    if kind in ("recording", "steered", "scope"):
        yield "newer", altered(_newer)


def _newer(path: Path) -> None:
    told = json.loads(path.read_text())
    (told if "format" in told else told["plan"])["format"] += 97
    path.write_text(json.dumps(told))


def _unreadable(path: Path) -> Path:
    path.unlink(missing_ok=True)
    if os.geteuid() == 0 and sys.platform == "linux":
        path.symlink_to(LINUX_MEMORY)
    else:
        path.touch(0o000)
    return path


def _outputs(kind: str) -> Iterator[tuple[str, Make]]:
    name = "wrong" + ENDINGS.get(kind, "")

    def below_a_file(valid: Valid, place: Path) -> Path:
        (place / "file").write_text("mine")
        return place / "file" / name

    def file(valid: Valid, place: Path) -> Path:
        (place / name).write_text("mine")
        return place / name

    def full(valid: Valid, place: Path) -> Path:
        (place / name).mkdir()
        (place / name / "mine.txt").write_text("mine")
        return place / name

    def locked(valid: Valid, place: Path) -> Path:
        if os.geteuid() == 0 and sys.platform == "linux":
            return Path("/proc/clerestory") / name
        (place / "locked").mkdir(0o555)
        return place / "locked" / name

    yield "below a file", below_a_file
    yield "a file in the way", file
    if kind != "work folder":
        yield "a folder with something in it", full
    yield "no permission", locked
