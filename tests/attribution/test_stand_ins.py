"""What a prompt says without its pieces: stand-ins, articles, what is left out."""

import pytest

from clerestory.attribution import parse_pieces
from clerestory.errors import PromptError


@pytest.mark.parametrize(
    ("prompt", "neutral"),
    [
        ("a [goth] [girl] in a [library]", "a thing in a place"),
        ("a [big] [red] ball", "a ball"),
        ("[red] ravens", "ravens"),
        ("a raven in [paris]", "a raven in a place"),
        ("a picture of two [ravens] in a [library]", "a picture in a place"),
        ("a big black [raven] in a [library]", "a big black thing in a place"),
        ("[alexandra elbakyan] with a [raven]", "a person with a thing"),
        ("[alexandra elbakyan] reading a [book]", "a person reading a thing"),
        ("[alexandra elbakyan] reading [poems]", "a person reading a thing"),
        ("[frida kahlo], a drawing", "a person, a drawing"),
        ("[tycho brahe] by [rembrandt]", "a person by a person"),
        ("an [orange] cat", "a cat"),
        ("a [small] owl", "an owl"),
        ("an [orange] [big] cat", "a cat"),
        ("An [owl] sits", "A thing sits"),
        ("An [old] cat", "A cat"),
        ("a [big] uniform", "a uniform"),
        ("with a [raven|] in a library", "in a library"),
        ("a cat with a [raven|], a drawing", "a cat, a drawing"),
        ("a [goth|] person", "a person"),
        ("a [raven|old owl] here", "an old owl here"),
    ],
)
def test_without_its_pieces_a_prompt_makes_sense(prompt, neutral):
    asked = parse_pieces(prompt)
    assert asked.text([False] * len(asked.pieces)) == neutral


def test_a_piece_beside_one_that_is_absent_keeps_its_words():
    asked = parse_pieces("an [orange] [girl] in a [library]")
    assert asked.text([True, False, True]) == "an orange thing in a library"
    assert asked.text([False, True, True]) == "a girl in a library"
    assert asked.text([True, True, True]) == asked.whole == "an orange girl in a library"


def test_letters_know_which_words_they_are_of():
    letters = parse_pieces("an [old] cat with a [raven]").letters([False, False], "delete")
    assert "".join(letter for letter, _ in letters) == "a cat"
    assert [owner for letter, owner in letters if letter in "acat"] == [-1, -2, -2, -2]


def test_a_second_bar_is_refused():
    with pytest.raises(PromptError, match=r"^\[a\|b\|c\] has two bars: [^\n]*$"):
        parse_pieces("with [a|b|c]")
