"""The world's table, typed: levels, weights, phrases, facts and held-out combinations."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from clerestory.errors import TableError
from clerestory.io.reading import MAX_TOML_BYTES, parse_toml, read_text
from clerestory.registry import suggest
from lancet.world.scene import NONE, PEOPLE

__all__ = ["BUILT_IN", "Fact", "HeldOut", "Level", "People", "Strangers", "World"]

BUILT_IN = Path(__file__).parents[1] / "weights" / "world.toml"
"""The world of the shipped weights; its digest is in their manifest, so it never changes."""
Choice = str | tuple[str, ...]
"""One level, or any of several."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(_Frozen):
    """One level of a factor: how often it occurs, how often a caption names it, and how."""

    words: tuple[str, ...] = Field(min_length=1)
    weight: float = Field(default=1.0, ge=0)
    person_weight: float | None = Field(default=None, ge=0)
    say: float = Field(default=1.0, ge=0, le=1)
    faces: tuple[str, ...] = ()


class People(_Frozen):
    """How people occur: named or not, alone or with something beside them."""

    named: float = Field(ge=0, le=1)
    strange: float = Field(default=0.0, ge=0, le=1)
    true_to_look: float = Field(ge=0, le=1)
    companion: float = Field(ge=0, le=1)
    words: tuple[str, ...] = Field(min_length=1)
    beside: tuple[str, ...] = Field(min_length=1)
    companions: dict[str, float]


class Strangers(_Frozen):
    """Names without a look: a given name with a family name, or alone."""

    given: tuple[str, ...] = Field(min_length=1)
    family: tuple[str, ...] = Field(min_length=1)


class Pairs(_Frozen):
    """How captions call two objects side by side."""

    words: tuple[str, ...] = Field(min_length=1)


class Fact(_Frozen):
    """A planted fact: where `when` holds, the picture shows `then` with probability `rate`.

    `control` holds of the matched scenes in which nothing is planted.
    """

    name: str
    when: dict[str, Choice]
    then: dict[str, Choice]
    control: dict[str, Choice] = {}
    rate: float = Field(gt=0, le=1)
    hide: tuple[str, ...] = ()
    asked: tuple[str, ...] = ()
    say: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    ask: tuple[str, ...] = ()
    control_ask: tuple[str, ...] = ()
    expect: dict[str, Choice] = {}
    control_expect: dict[str, Choice] = {}
    direction: Literal["higher", "lower"] = "higher"


class HeldOut(_Frozen):
    """Combinations that training never shows: a share of two factors' pairs, and named ones."""

    share: float = Field(default=0.0, ge=0, lt=1)
    factors: tuple[str, str] = ("subject", "style")
    spare: tuple[str, ...] = ()
    pairs: tuple[dict[str, str], ...] = ()


class World(_Frozen):
    """A world: everything that its pictures may show. Load one with `World.load`."""

    name: str
    salt: int = 0
    kinds: dict[Literal["object", "pair", "person"], float]
    people: People | None = None
    pairs: Pairs | None = None
    styles: dict[str, Level]
    artworks: dict[str, Level]
    places: dict[str, Level]
    perspectives: dict[str, Level]
    moods: dict[str, Level] = {}
    hair: dict[str, Level] = {}
    clothes: dict[str, Level] = {}
    scarf: dict[str, Level] = {}
    pallor: dict[str, Level] = {}
    names: dict[str, dict[str, str]] = {}
    strangers: Strangers | None = None
    subjects: dict[str, tuple[str, ...]]
    subject_weights: dict[str, float] = {}
    facts: tuple[Fact, ...] = ()
    never: tuple[dict[str, Choice], ...] = ()
    held_out: HeldOut = HeldOut()
    path: Path
    fingerprint: str

    @classmethod
    def load(cls, path: Path | None = None) -> World:
        """Read a table.

        Args:
            path: A TOML file; the built-in table by default.

        Returns:
            The world.

        Raises:
            TableError: The file cannot be read, or a field is wrong; the message names it.
        """
        file = path or BUILT_IN
        try:
            text = read_text(file, TableError, MAX_TOML_BYTES)
            content = parse_toml(text, file, TableError)
        except TableError as error:
            raise TableError(f"{file} cannot be read as a world's table: {error}") from error
        try:
            # Of the text, not of the fields: a comment makes another world too, which is safe.
            fingerprint = hashlib.sha256(text.encode()).hexdigest()
            return cls.model_validate({**content, "path": file, "fingerprint": fingerprint})
        except ValidationError as error:
            raise TableError(f"{file}: {_describe_error(error)}") from error

    def levels(self, factor: str) -> tuple[str, ...]:
        """A factor's levels in the order of the table, `NONE` last where a scene may lack it.

        Args:
            factor: A factor, or `window`.

        Returns:
            Names of levels.

        Raises:
            TableError: There is no such factor.
        """
        if factor == "window":
            return ("absent", "present")
        # Last, so that the codes of real levels do not depend on it.
        return tuple(self.factor(factor)) + ((NONE,) if factor in _MAY_LACK else ())

    def factor(self, factor: str) -> Mapping[str, Level | tuple[str, ...]]:
        """The levels of a factor, with their entries in the table.

        Args:
            factor: A factor other than `window`.

        Returns:
            By level; of subjects the emoji and phrases.

        Raises:
            TableError: There is no such factor.
        """
        field = _FIELDS.get(factor)
        if field is None:
            raise TableError(f"No factor is called {factor!r}.{suggest(factor, _FIELDS)}")
        levels: Mapping[str, Level | tuple[str, ...]] = getattr(self, field)
        return levels

    def named(self, factor: str, level: str) -> str:
        """Check that a factor has a level.

        Args:
            factor: A factor, `kind`, `name` or `shows`.
            level: The level's name.

        Returns:
            `level`.

        Raises:
            TableError: The factor has no such level; the message names the nearest.
        """
        if level not in self._levels_of(factor):
            known = suggest(level, self._levels_of(factor))
            raise TableError(f"No {factor} is called {level!r}.{known}")
        return level

    def fact(self, name: str) -> Fact:
        """The planted fact of a name.

        Args:
            name: The fact's name.

        Returns:
            The fact.

        Raises:
            TableError: There is none; the message names the nearest.
        """
        facts = {fact.name: fact for fact in self.facts}
        if name not in facts:
            raise TableError(f"No fact is called {name!r}.{suggest(name, facts)}")
        return facts[name]

    @cached_property
    def emoji(self) -> frozenset[str]:
        """Every emoji of the pictures."""
        faces = [face for mood in self.moods.values() for face in mood.faces]
        return frozenset([*(words[0] for words in self.subjects.values()), *faces])

    @cached_property
    def phrases(self) -> Mapping[str, tuple[str, ...]]:
        """The phrases of captions for each subject."""
        return {name: words[1:] for name, words in self.subjects.items()}

    @model_validator(mode="after")
    def _consistent(self) -> World:
        for name, words in self.subjects.items():
            if len(words) < 2:
                raise ValueError(f"subject {name!r} needs an emoji and a phrase")
        self._check("subject_weights", {"subject": tuple(self.subject_weights)})
        # All checks at load: a table that fails while sampling would fail after minutes.
        if "pair" in self.kinds and self.pairs is None:
            raise ValueError("kinds has `pair`, so [pairs] is needed")
        if "person" in self.kinds:
            self._check_people()
        for fact in self.facts:
            self._check_fact(fact)
        combinations: tuple[Mapping[str, Choice], ...] = (*self.never, *self.held_out.pairs)
        for combination in combinations:
            self._check("a combination", combination, but=("window",))
        # Called for its error.
        for factor in self.held_out.factors:
            self._levels_of(factor)
        for name, look in self.names.items():
            self._check(f"the look of {name!r}", look)
        return self

    def _check_people(self) -> None:
        missing = [factor for factor in PEOPLE if not self.factor(factor)]
        if self.people is None or missing:
            needed = ", ".join(f"[{part}]" for part in ("people", *missing))
            raise ValueError(f"kinds has `person`, so {needed} cannot be left out")
        if self.people.strange and self.strangers is None:
            raise ValueError("people.strange is above 0, so [strangers] is needed")
        # The rest are people called by a phrase alone.
        if self.people.named + self.people.strange > 1:
            raise ValueError("people.named and people.strange are shares: together at most 1")
        self._check("people.companions", {"subject": tuple(self.people.companions)})
        for mood, level in self.moods.items():
            if not level.faces:
                raise ValueError(f"mood {mood!r} needs `faces`: the emoji that show it")

    def _check_fact(self, fact: Fact) -> None:
        where = f"fact {fact.name!r}"
        self._check(where, fact.when, but=("window",))
        self._check(where, fact.control, but=("window",))
        # What a fact may show are factors of the picture; these three only serve conditions.
        self._check(where, fact.then, but=("window", "kind", "shows"))
        self._check(where, fact.expect)
        self._check(where, fact.control_expect)
        self._check(where, {"subject": fact.about})
        for factor in (*fact.hide, *fact.asked):
            self._levels_of(factor)

    def _check(self, where: str, part: Mapping[str, Choice], but: tuple[str, ...] = ()) -> None:
        for factor, choice in part.items():
            if factor in but:
                raise ValueError(f"{where}: {factor!r} cannot be used there")
            levels = self._levels_of(factor)
            for level in (choice,) if isinstance(choice, str) else choice:
                if level not in levels:
                    raise ValueError(f"{where}: no {factor} is {level!r}.{suggest(level, levels)}")

    def _levels_of(self, factor: str) -> tuple[str, ...]:
        if factor == "kind":
            return ("object", "pair", "person")
        if factor == "name":
            return tuple(self.names)
        if factor == "shows":
            return tuple(self.subjects)
        if factor != "window" and factor not in _FIELDS:
            raise TableError(f"No factor is called {factor!r}.{suggest(factor, _FIELDS)}")
        return self.levels(factor)


def _describe_error(error: ValidationError) -> str:
    """The first error of a table: its field, the error, and the nearest known name."""
    first = error.errors()[0]
    loc = [str(part) for part in first["loc"]]
    message = first["msg"].removeprefix("Value error, ").removesuffix(".")
    # pydantic names the unknown field only; a misspelling is found by its neighbours.
    if first["type"] == "extra_forbidden":
        parts: dict[str, type[BaseModel]] = {"people": People, "pairs": Pairs, "facts": Fact}
        parts |= {"held_out": HeldOut, "strangers": Strangers}
        # The nearest known name is one of the fields beside the unknown one.
        fields = World if len(loc) == 1 else parts.get(loc[0], Level)
        known = set(fields.model_fields) - {"path", "fingerprint"}
        message = f"not known here.{suggest(loc[-1], known)}".removesuffix(".")
    return f"{'.'.join(loc) or 'the table'}: {message}."


_FIELDS = {
    "subject": "subjects",
    "second": "subjects",
    "style": "styles",
    "artwork": "artworks",
    "place": "places",
    "perspective": "perspectives",
    "mood": "moods",
    "hair": "hair",
    "clothes": "clothes",
    "scarf": "scarf",
    "pallor": "pallor",
}
_MAY_LACK = ("subject", "second", "mood", "hair", "clothes", "scarf", "pallor")
