"""Themes, the names that people give to units, in SQLite; rows are added and never changed.

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
from dataclasses import asdict, astuple, dataclass
from datetime import UTC, datetime
from importlib import resources
from itertools import islice
from math import comb
from pathlib import Path
from typing import Any
from uuid import uuid4

from clerestory.errors import ThemeError
from clerestory.io.reading import parse_json
from clerestory.io.validation import validate

__all__ = ["LockedError", "Theme", "Themes", "agreement", "by_unit", "clean_text"]

LENGTHS = {"text": 200, "note": 2000, "rater": 60}
"""Maximum number of letters."""
MAX_RESULTS = 200
"""Themes that a search returns."""
SCHEMA = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY type, name"
TIMEOUT = 20.0
"""Seconds to wait for another writer."""
COLUMNS = "key, unit, text, confidence, note, rater, created_at, id"
"""The fields of `Theme`, in their order."""


@dataclass(frozen=True)
class Theme:
    """A name that a person gave to a unit.

    Attributes:
        key: Identifies the theme in all copies of the database.
        unit: The unit's address.
        text: The name.
        confidence: 1 (a guess) to 5 (sure).
        note: Further remarks.
        rater: The person.
        created_at: The time in UTC, ISO 8601.
        id: The number in this database; 0 before it is stored.
    """

    key: str
    unit: str
    text: str
    confidence: int
    note: str
    rater: str
    created_at: str
    id: int = 0

    def to_dict(self) -> dict[str, Any]:
        """All fields except `id`, ready for JSON."""
        return {name: value for name, value in asdict(self).items() if name != "id"}


class LockedError(ThemeError):
    """The database is locked by another process."""


class Themes:
    """A database of themes and blind tests, created if missing and migrated if old.

    Args:
        path: The file.
        timeout: Seconds to wait for another process that has locked the database.

    Raises:
        LockedError: Another process has locked the database for longer; so do all methods.
        ThemeError: It is not a database of themes, was altered, or is of a newer version. All
            methods raise it if the database cannot be read or written.
    """

    def __init__(self, path: Path, timeout: float = TIMEOUT) -> None:
        self.path, self.timeout = path, timeout
        # A sqlite3 connection may only be used in the thread that opened it.
        self._connections = threading.local()
        with self.open() as database:
            _check_passive(database)
            # With a write-ahead log, readers and the writer do not wait for each other.
            database.execute("PRAGMA journal_mode = WAL")
            migrate(database)
            # A new database by the same migrations shows what the tables should be.
            with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
                migrate(fresh)
                schema = fresh.execute(SCHEMA).fetchall()
            # The version number alone is no proof, since a file can have any.
            if database.execute(SCHEMA).fetchall() != schema:
                raise ThemeError(
                    f"{path} was altered: its tables are other tables than those of themes."
                )

    @contextmanager
    def open(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection, in autocommit mode: each statement is a transaction.

        Yields:
            The connection.

        Raises:
            ThemeError: SQLite reports an error.
        """
        try:
            database = getattr(self._connections, "database", None)
            if database is None:
                database = sqlite3.connect(self.path, timeout=self.timeout, isolation_level=None)
                # The file may come from somebody else: its schema must not call functions.
                database.execute("PRAGMA trusted_schema = OFF")
                database.execute("PRAGMA foreign_keys = ON")
                # Survives a power failure: people typed these rows.
                database.execute("PRAGMA synchronous = FULL")
                self._connections.database = database
            yield database
        except sqlite3.OperationalError as error:
            # Extended codes have the kind in their low byte.
            if (error.sqlite_errorcode or 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise LockedError(
                    f"{self.path} is locked by another program: try again in a moment."
                ) from error
            raise ThemeError(f"{self.path} cannot be used: {error}.") from error
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
        """Store a theme, unless one with its `key` is stored.

        Args:
            unit: The unit's address, which is not checked.
            text: The theme, of 200 letters at most.
            rater: The person's name, of 60 letters at most.
            confidence: 1 (a guess) to 5 (sure).
            note: Further remarks, of 2,000 letters at most.
            key: Identifies the theme in all copies of the database; random by default.
            created_at: The time in UTC, ISO 8601; now by default.

        Returns:
            The stored theme: the earlier one if the key is known.

        Raises:
            ThemeError: A text is missing or too long, or the confidence is out of range.
        """
        theme = Theme(
            key=clean_text(key) or uuid4().hex,
            unit=unit,
            text=clean_text(text),
            confidence=confidence,
            note=clean_text(note, lines=True),
            rater=clean_text(rater),
            created_at=created_at or now(),
        )
        for name, limit in LENGTHS.items():
            length = len(getattr(theme, name))
            if length > limit:
                raise ThemeError(f"The {name} has {length} letters: at most {limit}.")
        if not theme.text or not theme.rater:
            raise ThemeError("The theme and the rater's name must not be empty.")
        if confidence not in range(1, 6):
            raise ThemeError(f"The confidence is {confidence}; it must be 1 to 5.")
        with self.open() as database:
            database.execute(
                f"INSERT INTO themes ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, NULL) "
                # A form that is sent twice, or a line imported again, is one theme.
                "ON CONFLICT (key) DO NOTHING",
                astuple(theme)[:-1],  # SQLite numbers the row
            )
        (stored,) = self._select("WHERE key = ?", theme.key)
        return stored

    def of(self, unit: str) -> list[Theme]:
        """The themes of a unit, the oldest first.

        Args:
            unit: The unit's address.

        Returns:
            Themes of all raters.
        """
        return self._select("WHERE unit = ? ORDER BY created_at, id", unit)

    def of_units(self, units: Iterable[str]) -> dict[str, list[Theme]]:
        """The themes of each of several units, the oldest first.

        Args:
            units: Addresses of units, at most a few hundred.

        Returns:
            Themes by address; units without themes are missing.
        """
        addresses = list(units)
        marks = ", ".join("?" * len(addresses))
        themes = self._select(f"WHERE unit IN ({marks}) ORDER BY created_at, id", *addresses)
        return by_unit(themes)

    def latest(self, count: int) -> list[Theme]:
        """The last themes of all units, the newest first.

        Args:
            count: Maximum number.

        Returns:
            Themes.
        """
        return self._select("ORDER BY created_at DESC, id DESC LIMIT ?", count)

    def row_counts(self) -> tuple[int, ...]:
        """Numbers of themes, questions and answers, which tell whether a cached value is old."""
        with self.open() as database:
            counts = database.execute(
                "SELECT (SELECT COUNT(*) FROM themes), COUNT(*), COUNT(picked) FROM trials"
            ).fetchone()
        return tuple(counts)

    def get(self, number: int) -> Theme:
        """A theme by its number in this database.

        Args:
            number: The theme's `id`.

        Returns:
            The theme.

        Raises:
            ThemeError: There is no such theme.
        """
        themes = self._select("WHERE id = ?", number)
        if not themes:
            raise ThemeError(f"There is no theme {number}.")
        return themes[0]

    def all(self) -> list[Theme]:
        """All themes, the oldest first."""
        return self._select("ORDER BY created_at, id")

    def search(self, words: str) -> list[Theme]:
        """Themes that contain each of several words, regardless of case, the newest first.

        Args:
            words: Words or parts of words, separated by blanks.

        Returns:
            At most 200 themes.
        """
        parts = words.casefold().split()
        # In Python and not by LIKE, which ignores case for ASCII letters only.
        themes = (
            theme
            for theme in self._select("ORDER BY created_at DESC, id DESC")
            if all(part in theme.text.casefold() for part in parts)
        )
        return list(islice(themes, MAX_RESULTS))

    def counts(self) -> dict[str, int]:
        """The number of themes of each unit that has any."""
        with self.open() as database:
            return dict(database.execute("SELECT unit, COUNT(*) FROM themes GROUP BY unit"))

    def _select(self, condition: str, *values: Any) -> list[Theme]:
        with self.open() as database:
            rows = database.execute(f"SELECT {COLUMNS} FROM themes {condition}", values)
            return [Theme(*row) for row in rows]

    def export(self) -> Iterator[str]:
        """All themes as lines of JSON."""
        for theme in self.all():
            yield json.dumps(theme.to_dict())

    def import_lines(self, lines: Iterable[str], units: Iterable[str]) -> int:
        """Add exported themes, all or none.

        Args:
            lines: Lines of JSON, as `export` writes them; blank lines are skipped.
            units: Addresses of the existing units.

        Returns:
            The number of themes that were not stored before.

        Raises:
            ThemeError: A line is not a theme, or its unit does not exist.
        """
        known = set(units)
        themes = [_parse(line, at, known) for at, line in enumerate(lines, 1) if line.strip()]
        before = sum(self.counts().values())
        with self.open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                for theme in themes:
                    self.add(**theme.to_dict())
            except BaseException:
                database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")
        return sum(self.counts().values()) - before

    def backup(self, to: Path) -> None:
        """Copy the database; others may write meanwhile.

        Args:
            to: A file that does not exist yet.

        Raises:
            ThemeError: The file exists.
        """
        if to.exists():
            raise ThemeError(f"{to} is there already.")
        with self.open() as database, closing(sqlite3.connect(to)) as copy:
            database.backup(copy)


def _check_passive(database: sqlite3.Connection) -> None:
    """Raise ThemeError if the schema has views or triggers, which run with other statements."""
    query = "SELECT name FROM sqlite_master WHERE type IN ('view', 'trigger')"
    row = database.execute(query).fetchone()
    if row:
        name = str(row[0])[:80]
        raise ThemeError(f"The themes have {name!r}; expected no view and no trigger.")


def migrate(database: sqlite3.Connection) -> int:
    """Migrate a database to the newest schema.

    Args:
        database: A connection in autocommit mode.

    Returns:
        The number of migrations of the newest schema.

    Raises:
        ThemeError: The database is of a newer version.
    """
    files = resources.files("clerestory.microscope") / "migrations"
    steps = sorted(file.name for file in files.iterdir() if file.name.endswith(".sql"))
    database.execute("BEGIN IMMEDIATE")
    try:
        version = int(database.execute("PRAGMA user_version").fetchone()[0])
        if version > len(steps):
            raise ThemeError("The themes are from a newer version: update Clerestory.")
        for name in steps[version:]:
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
    return [statement for statement in bare.split(";") if statement.strip()]


def agreement(themes: Iterable[Theme]) -> tuple[int, int]:
    """The number of pairs of raters whose last themes for a unit agree, and of all pairs.

    Texts agree if they have the same words, regardless of order, case, articles and punctuation.

    Args:
        themes: Themes of one unit, the oldest first.

    Returns:
        Pairs that agree, and all pairs.
    """
    # In the order of time: a later theme replaces the rater's earlier one.
    last = {theme.rater.casefold(): _words(theme.text) for theme in themes}
    counts = Counter(last.values())
    return sum(comb(count, 2) for count in counts.values()), comb(len(last), 2)


def by_unit(themes: Iterable[Theme]) -> dict[str, list[Theme]]:
    """Themes by the address of their unit.

    Args:
        themes: Themes.

    Returns:
        The themes of each unit in the same order.
    """
    units: dict[str, list[Theme]] = {}
    for theme in themes:
        units.setdefault(theme.unit, []).append(theme)
    return units


def _words(text: str) -> frozenset[str]:
    # Articles and the order of words make no other theme.
    return frozenset(re.findall(r"\w+", text.casefold())) - {"a", "an", "the"}


def clean_text(text: str, *, lines: bool = False) -> str:
    """The text without control characters and direction marks.

    Args:
        text: Text that somebody typed.
        lines: Whether line feeds stay; otherwise they become blanks.

    Returns:
        The text, with single blanks and without blanks at either end.
    """
    parts = text.splitlines() if lines else [text]
    cleaned = (" ".join("".join(map(_clean, part)).split()) for part in parts)
    return "\n".join(cleaned).strip()


def _clean(letter: str) -> str:
    """The letter, a plain blank for any blank, or nothing if it is not printable text."""
    if letter.isspace():
        return " "
    category = unicodedata.category(letter)
    joins = letter in "\u200c\u200d"  # joiners, which some scripts and emoji need
    # Control characters, surrogates, private use, unassigned; and formats except joiners.
    is_removed = category in ("Cc", "Cs", "Co", "Cn") or (category == "Cf" and not joins)
    return "" if is_removed else letter


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _parse(line: str, number: int, units: set[str]) -> Theme:
    """The theme of an exported line, of one of these units."""
    where = f"Line {number}"
    theme = validate(Theme, parse_json(line, where, ThemeError), where, ThemeError)
    if theme.unit not in units:
        raise ThemeError(f"{where}: the microscope has no unit {theme.unit[:80]!r}.")
    return theme
