"""Is a theme real? A rater picks between two rows of pictures, not knowing which the unit likes.

Of the samples that were held out from naming, one row has those with the highest activations, the
other those of the middle of the range; no picture is shown twice for a unit. Control questions have
rows that a random direction of the same site ranks, unmarked. A theme that describes the unit is
answered correctly on the unit's questions, and at chance level on the controls.
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
from clerestory.microscope.themes import LENGTHS, Theme, Themes, clean_text, now

__all__ = ["Question", "Score", "next_question", "save_answer", "scores", "start_test"]

ROW_LENGTH = 4
"""Pictures of a row."""
MAX_QUESTIONS, MIN_QUESTIONS = 8, 4
"""Of the unit, at most and at least; half as many are of random directions."""
PROMPTS_PER_QUESTION = 3 * ROW_LENGTH
"""Held-out prompts that a question needs: a third of them at the top, a third in the middle."""


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
    """Answers about a theme: of the unit and of controls, each rater's first finished test.

    `p` is the one-sided binomial test against a coin, of the unit's own questions.
    """

    hits: int
    questions: int
    control_hits: int
    controls: int
    raters: int

    @property
    def rate(self) -> float | None:
        """How often the unit's row was picked; None where nobody answered."""
        return self.hits / self.questions if self.questions else None

    @property
    def p(self) -> float | None:
        """The chance of so many hits, or more, by a coin."""
        from scipy.stats import binomtest

        if not self.questions:
            return None
        return float(binomtest(self.hits, self.questions, 0.5, alternative="greater").pvalue)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "hits": self.hits,
            "questions": self.questions,
            "rate": self.rate,
            "p": self.p,
            "control_hits": self.control_hits,
            "controls": self.controls,
            "raters": self.raters,
        }


def start_test(
    microscope: Microscope, themes: Themes, theme: Theme, rater: str, *, seed: int | None = None
) -> str:
    """Make up a test, keep it, and say what it is called; by chance, or as a `seed` has it.

    ThemeError where too few samples were held out, for a rater without a name, and for who named
    the theme.

    Args:
        microscope: The microscope.
        themes: Where the test is stored.
        theme: The theme that is tested.
        rater: Who answers: another person than the one who named the theme.
        seed: Replays the choice of samples and their order; None draws one.

    Returns:
        The name of the test, 32 hexadecimal digits.

    Raises:
        ThemeError: Too few samples were held out, the rater has no name, or named the theme.
    """
    unit = microscope.named(theme.unit)
    rater = clean_text(rater)
    if not rater or len(rater) > LENGTHS["rater"]:
        raise ThemeError(f"Say who answers, in {LENGTHS['rater']} letters or fewer.")
    if rater.casefold() == theme.rater.casefold():
        raise ThemeError("Who named it knows what to look for: let somebody else be tested.")
    rng = np.random.default_rng(seed)
    samples = held_out_samples(microscope, unit)
    count = min(MAX_QUESTIONS, len(samples) // PROMPTS_PER_QUESTION)
    rows = _make_questions(unit, samples, None, count, rng)
    for control in rng.integers(2**31, size=count // 2):
        rows += _make_questions(unit, samples, int(control), 1, rng)
    test, rows_to_insert = uuid4().hex, []
    # Questions and controls in one random order: nothing about a question says which it is.
    for index in rng.permutation(len(rows)):
        control, high, middle = rows[index]
        correct = int(rng.integers(2))
        pair = (high, middle) if correct == 0 else (middle, high)
        first, second = (json.dumps([int(sample) for sample in row]) for row in pair)
        rows_to_insert.append(
            (uuid4().hex, test, theme.id, rater, control, first, second, correct, now())
        )
    with themes.open() as database:
        # All questions of a test or none: a test that is cut short would be scored as finished.
        database.execute("BEGIN IMMEDIATE")
        database.executemany(
            "INSERT INTO trials (key, test, theme, rater, control, first, second, answer, "
            "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows_to_insert,
        )
        database.execute("COMMIT")
    return test


def _make_questions(
    unit: Unit,
    samples: NDArray[np.integer],
    control: int | None,
    count: int,
    rng: np.random.Generator,
) -> list[tuple[int | None, NDArray[np.integer], NDArray[np.integer]]]:
    """So many questions: a row of the highest samples each, and one of those in the middle."""
    # Stable, so that a seed gives the same test on every machine.
    order = samples[np.argsort(-ranking_values(unit, samples, control), kind="stable")]
    need, half = count * ROW_LENGTH, len(order) // 2
    high, middle = order[:need], order[half - need // 2 : half - need // 2 + need]
    parts = (rng.permutation(part).reshape(count, ROW_LENGTH) for part in (high, middle))
    return [(control, first, second) for first, second in zip(*parts, strict=True)]


def held_out_samples(microscope: Microscope, unit: Unit) -> NDArray[np.integer]:
    """Samples that no page shows beside a unit, one of a prompt."""
    table = microscope.samples(unit.site.recording)
    hidden = table.loc[~table["named"]].drop_duplicates("prompt")
    if len(hidden) < MIN_QUESTIONS * PROMPTS_PER_QUESTION:
        raise ThemeError(
            f"{len(hidden)} prompts were held out; a blind test needs "
            f"{MIN_QUESTIONS * PROMPTS_PER_QUESTION}."
        )
    if microscope.picture(unit.site.recording, 0) is None:
        raise ThemeError("The recording has no pictures, and a blind test needs some.")
    return hidden.index.to_numpy()


def ranking_values(
    unit: Unit, samples: NDArray[np.integer], control: int | None
) -> NDArray[np.floating]:
    """The unit's values, or those along a random direction of its site, each unit standardized."""
    if control is None:
        return np.asarray(unit.figure("values")[samples], np.float64)
    values = unit.site.figure("values")[:, samples].astype(np.float64)
    # Infinite for units that never vary, so that they take no part in the direction.
    sd = values.std(1)
    direction = np.random.default_rng(control).normal(size=len(values)) / np.where(
        sd > 0, sd, np.inf
    )
    return np.asarray(direction @ values)


def next_question(themes: Themes, test: str) -> Question | None:
    """The next one of a test; None when all are answered. ThemeError for no such test.

    Args:
        themes: Where the test is stored.
        test: The name of the test.

    Returns:
        The first question without an answer, or None.

    Raises:
        ThemeError: There is no such test.
    """
    with themes.open() as database:
        rows = database.execute(
            "SELECT key, theme, first, second, picked FROM trials WHERE test = ? ORDER BY id",
            (test,),
        ).fetchall()
    if not rows:
        raise ThemeError("There is no such blind test.")
    for number, (key, theme, first, second, picked) in enumerate(rows):
        if picked is None:
            rows_shown = tuple(json.loads(first)), tuple(json.loads(second))
            return Question(key, test, themes.one(theme), rows_shown, number + 1, len(rows))
    return None


def save_answer(themes: Themes, key: str, picked: int) -> str:
    """Keep what a rater picked, once; the name of the test. ThemeError for what was not asked.

    Args:
        themes: Where the test is stored.
        key: The question.
        picked: 0 for the first row, 1 for the second.

    Returns:
        The name of the test.

    Raises:
        ThemeError: There is no such question, or `picked` is another number.
    """
    if picked not in (0, 1):
        raise ThemeError("Pick the first row, 0, or the second, 1.")
    with themes.open() as database:
        row = database.execute("SELECT test FROM trials WHERE key = ?", (key,)).fetchone()
        if row is None:
            raise ThemeError("There is no such question.")
        database.execute(
            # Only a question without an answer: going back in the browser changes nothing.
            "UPDATE trials SET picked = ?, picked_at = ? WHERE key = ? AND picked IS NULL",
            (picked, now(), key),
        )
    return str(row[0])


def scores(themes: Themes, *, unit: str | None = None, test: str | None = None) -> dict[int, Score]:
    """By theme, each rater's first finished test: all, or of a unit's themes.

    Or one test alone, finished or not.

    Args:
        themes: Where tests are stored.
        unit: Counts tests of this unit's themes only.
        test: Counts this test alone, finished or not.

    Returns:
        Scores by the theme's number in this database.
    """
    where = "test = ?" if test else "test NOT IN (SELECT test FROM trials WHERE picked IS NULL)"
    if unit:
        where += " AND theme IN (SELECT id FROM themes WHERE unit = ?)"
    with themes.open() as database:
        rows = database.execute(
            "SELECT theme, rater, SUM(control IS NULL AND picked = answer), SUM(control IS NULL), "
            "SUM(control IS NOT NULL AND picked = answer), SUM(control IS NOT NULL) "
            f"FROM trials WHERE {where} GROUP BY test ORDER BY MIN(id)",
            [value for value in (test, unit) if value],
        ).fetchall()
    first: dict[tuple[int, str], tuple[int, ...]] = {}
    for theme, rater, *counts in rows:
        # Rows come in the order of the tests: later tests of a rater, who has seen the answers, do
        # not count.
        first.setdefault((theme, rater.casefold()), tuple(counts))
    by_theme: dict[int, list[tuple[int, ...]]] = {}
    for (theme, _), counts in first.items():
        by_theme.setdefault(theme, []).append(tuple(counts))
    return {theme: _sum(counts) for theme, counts in by_theme.items()}


def _sum(counts: list[tuple[int, ...]]) -> Score:
    hits, questions, control_hits, controls = (sum(column) for column in zip(*counts, strict=True))
    return Score(hits, questions, control_hits, controls, len(counts))
