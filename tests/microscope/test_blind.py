"""Blind tests: what is shown was held out, and who knows the answer has all hits."""

import numpy as np
import pytest
from scipy import stats

from clerestory.errors import ThemeError
from clerestory.microscope import Microscope, Themes, blind
from clerestory.microscope.blind import MAX_QUESTIONS, Score, scores
from microscope.conftest import MLP

CONTROLS = MAX_QUESTIONS // 2


@pytest.fixture
def looked(scope):
    microscope, themes = Microscope(scope), Themes(scope / "themes.sqlite")
    theme = themes.add(f"{MLP}[3]", "cats", rater="ada")
    return microscope, themes, theme


def answered(microscope, themes, test, picks):
    """Answer by what the unit's values say, if `picks` is `unit`, else the same row always."""
    values = microscope.named(f"{MLP}[3]").figure("values")
    while (asked := blind.next_question(themes, test)) is not None:
        one, two = (values[list(row)].mean() for row in asked.rows)
        blind.save_answer(themes, asked.key, int(two > one) if picks == "unit" else picks)


def test_rows_are_held_out_samples_high_and_in_the_middle(looked):
    microscope, themes, theme = looked
    test = blind.start_test(microscope, themes, theme, "bo", seed=0)
    table = microscope.samples(0)
    with themes.open() as database:
        rows = database.execute("SELECT control, first, second, answer FROM trials").fetchall()
    assert len(rows) == MAX_QUESTIONS + CONTROLS
    assert sum(row[0] is not None for row in rows) == CONTROLS
    values = microscope.named(theme.unit).figure("values")
    own = [one for control, *row, _ in rows if control is None for one in eval("+".join(row))]
    assert len(own) == len(set(own)) == MAX_QUESTIONS * 8
    for control, first, second, right in rows:
        shown = [np.array(eval(row)) for row in (first, second)]
        assert len({*shown[0], *shown[1]}) == 8
        assert not table["named"].iloc[np.concatenate(shown)].any()
        if control is None:
            assert values[shown[right]].min() > values[shown[1 - right]].max()
    assert blind.next_question(themes, test).total == MAX_QUESTIONS + CONTROLS


def test_who_sees_what_the_unit_likes_has_all_hits(looked):
    microscope, themes, theme = looked
    test = blind.start_test(microscope, themes, theme, "bo", seed=0)
    assert scores(themes) == {}  # a test that is not at its end does not count
    answered(microscope, themes, test, "unit")
    score = scores(themes)[theme.id]
    assert (score.hits, score.questions, score.controls, score.raters) == (8, 8, 4, 1)
    assert score.p == pytest.approx(0.5**8) and score.rate == 1


def test_who_picks_the_same_row_always_is_at_chance(looked):
    microscope, themes, theme = looked
    for seed in range(12):
        test = blind.start_test(microscope, themes, theme, f"r{seed}", seed=seed)
        answered(microscope, themes, test, 0)
    score = scores(themes)[theme.id]
    assert 30 <= score.hits <= 66 and (score.questions, score.raters) == (96, 12)
    assert score.p == pytest.approx(stats.binom.sf(score.hits - 1, 96, 0.5))


def test_a_rater_counts_once_whatever_the_case_and_never_for_a_theme_of_their_own(looked):
    microscope, themes, theme = looked
    for rater, picks in (("Bo", "unit"), ("bo", 0)):
        test = blind.start_test(microscope, themes, theme, rater, seed=1)
        answered(microscope, themes, test, picks)
    assert (scores(themes)[theme.id].hits, scores(themes)[theme.id].raters) == (8, 1)
    with pytest.raises(ThemeError, match="somebody else"):
        blind.start_test(microscope, themes, theme, "ADA")


def test_an_answer_counts_once_and_only_for_what_was_asked(looked):
    microscope, themes, theme = looked
    test = blind.start_test(microscope, themes, theme, "bo", seed=0)
    asked = blind.next_question(themes, test)
    blind.save_answer(themes, asked.key, 0)
    blind.save_answer(themes, asked.key, 1)
    with themes.open() as database:
        kept = database.execute("SELECT picked FROM trials WHERE key = ?", (asked.key,)).fetchone()
    assert kept == (0,)
    for call in (
        lambda: blind.save_answer(themes, "none", 0),
        lambda: blind.save_answer(themes, asked.key, 2),
        lambda: blind.next_question(themes, "none"),
        lambda: blind.start_test(microscope, themes, theme, " "),
    ):
        with pytest.raises(ThemeError):
            call()


def test_nothing_answered_has_no_p():
    assert Score(0, 0, 0, 0, 0).p is None and Score(0, 0, 0, 0, 0).to_dict()["rate"] is None
