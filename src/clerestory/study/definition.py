"""A study's file, typed: the question, contents, phrasings, sites, the edit, the classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clerestory.errors import RegistryError, TableError
from clerestory.reading import read_toml
from clerestory.registry import suggest

__all__ = ["HALVES", "Definition", "Half", "built_in"]

FOLDER = Path(__file__).with_name("builtin")

Half = Literal["discovery", "report"]
HALVES: tuple[Half, Half] = ("discovery", "report")
Arm = Literal["shown", "absent", "decoy"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Concept(_Frozen):
    """What is looked for, and the object that goes by the same words."""

    name: str = Field(min_length=1)
    decoy: str = Field(min_length=1)


class Phrasings(_Frozen):
    """One half's phrasings by arm; phrasing i of one arm is drawn beside phrasing i of the rest."""

    shown: tuple[str, ...] = Field(min_length=1)
    absent: tuple[str, ...] = Field(min_length=1)
    decoy: tuple[str, ...] = Field(min_length=1)

    def __iter__(self) -> Iterator[tuple[Arm, tuple[str, ...]]]:  # type: ignore[override]
        yield "shown", self.shown
        yield "absent", self.absent
        yield "decoy", self.decoy

    @field_validator("shown", "absent", "decoy")
    @classmethod
    def _open(cls, phrases: tuple[str, ...]) -> tuple[str, ...]:
        for phrase in phrases:
            if "{x}" not in phrase:
                raise ValueError(f"phrasing {phrase!r} has no {{x}} for the content")
        return phrases


class Halved(_Frozen):
    """Phrasings of both halves."""

    discovery: Phrasings
    report: Phrasings


class Contents(_Frozen):
    """What prompts are about, by half: the subject classifier's class, and how prompts call it."""

    discovery: dict[str, str] = Field(min_length=2)
    report: dict[str, str] = Field(min_length=2)


class Reading(_Frozen):
    """Which sites are read, how positions are pooled, with which seeds."""

    sites: tuple[str, ...] = Field(min_length=1)
    pool: Literal["mean", "max", "last"] = "mean"
    seeds: tuple[int, ...] = Field(min_length=1)


class Editing(_Frozen):
    """Where the direction is added, at which multiples of it, beside how many shuffled ones."""

    site: str
    strengths: tuple[float, ...] = Field(min_length=2)
    shuffled: int = Field(ge=20)

    @field_validator("strengths")
    @classmethod
    def _rising(cls, strengths: tuple[float, ...]) -> tuple[float, ...]:
        if strengths[0] <= 0 or sorted(set(strengths)) != list(strengths):
            raise ValueError("strengths must be above 0 and rise")
        return strengths


class Pictures(_Frozen):
    """How many contents are drawn for what; the headline draws the whole report half."""

    seeds: tuple[int, ...] = Field(min_length=1)
    tune: int = Field(ge=1)
    curve: int = Field(ge=1)
    shuffled: int = Field(ge=1)
    probes: int = Field(ge=1)


class Judge(_Frozen):
    """A classifier by name, and the class that counts."""

    name: str
    shows: str = ""


class Judges(_Frozen):
    """What says whether the concept, its decoy and the subject are in a picture."""

    style: Judge
    object: Judge
    subject: Judge


class Definition(_Frozen):
    """A study: everything that its figures depend on besides the model."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    question: str = Field(min_length=1)
    concept: Concept
    phrasings: Halved
    contents: Contents
    read: Reading
    edit: Editing
    pictures: Pictures
    classifiers: Judges
    file: str = ""
    """The file that it was read from, as it was named; empty for a built-in study."""

    @classmethod
    def load(cls, what: str | Path) -> Definition:
        """A built-in study by name, or a file; TableError names the file and the field."""
        path = _path(what)
        try:
            told = read_toml(path, TableError)
        except TableError as error:
            raise TableError(f"{path} cannot be read as a study: {error}") from error
        try:
            return cls(**told, file="" if path.parent == FOLDER else str(what))
        except (ValidationError, TypeError) as error:
            raise TableError(f"{path}: {_first(error)}.") from error

    @model_validator(mode="after")
    def _apart(self) -> Definition:
        both = sorted(set(self.contents.discovery) & set(self.contents.report))
        if both:
            raise ValueError(f"content {both[0]!r} stands in both halves; it may stand in one")
        names = [*self.contents.discovery.values(), *self.contents.report.values()]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"two contents are both called {twice!r} in prompts")
        one, other = (
            {phrase for _, phrases in half for phrase in phrases}
            for half in (self.phrasings.discovery, self.phrasings.report)
        )
        if one & other:
            raise ValueError(f"phrasing {min(one & other)!r} stands in both halves")
        for half in (self.phrasings.discovery, self.phrasings.report):
            every = [phrase for _, phrases in half for phrase in phrases]
            if len(set(every)) < len(every):
                twice = next(phrase for phrase in every if every.count(phrase) > 1)
                raise ValueError(f"phrasing {twice!r} stands twice in one half")
        return self


def built_in() -> tuple[Definition, ...]:
    """The studies that come with Clerestory."""
    return tuple(Definition.load(path) for path in sorted(FOLDER.glob("*.toml")))


def _path(what: str | Path) -> Path:
    if isinstance(what, Path) or what.endswith(".toml"):
        return Path(what)
    known = {path.stem: path for path in FOLDER.glob("*.toml")}
    if what not in known:
        hint = suggest(what, known)
        raise RegistryError(f"No study is called {what!r}.{hint} A file must end in .toml.")
    return known[what]


def _first(error: ValidationError | TypeError) -> str:
    if isinstance(error, TypeError):
        return str(error)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{field}: {message}" if field else message
