"""Is a theme real? A rater picks between two rows of pictures, not knowing which the unit likes.

Of the samples that were held out from naming, one row excites the unit most and the other lies at
the middle of its range. Control questions have rows picked so by a random direction of the site in
its place, unmarked. A theme that names what the unit likes is picked right on its own questions,
and no more often than by a coin on the controls'.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ThemeError
from clerestory.microscope.folder import Microscope, Unit
from clerestory.microscope.themes import LENGTHS, Theme, Themes, now

__all__ = ["Question", "Score", "answer", "begin", "question", "scores"]

ROW = 4
"""Pictures of a row."""
QUESTIONS, CONTROLS = 8, 4
"""Of the unit, and of random directions, in a test."""
TOP = 0.15
"""Of the held-out samples, those that count as exciting."""


@dataclass(frozen=True)
class Question:
    """Two rows of samples for a theme, in the order in which they are shown."""

    key: str
    test: str
    theme: Theme
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    number: int
    of: int


@dataclass(frozen=True)
class Score:
    """Answers about a theme: of the unit and of controls, over all raters.

    `p` is the one-sided binomial test against a coin, of the unit's own questions.
    """

    hits: int
    asked: int
    control_hits: int
    controls: int
    raters: int

    @property
    def rate(self) -> float | None:
        """How often the unit's row was picked; None where nobody answered."""
        return self.hits / self.asked if self.asked else None

    @property
    def p(self) -> float | None:
        """The chance of so many hits, or more, by a coin."""
        from scipy.stats import binomtest

        if not self.asked:
            return None
        return float(binomtest(self.hits, self.asked, 0.5, alternative="greater").pvalue)

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "hits": self.hits,
            "asked": self.asked,
            "rate": self.rate,
            "p": self.p,
            "control_hits": self.control_hits,
            "controls": self.controls,
            "raters": self.raters,
        }


def begin(
    microscope: Microscope, themes: Themes, theme: Theme, rater: str, *, seed: int | None = None
) -> str:
    """Make up a test, keep it, and say what it is called; by chance, or as a `seed` has it.

    ThemeError where too few samples were held out, and for a rater without a name.
    """
    unit = microscope.named(theme.unit)
    rater = " ".join(rater.split())
    if not rater or len(rater) > LENGTHS["rater"]:
        raise ThemeError(f"Say who answers, in {LENGTHS['rater']} letters or fewer.")
    rng = np.random.default_rng(seed)
    held = held_out(microscope, unit)
    test, rows = uuid4().hex, []
    kinds: list[int | None] = [None] * QUESTIONS
    kinds += [int(one) for one in rng.integers(2**31, size=CONTROLS)]
    for control in rng.permutation(np.array(kinds, object)):
        along = excitement(unit, held, control)
        order = held[np.argsort(-along, kind="stable")]
        high = rng.choice(order[: max(ROW, int(len(order) * TOP))], ROW, replace=False)
        middle = order[len(order) // 2 - len(order) // 4 : len(order) // 2 + len(order) // 4]
        other = rng.choice(np.setdiff1d(middle, high), ROW, replace=False)
        right = int(rng.integers(2))
        shown = (high, other) if right == 0 else (other, high)
        first, second = (json.dumps([int(at) for at in row]) for row in shown)
        rows.append((uuid4().hex, test, theme.id, rater, control, first, second, right, now()))
    with themes.open() as database:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO trials (key, test, theme, rater, control, first, second, answer, "
            "asked_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
        database.execute("COMMIT")
    return test


def held_out(microscope: Microscope, unit: Unit) -> NDArray[np.integer]:
    """Samples that no page shows beside a unit, one of a prompt."""
    table = microscope.samples(unit.site.recording)
    hidden = table.loc[~table["named"]].drop_duplicates("prompt")
    if len(hidden) < 4 * ROW:
        raise ThemeError("Too few samples were held out for a blind test.")
    if microscope.picture(unit.site.recording, 0) is None:
        raise ThemeError("The recording has no pictures, and a blind test needs some.")
    return hidden.index.to_numpy()


def excitement(
    unit: Unit, samples: NDArray[np.integer], control: int | None
) -> NDArray[np.floating]:
    """The unit's values, or those along a random direction of its site, each unit standardized."""
    if control is None:
        return np.asarray(unit.figure("values")[samples], np.float64)
    values = unit.site.figure("values")[:, samples].astype(np.float64)
    sd = values.std(1)
    way = np.random.default_rng(control).normal(size=len(values)) / np.where(sd > 0, sd, np.inf)
    return np.asarray(way @ values)


def question(themes: Themes, test: str) -> Question | None:
    """The next one of a test; None when all are answered. ThemeError for no such test."""
    with themes.open() as database:
        rows = database.execute(
            "SELECT key, theme, first, second, picked FROM trials WHERE test = ? ORDER BY id",
            (test,),
        ).fetchall()
    if not rows:
        raise ThemeError("There is no such blind test.")
    for number, (key, theme, first, second, picked) in enumerate(rows):
        if picked is None:
            shown = tuple(json.loads(first)), tuple(json.loads(second))
            return Question(key, test, themes.one(theme), shown, number + 1, len(rows))
    return None


def answer(themes: Themes, key: str, picked: int) -> str:
    """Keep what a rater picked, once; the name of the test. ThemeError for what was not asked."""
    if picked not in (0, 1):
        raise ThemeError("Pick the first row, 0, or the second, 1.")
    with themes.open() as database:
        found = database.execute("SELECT test FROM trials WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise ThemeError("There is no such question.")
        database.execute(
            "UPDATE trials SET picked = ?, picked_at = ? WHERE key = ? AND picked IS NULL",
            (picked, now(), key),
        )
    return str(found[0])


def scores(themes: Themes, *, test: str | None = None) -> dict[int, Score]:
    """By theme, over the tests that were answered to their end; or of one test alone."""
    where = "test = ?" if test else "test NOT IN (SELECT test FROM trials WHERE picked IS NULL)"
    with themes.open() as database:
        rows = database.execute(
            "SELECT theme, SUM(control IS NULL AND picked = answer), SUM(control IS NULL), "
            "SUM(control IS NOT NULL AND picked = answer), SUM(control IS NOT NULL), "
            f"COUNT(DISTINCT rater) FROM trials WHERE {where} GROUP BY theme",
            (test,) if test else (),
        ).fetchall()
    return {int(theme): Score(*map(int, rest)) for theme, *rest in rows}
