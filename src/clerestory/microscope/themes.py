"""Themes: the words that people have for units, in SQLite; they are added and never changed.

themes = Themes(folder / "themes.sqlite")
themes.add("text.blocks.2/mlp[311]", "stained glass", rater="ada", confidence=4)
themes.of("text.blocks.2/mlp[311]")
"""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import resources
from math import comb
from pathlib import Path
from typing import Any
from uuid import uuid4

from clerestory.errors import ThemeError

__all__ = ["Theme", "Themes", "agreement", "clean_text"]

LENGTHS = {"text": 200, "note": 2000, "rater": 60}
"""Letters, at most."""
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
WAIT = 20.0
"""Seconds to wait for another writer."""


@dataclass(frozen=True)
class Theme:
    """What a `rater` calls a `unit`, how sure (1 to 5), when; `key` is the same everywhere."""

    id: int
    key: str
    unit: str
    text: str
    confidence: int
    note: str
    rater: str
    created_at: str

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the number that it has here."""
        return {name: value for name, value in asdict(self).items() if name != "id"}


class Themes:
    """A file of themes and blind tests. ThemeError for what cannot be kept or read."""

    def __init__(self, path: Path) -> None:
        """Open or create a database, and bring it to the newest form.

        Args:
            path: The file.

        Raises:
            ThemeError: It is no database of themes, was altered, or is of a newer version.
        """
        self.path = path
        # sqlite3 connections must stay in the thread that opened them.
        self._own = threading.local()
        with self.open() as database:
            _check_still(database)
            # Readers do not wait for a writer, nor the other way round.
            database.execute("PRAGMA journal_mode = WAL")
            migrate(database)
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
                migrate(fresh)
                schema = fresh.execute(SCHEMA).fetchall()
            # The version number alone proves nothing: a file can say any.
            if database.execute(SCHEMA).fetchall() != schema:
                raise ThemeError(f"{path} has other tables than themes have: it was altered.")

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection; a statement is written at once, but in a transaction."""
        try:
            database = getattr(self._own, "database", None)
            if database is None:
                database = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
                # The file may come from somebody else: no function is to run from within its
                # tables.
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("PRAGMA foreign_keys = ON")
                # What a person has typed survives a power cut.
                database.execute("PRAGMA synchronous = FULL")
                self._own.database = database
            yield database
        except sqlite3.Error as error:
            raise ThemeError(
                f"{self.path} is not a database of themes, or cannot be used: {error}."
            ) from error

    def add(
        self,
        unit: str,
        text: str,
        *,
        rater: str,
        confidence: int = 3,
        note: str = "",
        key: str = "",
        created_at: str = "",
    ) -> Theme:
        """Keep a theme; one with a `key` that is there already is left as it is.

        Args:
            unit: The unit's address; it is not checked here.
            text: The theme, of 200 letters at most.
            rater: Who says so, of 60 letters at most.
            confidence: 1 (a guess) to 5 (sure).
            note: Further remarks, of 2,000 letters at most.
            key: Names the theme in all copies of the database; a random one by default.
            created_at: The time in UTC, ISO 8601; now by default.

        Returns:
            The theme as it is stored, which is the earlier one where the key is known.

        Raises:
            ThemeError: A text is missing or too long, or the confidence is out of range.
        """
        texts = {
            "text": clean_text(text),
            "note": clean_text(note, lines=True),
            "rater": clean_text(rater),
        }
        for name, value in texts.items():
            if len(value) > LENGTHS[name]:
                raise ThemeError(f"The {name} has {len(value)} letters: at most {LENGTHS[name]}.")
        if not texts["text"] or not texts["rater"]:
            raise ThemeError("Say what the theme is, and who says so.")
        if confidence not in range(1, 6):
            raise ThemeError(f"The confidence is {confidence}: say 1 to 5.")
        row = (
            clean_text(key) or uuid4().hex,
            unit,
            texts["text"],
            confidence,
            texts["note"],
            texts["rater"],
            created_at or now(),
        )
        with self.open() as database:
            database.execute(
                "INSERT INTO themes (key, unit, text, confidence, note, rater, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                row,
            )
            found = database.execute("SELECT * FROM themes WHERE key = ?", row[:1]).fetchone()
        return Theme(*found)

    def of(self, unit: str) -> list[Theme]:
        """What was said of a unit, the first first.

        Args:
            unit: The unit's address.

        Returns:
            Themes of all raters.
        """
        return self._asked("WHERE unit = ? ORDER BY created_at, id", unit)

    def among(self, units: Iterable[str]) -> dict[str, list[Theme]]:
        """What was said of each of these units, at most a few hundred, the first first.

        Args:
            units: Addresses of units.

        Returns:
            By address; units without themes are missing.
        """
        asked = list(units)
        marks = ", ".join("?" * len(asked))
        found: dict[str, list[Theme]] = {}
        for theme in self._asked(f"WHERE unit IN ({marks}) ORDER BY created_at, id", *asked):
            found.setdefault(theme.unit, []).append(theme)
        return found

    def latest(self, count: int) -> list[Theme]:
        """Those that were said last, the newest first.

        Args:
            count: How many at most.

        Returns:
            Themes of all units.
        """
        return self._asked("ORDER BY created_at DESC, id DESC LIMIT ?", count)

    def stamp(self) -> tuple[int, ...]:
        """Another once anything was said, asked or answered."""
        with self.open() as database:
            found = database.execute(
                "SELECT (SELECT COUNT(*) FROM themes), COUNT(*), COUNT(picked) FROM trials"
            ).fetchone()
        return tuple(found)

    def one(self, number: int) -> Theme:
        """A theme by its number here.

        Args:
            number: The theme's `id`.

        Returns:
            The theme.

        Raises:
            ThemeError: There is no such theme.
        """
        found = self._asked("WHERE id = ?", number)
        if not found:
            raise ThemeError(f"There is no theme {number}.")
        return found[0]

    def every(self) -> list[Theme]:
        """All of them, in the order in which they were said."""
        return self._asked("ORDER BY created_at, id")

    def search(self, words: str) -> list[Theme]:
        """Those with each of these words in them, in either case, the newest first.

        Args:
            words: Words separated by blanks; parts of words count.

        Returns:
            At most 200 themes.
        """
        asked = words.casefold().split()
        every = self._asked("ORDER BY created_at DESC, id DESC")
        # In Python and not by LIKE, which knows case for ASCII letters only.
        return [one for one in every if all(word in one.text.casefold() for word in asked)][:200]

    def counts(self) -> dict[str, int]:
        """How many themes each named unit has."""
        with self.open() as database:
            return dict(database.execute("SELECT unit, COUNT(*) FROM themes GROUP BY unit"))

    def _asked(self, rest: str, *values: Any) -> list[Theme]:
        with self.open() as database:
            return [Theme(*row) for row in database.execute(f"SELECT * FROM themes {rest}", values)]

    def export(self) -> Iterator[str]:
        """A line of JSON a theme."""
        for theme in self.every():
            yield json.dumps(theme.to_dict())

    def take(self, lines: Iterable[str], units: Iterable[str]) -> int:
        """Add exported themes of these `units`; how many are new. All of them, or none.

        Args:
            lines: Lines of JSON, as `export` writes them; blank lines are skipped.
            units: Addresses of the units that there are.

        Returns:
            How many themes were not known before.

        Raises:
            ThemeError: A line is no theme, or of a unit that does not exist.
        """
        known, read = set(units), []
        for number, line in enumerate(lines, 1):
            if line.strip():
                read.append(_read(line, number, known))
        before = sum(self.counts().values())
        with self.open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                for theme in read:
                    self.add(**theme)
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        return sum(self.counts().values()) - before

    def backup(self, to: Path) -> None:
        """Copy the database as it is, while others write.

        Args:
            to: A file that does not exist yet.

        Raises:
            ThemeError: The file exists.
        """
        if to.exists():
            raise ThemeError(f"{to} is there already.")
        with self.open() as database, closing(sqlite3.connect(to)) as copy:
            database.backup(copy)


def _check_still(database: sqlite3.Connection) -> None:
    """ThemeError for what runs by itself when a table is asked."""
    strange = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')"
    found = database.execute(strange).fetchone()
    if found:
        name = str(found[0])[:80]
        raise ThemeError(f"The themes have {name!r}; expected no view and no trigger.")


def migrate(database: sqlite3.Connection) -> int:
    """Bring a database to the newest form; the number of migrations that it has had."""
    files = resources.files("clerestory.microscope") / "migrations"
    steps = sorted(one.name for one in files.iterdir() if one.name.endswith(".sql"))
    database.execute("BEGIN IMMEDIATE")
    try:
        had = int(database.execute("PRAGMA user_version").fetchone()[0])
        if had > len(steps):
            raise ThemeError("The themes are from a newer version: update Clerestory.")
        for name in steps[had:]:
            for statement in _statements((files / name).read_text("utf-8")):
                database.execute(statement)
        database.execute(f"PRAGMA user_version = {len(steps)}")
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")
    return len(steps)


def _statements(text: str) -> list[str]:
    # `executescript` would commit the open transaction, so statements are run one by one.
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [one for one in bare.split(";") if one.strip()]


def agreement(themes: Iterable[Theme]) -> tuple[int, int]:
    """Of the pairs of raters, how many last said the same of a unit, and how many there are.

    The same are texts of the same words, whatever their order, case, articles and marks.

    Args:
        themes: Themes of one unit, the first first.

    Returns:
        Pairs that agree, and all pairs.
    """
    last = {theme.rater.casefold(): _words(theme.text) for theme in themes}
    alike = Counter(last.values())
    return sum(comb(count, 2) for count in alike.values()), comb(len(last), 2)


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.casefold())) - {"a", "an", "the"}


def clean_text(text: str, *, lines: bool = False) -> str:
    """Without what steers a terminal or turns text around, and on one line unless `lines` stay.

    Args:
        text: What somebody typed.
        lines: Whether line feeds stay.

    Returns:
        The text, with single blanks and without blanks at either end.
    """
    parts = text.splitlines() if lines else [text]
    clean_text = (" ".join(filter(None, "".join(map(_allowed, part)).split(" "))) for part in parts)
    return "\n".join(clean_text).strip()


def _allowed(letter: str) -> str:
    """The letter; a blank for any blank, nothing for controls, halves of letters and marks."""
    if letter.isspace():
        return " "
    kind = unicodedata.category(letter)
    joins = letter in "\u200c\u200d"  # they join letters and emoji
    return "" if kind in ("Cc", "Cs", "Co", "Cn") or (kind == "Cf" and not joins) else letter


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


FIELDS = {"key": str, "unit": str, "text": str, "rater": str, "note": str, "created_at": str}


def _read(line: str, number: int, known: set[str]) -> dict[str, Any]:
    """A line's theme, checked."""
    try:
        found = json.loads(line)
    except ValueError as error:
        raise ThemeError(f"Line {number} is not valid JSON: {error}.") from error
    expected: dict[str, type] = {**FIELDS, "confidence": int}
    if not isinstance(found, dict) or set(found) != set(expected):
        raise ThemeError(f"Line {number} wants {sorted(expected)}.")
    for name, kind in expected.items():
        if type(found[name]) is not kind:
            raise ThemeError(f"Line {number}: {name} should be {kind.__name__}.")
    if found["unit"] not in known:
        raise ThemeError(f"Line {number}: the microscope has no unit {found['unit'][:80]!r}.")
    return found
