"""A study's file, typed: the question, classifiers, steps by kind and name, and a smaller scale.

name = "stained-glass"
question = "Where does the model keep …?"
headline = ["build.glass"]

[classifiers.style]
lancet = "lancet:style"
other = "zero-shot:openai/clip-vit-large-patch14[stained glass, plain]"

[record.styles]
…
[find.glass]
record = "styles"
…
[quick."find.glass"]
flips = 50
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from clerestory.classifiers.base import is_code
from clerestory.errors import RegistryError, TableError
from clerestory.io.reading import read_toml
from clerestory.registry import suggest
from clerestory.studies.tasks import Step, known_steps

__all__ = ["SCALES", "Judge", "Scale", "Study", "built_in", "file_of"]

FOLDER = Path(__file__).with_name("builtin")
Scale = Literal["quick", "full"]
SCALES: tuple[Scale, Scale] = ("quick", "full")
LANCET = "lancet"
OURS = {"plan", "file", "scale"}
"""Fields of a study that its file has not."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CODE = re.compile(r"^python:\S+|(?<!\w)python:[\w.]+:\w+")
"""A classifier that is code, by itself or in a condition or sum."""


class Judge(BaseModel):
    """A classifier by model: Lancet's own, and one that looks at any picture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lancet: str = ""
    other: str = ""
    called: dict[str, str] = {}
    """What `other` calls the classes of which the steps speak, where it is not the same."""


class Study(BaseModel):
    """A study: everything that its figures depend on besides the model.

    `plan` has the steps by key, `find.glass`, in the order in which they are run; `headline` are
    those whose claims make the answer, by default the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)
    question: str = Field(min_length=1, max_length=400)
    headline: tuple[str, ...] = Field(min_length=1)
    classifiers: dict[str, Judge] = {}
    plan: dict[str, SerializeAsAny[Step]] = Field(min_length=1)
    file: str = ""
    """The file that it was read from, as it was named; empty for a built-in study."""
    scale: Scale = "full"

    @classmethod
    def load(cls, what: str | Path, scale: Scale = "full") -> Study:
        """A built-in study by name, or a file; TableError names file, field, what is possible."""
        path = file_of(what)
        try:
            told = read_toml(path, TableError)
        except TableError as error:
            raise TableError(f"{path} cannot be read as a study: {error}") from error
        where = path.stem if path.parent == FOLDER else str(what)
        try:
            return cls.of(told, scale, file="" if path.parent == FOLDER else str(what))
        except ValidationError as error:
            raise TableError(f"{where}: {_first(error)}.") from error
        except TableError as error:
            raise TableError(f"{where}: {error}") from error

    @classmethod
    def of(cls, told: Mapping[str, Any], scale: Scale = "full", *, file: str = "") -> Study:
        """From what a file says, at a scale."""
        told = dict(told)
        smaller = _table("quick", told.pop("quick", {}))
        tables = {kind: told.pop(kind, {}) for kind in known_steps()}
        possible = sorted(set(cls.model_fields) - OURS)
        unknown = sorted(set(told) - set(possible))
        if unknown:
            hint = suggest(unknown[0], [*possible, *known_steps(), "quick"])
            raise TableError(f"{unknown[0]!r} is no field.{hint}")
        every, quick = dict(_planned(tables, {})), dict(_planned(tables, smaller))
        for key in smaller:
            if key not in every:
                raise TableError(f"quick has {key!r}, which is no step.{suggest(key, every)}")
        for name in _table("classifiers", told.get("classifiers", {})):
            if not NAME.fullmatch(name):
                raise TableError(
                    f"classifiers: name {name!r} with small letters, digits and dashes."
                )
        chosen = quick if scale == "quick" else every
        plan = {key: step for key, step in chosen.items() if not step.leave_out}
        made = cls(**told, plan=plan, file=file, scale=scale)
        made._check()
        return made

    def _check(self) -> None:
        """TableError where a step, the headline or a gate names what is not there."""
        earlier: list[str] = []
        for key, step in self.plan.items():
            for other in (*step.needs(), *step.only_if):
                if other not in earlier:
                    raise TableError(
                        f"{key} needs {other!r}, which is no step before "
                        f"it.{suggest(other, earlier)}"
                    )
            for other in step.only_if:
                if not self.plan[other].claims:
                    raise TableError(f"{key}.only_if: {other} claims nothing that could hold.")
            earlier.append(key)
            for name, _ in step.sees():
                if name not in self.classifiers and ":" not in name:
                    hint = suggest(name, self.classifiers)
                    raise TableError(f"{key}: the study has no classifier {name!r}.{hint}")
            code = next((one for one in _texts(step.model_dump()) if CODE.search(one)), None)
            if code is not None:
                raise TableError(
                    f"{key} names {code[:80]!r}, which is code, and a file cannot bring any: put a "
                    "name there, with a table [classifiers.NAME], and give --classifier "
                    "NAME=python:MODULE:FUNCTION."
                )
            problem = step.problem(self.plan, self.classifiers)
            if problem:
                raise TableError(f"{key}.{problem}.")
        for key in self.headline:
            if key not in self.plan:
                raise TableError(f"headline: {key!r} is no step.{suggest(key, self.plan)}")
            if not self.plan[key].claims:
                raise TableError(f"headline: {key} claims nothing that could hold.")

    def judges(self, model: str, given: Mapping[str, str]) -> dict[str, str]:
        """The classifiers by name for a model, those that are `given` first.

        TableError where one has none for this model, or the file's is code, which only who runs the
        study may name.
        """
        strange = [name for name in given if name not in self.classifiers]
        if strange:
            raise TableError(
                "The study has no classifier "
                f"{strange[0]!r}.{suggest(strange[0], self.classifiers)}"
            )
        found = {}
        for name in self.classifiers:
            found[name] = given.get(name) or self.usual(name, model)
            if name not in given and is_code(found[name]):
                raise TableError(
                    f"{self.file or self.name}: classifiers.{name} is {found[name][:80]!r}, which "
                    "is code, and a file cannot bring any. If you trust it: --classifier "
                    f"{name}={' '.join(found[name][:80].split())}"
                )
            if not found[name]:
                raise TableError(
                    f"classifiers.{name} says none for {model}: give --classifier {name}=NAME."
                )
        return found

    def given(self, given: Mapping[str, str]) -> set[str]:
        """The names of classifiers that no stranger's file brings: those given, and built-in ones.

        A built-in study's may be fetched; code is in none of them.
        """
        own = () if self.file else self.classifiers.values()
        trusted = {name for judge in own for name in (judge.lancet, judge.other)}
        return {*given.values(), *(name for name in trusted if not is_code(name))}

    def usual(self, name: str, model: str) -> str:
        """The classifier that the file gives by this name for a model; "" where it gives none."""
        judge = self.classifiers[name]
        return judge.lancet if model == LANCET else judge.other

    def called(self, judges: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
        """What the judges call classes: the file's `other` has names of its own for some."""
        return {
            name: {} if judges[name] == judge.lancet else judge.called
            for name, judge in self.classifiers.items()
        }

    def digest(self, key: str, judges: Mapping[str, str], *rest: str) -> str:
        """What a step's result depends on: itself, who looks, the steps that it needs, `rest`."""
        step, called = self.plan[key], self.called(judges)
        looks = {name: [one, called[name]] for name, one in judges.items() if step.asks(name)}
        told = [key, step.model_dump(mode="json", exclude_defaults=True), looks, *rest]
        told += [self.digest(one, judges, *rest) for one in (*step.needs(), *step.only_if)]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def built_in() -> tuple[Study, ...]:
    """The studies that come with Clerestory."""
    return tuple(Study.load(path) for path in sorted(FOLDER.glob("*.toml")))


def _planned(tables: Mapping[str, Any], smaller: Mapping[str, Any]) -> Iterator[tuple[str, Step]]:
    """Each step by its key, in the order of the kinds."""
    for kind, table in tables.items():
        for name, how in _table(kind, table).items():
            key = f"{kind}.{name}"
            if not NAME.fullmatch(name):
                raise TableError(f"{key!r}: name a step with small letters, digits and dashes.")
            yield key, _step(kind, key, {**_table(key, how), **_table(key, smaller.get(key, {}))})


def _texts(told: Any) -> Iterator[str]:
    """Every text in what a step says, however deep, with what it is called."""
    if isinstance(told, str):
        yield told
    elif isinstance(told, Mapping):
        for name, value in told.items():
            yield from _texts(name)
            yield from _texts(value)
    elif isinstance(told, list | tuple | set | frozenset):
        for one in told:
            yield from _texts(one)


def _table(name: str, told: Any) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise TableError(f"{name} must be a table, as [{name}.NAME].")
    return told


def _step(kind: str, key: str, how: Mapping[str, Any]) -> Step:
    try:
        return known_steps()[kind].model_validate(how)
    except ValidationError as error:
        raise TableError(f"{key}.{_first(error)}.".replace(".the study:", ":", 1)) from error


def file_of(what: str | Path) -> Path:
    """The file of a built-in study by its name, or the file itself; RegistryError for none."""
    if isinstance(what, Path) or what.endswith(".toml"):
        return Path(what)
    known = {path.stem: path for path in FOLDER.glob("*.toml")}
    if what not in known:
        hint = suggest(what, known)
        raise RegistryError(f"No study is called {what!r}.{hint} A file must end in .toml.")
    return known[what]


def _first(error: ValidationError) -> str:
    """The first thing that is wrong: the field, what was got, what is possible."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "the study"
    got = repr(first.get("input"))[:60]
    return f"{field}: {str(first['msg']).removeprefix('Value error, ')} (got {got})"
