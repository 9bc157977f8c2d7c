"""Invented names, and lists of controls."""

from __future__ import annotations

import pytest

from clerestory.errors import EvidenceError
from clerestory.recognition.names import check_controls, content_words, invent_names, match_form


def test_names_are_the_same_every_time_and_other_ones_by_another_seed():
    names = invent_names(99, 2, seed=0)
    assert names == invent_names(99, 2, seed=0)
    assert not set(names) & set(invent_names(99, 2, seed=1))
    assert names[:2] == ("fipezou famou", "narokon skaibrut"), "stored controls stay valid"


@pytest.mark.parametrize("words", [1, 2, 5])
def test_names_differ_and_have_as_many_words_as_are_asked_for(words):
    names = invent_names(199, words)
    assert len(set(names)) == 199
    assert {len(name.split()) for name in names} == {words}


def test_a_word_that_is_excluded_is_in_no_name_and_the_others_stay():
    names = invent_names(99, 2)
    excluded = names[3].split()[0]
    less = invent_names(98, 2, exclude=[excluded.upper()])
    assert less == tuple(name for name in names if excluded not in name.split())


def test_a_name_takes_the_form_of_the_phrase():
    assert match_form("bofesh dralpi", "william of ockham") == "bofesh of dralpi"
    assert match_form("bofesh dralpi", "Van der Berg Lee") == "Van der Bofesh Dralpi"
    assert content_words("The of") == ["the", "of"], "small words alone are a name"
    assert match_form("bofesh dralpi", "The of") == "Bofesh dralpi"
    assert match_form("bofesh", "a moose") == "a bofesh"


def test_listed_controls_are_other_names_each_once():
    assert check_controls(["tycho brahe"], ["kel mor", "vis ta"]) == ("kel mor", "vis ta")
    with pytest.raises(EvidenceError, match="'Kel  mor' is listed twice"):
        check_controls(["tycho brahe"], ["kel mor", "Kel  mor"])
    with pytest.raises(EvidenceError, match="is the phrase itself"):
        check_controls(["Tycho Brahe"], ["kel mor", "tycho brahe"])
