"""Themes are kept, never changed, and come through a file as they were."""

import json
import sqlite3
import threading
import time

import pytest

from clerestory.errors import ThemeError
from clerestory.microscope.themes import LockedError, Themes, agreement

UNIT = "text.blocks.1/mlp[3]"


@pytest.fixture
def themes(tmp_path):
    return Themes(tmp_path / "themes.sqlite")


def test_themes_are_kept_in_the_order_in_which_they_were_said(themes, tmp_path):
    themes.add(UNIT, " stained   glass\n", rater="ada", confidence=4, note="panes")
    themes.add(UNIT, "windows", rater="bo")
    again = Themes(tmp_path / "themes.sqlite").of(UNIT)
    assert [(one.text, one.rater, one.confidence) for one in again] == [
        ("stained glass", "ada", 4),
        ("windows", "bo", 3),
    ]
    assert themes.search("GLASS")[0].text == "stained glass" and not themes.search("%")
    assert themes.counts() == {UNIT: 2}


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"text": " ", "rater": "ada"}, "must not be empty"),
        ({"text": "glass", "rater": ""}, "must not be empty"),
        ({"text": "g" * 201, "rater": "ada"}, "201 letters"),
        ({"text": "glass", "rater": "ada", "confidence": 6}, "1 to 5"),
    ],
)
def test_what_is_no_theme_is_refused(themes, said, problem):
    with pytest.raises(ThemeError, match=problem):
        themes.add(UNIT, said.pop("text"), **said)


def test_export_and_import_keep_everything_and_add_nothing_twice(themes, tmp_path):
    themes.add(UNIT, "glass — „Fenster“", rater="ada", note="a\nb\u2028c")
    lines = list(themes.export())
    other = Themes(tmp_path / "other.sqlite")
    assert other.import_lines(lines, [UNIT]) == 1 and other.import_lines(lines, [UNIT]) == 0
    assert list(other.export()) == lines


@pytest.mark.parametrize("line", ["{", "[]", '{"text": 3}', "null"])
def test_an_import_is_whole_or_not_at_all(themes, line):
    good = json.dumps(Themes.add(themes, UNIT, "glass", rater="ada").to_dict())
    good = good.replace('"key": "', '"key": "0')
    with pytest.raises(ThemeError, match="Line 2"):
        themes.import_lines([good, line], [UNIT])
    with pytest.raises(ThemeError, match="no unit"):
        themes.import_lines([good.replace("mlp[3]", "mlp[4]")], [UNIT])
    assert len(themes.all()) == 1


def test_pairs_of_raters_agree_by_their_last_words(themes):
    for rater, text in (("ada", "fog"), ("bo", "Glass, stained"), ("ada", "a stained glass")):
        themes.add(UNIT, text, rater=rater)
    themes.add(UNIT, "dusk", rater="cy")
    assert agreement(themes.of(UNIT)) == (1, 3)


def test_many_threads_lose_nothing(themes):
    def write(rater):
        for number in range(25):
            themes.add(UNIT, f"theme {number}", rater=rater)

    threads = [threading.Thread(target=write, args=(f"r{at}",)) for at in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len({(one.rater, one.text) for one in themes.all()}) == 100


def test_a_backup_opens_and_a_newer_file_is_refused(themes, tmp_path):
    themes.add(UNIT, "glass", rater="ada")
    themes.backup(tmp_path / "copy.sqlite")
    assert Themes(tmp_path / "copy.sqlite").all() == themes.all()
    with pytest.raises(ThemeError, match="there already"):
        themes.backup(tmp_path / "copy.sqlite")
    database = sqlite3.connect(tmp_path / "copy.sqlite")
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(ThemeError, match="newer version"):
        Themes(tmp_path / "copy.sqlite")
    (tmp_path / "text").write_text("no database at all, but some words" * 99)
    with pytest.raises(ThemeError, match="not a database"):
        Themes(tmp_path / "text")


def test_a_locked_database_is_an_error_of_its_own_within_the_time_to_wait(tmp_path):
    themes = Themes(tmp_path / "themes.sqlite", timeout=0.1)
    other = sqlite3.connect(tmp_path / "themes.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    started = time.monotonic()
    with pytest.raises(LockedError, match="locked by another program: try again"):
        themes.add(UNIT, "glass", rater="ada")
    assert time.monotonic() - started < 2
    assert themes.of(UNIT) == [], "who reads does not wait for who writes"
    other.execute("COMMIT")
    assert themes.add(UNIT, "glass", rater="ada").text == "glass"
    other.close()
