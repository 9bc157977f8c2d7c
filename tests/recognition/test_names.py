"""Made-up names, and lists of controls."""

from __future__ import annotations

import pytest

from clerestory.errors import EvidenceError
from clerestory.recognition.names import content_of, controls_of, like, made_up


def test_names_are_the_same_every_time_and_other_ones_by_another_seed():
    names = made_up(99, 2, seed=0)
    assert names == made_up(99, 2, seed=0)
    assert not set(names) & set(made_up(99, 2, seed=1))
    assert names[:2] == ("fipezou famou", "narokon skaibrut"), "kept controls must stay of use"


@pytest.mark.parametrize("words", [1, 2, 5])
def test_names_differ_and_have_as_many_words_as_are_asked_for(words):
    names = made_up(199, words)
    assert len(set(names)) == 199
    assert {len(name.split()) for name in names} == {words}


def test_a_word_that_is_barred_is_in_no_name_and_the_others_stay():
    names = made_up(99, 2)
    barred = names[3].split()[0]
    less = made_up(98, 2, without=[barred.upper()])
    assert less == tuple(name for name in names if barred not in name.split())


def test_a_name_takes_the_form_of_the_phrase():
    assert like("bofesh dralpi", "william of ockham") == "bofesh of dralpi"
    assert like("bofesh dralpi", "Van der Berg Lee") == "Van der Bofesh Dralpi"
    assert content_of("The of") == ["the", "of"], "small words alone are a name"
    assert like("bofesh dralpi", "The of") == "Bofesh dralpi"
    assert like("bofesh", "a moose") == "a bofesh"


def test_listed_controls_are_other_names_each_once():
    assert controls_of(["tycho brahe"], ["kel mor", "vis ta"]) == ("kel mor", "vis ta")
    with pytest.raises(EvidenceError, match="'Kel  mor' is there twice"):
        controls_of(["tycho brahe"], ["kel mor", "Kel  mor"])
    with pytest.raises(EvidenceError, match="is the phrase itself"):
        controls_of(["Tycho Brahe"], ["kel mor", "tycho brahe"])
