"""Blind tests of themes: raters pick the row of pictures that a theme describes better.

One row has the held-out samples with the highest activations of the unit, the other samples from
the middle of its range; no picture is shown twice for a unit. In control questions a random
direction of the same site ranks the samples, which the rater is not told. With a theme that
describes the unit, answers are correct on the unit's questions, and at chance level on controls.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
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
"""Questions of the unit; the controls are half as many."""
PROMPTS_PER_QUESTION = 3 * ROW_LENGTH
"""Held-out prompts for each question: a third of them at the top, a third in the middle."""


@dataclass(frozen=True)
class Question:
    """A question of a blind test.

    Attributes:
        key: Identifies the question.
        test: The name of the test.
        theme: The theme that is tested.
        rows: Two rows of sample numbers, in the order of the page.
        number: The number of the question in the test, from 1.
        total: Number of questions in the test.
    """

    key: str
    test: str
    theme: Theme
    rows: tuple[tuple[int, ...], tuple[int, ...]]
    number: int
    total: int


@dataclass(frozen=True)
class Score:
    """Answers about a theme, in the first finished test of each rater.

    Attributes:
        hits: Correct answers to the unit's questions.
        questions: Number of the unit's questions.
        control_hits: Correct answers to control questions.
        controls: Number of control questions.
        raters: Number of raters.
    """

    hits: int
    questions: int
    control_hits: int
    controls: int
    raters: int

    @property
    def rate(self) -> float | None:
        """The share of correct answers to the unit's questions; None without answers."""
        return self.hits / self.questions if self.questions else None

    @property
    def p(self) -> float | None:
        """One-sided p of the binomial test of the unit's questions against a coin."""
        from scipy.stats import binomtest

        if not self.questions:
            return None
        return float(binomtest(self.hits, self.questions, 0.5, alternative="greater").pvalue)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "rate": self.rate, "p": self.p}


def start_test(
    microscope: Microscope, themes: Themes, theme: Theme, rater: str, *, seed: int | None = None
) -> str:
    """Draw the questions of a test and store them.

    Args:
        microscope: The microscope.
        themes: The database that stores the test.
        theme: The theme to test.
        rater: The person who answers, not the one who named the theme.
        seed: Replays the choice of samples and their order; None draws one.

    Returns:
        The name of the test, 32 hexadecimal digits.

    Raises:
        ThemeError: Too few samples are held out, or the rater has no name, or named the theme.
    """
    unit = microscope.named(theme.unit)
    rater = clean_text(rater)
    if not rater or len(rater) > LENGTHS["rater"]:
        raise ThemeError(f"Give the rater's name, in {LENGTHS['rater']} letters or fewer.")
    # Whoever named the unit has seen its pictures, and would recognise what the name stands for.
    if rater.casefold() == theme.rater.casefold():
        raise ThemeError("The rater named this theme: let somebody else be tested.")
    rng = np.random.default_rng(seed)
    samples = held_out_samples(microscope, unit)
    count = min(MAX_QUESTIONS, len(samples) // PROMPTS_PER_QUESTION)
    rows = _make_questions(unit, samples, None, count, rng)
    # The number seeds a random direction and is stored with the answers, so
    # that a test can be checked.
    for control in rng.integers(2**31, size=count // 2):
        rows += _make_questions(unit, samples, int(control), 1, rng)
    test, rows_to_insert = uuid4().hex, []
    # Questions and controls in one random order, so that a rater cannot tell them apart.
    for index in rng.permutation(len(rows)):
        control, high, middle = rows[index]
        correct = int(rng.integers(2))
        pair = (high, middle) if correct == 0 else (middle, high)
        first, second = (json.dumps([int(sample) for sample in row]) for row in pair)
        rows_to_insert.append(
            (uuid4().hex, test, theme.id, rater, control, first, second, correct, now())
        )
    with themes.open() as database:
        # All questions of a test or none: an incomplete test would be scored as finished.
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
    """`count` questions, each with a row of the highest samples and one from the middle."""
    # Stable, so that a seed gives the same test on every machine.
    order = samples[np.argsort(-ranking_values(unit, samples, control), kind="stable")]
    # From the middle of the ranking: the lowest may be extreme in another way.
    need, half = count * ROW_LENGTH, len(order) // 2
    high, middle = order[:need], order[half - need // 2 : half - need // 2 + need]
    parts = (rng.permutation(part).reshape(count, ROW_LENGTH) for part in (high, middle))
    return [(control, first, second) for first, second in zip(*parts, strict=True)]


def held_out_samples(microscope: Microscope, unit: Unit) -> NDArray[np.integer]:
    """Samples that no page shows, one of each prompt.

    Args:
        microscope: The microscope.
        unit: A unit of the recording.

    Returns:
        Sample numbers, `[sample]`.

    Raises:
        ThemeError: There are too few, or the recording has no pictures.
    """
    table = microscope.samples(unit.site.recording)
    # One of each prompt, since seeds of a prompt give the answer away.
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
    """Values to rank samples by: of the unit, or of a random direction of its site.

    Args:
        unit: The unit.
        samples: Sample numbers, `[sample]`.
        control: The seed of the direction, whose units are standardized; None for the unit itself.

    Returns:
        `[sample]`.
    """
    if control is None:
        return np.asarray(unit.figure("values")[samples], np.float64)
    values = unit.site.figure("values")[:, samples].astype(np.float64)
    # Infinite for constant units, so that their part of the direction is zero.
    sd = values.std(1)
    direction = np.random.default_rng(control).normal(size=len(values)) / np.where(
        sd > 0, sd, np.inf
    )
    return np.asarray(direction @ values)


def next_question(themes: Themes, test: str) -> Question | None:
    """The next question of a test.

    Args:
        themes: The database that stores the test.
        test: The name of the test.

    Returns:
        The first question without an answer; None if all are answered.

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
            pair = tuple(json.loads(first)), tuple(json.loads(second))
            return Question(key, test, themes.get(theme), pair, number + 1, len(rows))
    return None


def save_answer(themes: Themes, key: str, picked: int) -> str:
    """Store an answer, unless the question has one.

    Args:
        themes: The database that stores the test.
        key: The key of the question.
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
    """Scores of themes, over the first finished test of each rater.

    Args:
        themes: The database that stores tests.
        unit: Counts only tests of this unit's themes.
        test: Counts only this test, finished or not.

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
        # Rows are in the order of the tests: in later tests the rater has seen the pictures before.
        first.setdefault((theme, rater.casefold()), tuple(counts))
    by_theme: dict[int, list[tuple[int, ...]]] = {}
    for (theme, _), counts in first.items():
        by_theme.setdefault(theme, []).append(tuple(counts))
    return {theme: _sum(counts) for theme, counts in by_theme.items()}


def _sum(counts: list[tuple[int, ...]]) -> Score:
    hits, questions, control_hits, controls = (sum(column) for column in zip(*counts, strict=True))
    return Score(hits, questions, control_hits, controls, len(counts))
