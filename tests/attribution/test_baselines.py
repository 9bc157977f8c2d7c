"""What a prompt says without its pieces: baselines, articles, what is left out."""

import pytest

from clerestory.attribution import parse_pieces
from clerestory.errors import PromptError


@pytest.mark.parametrize(
    ("prompt", "baseline"),
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
def test_without_its_pieces_a_prompt_makes_sense(prompt, baseline):
    prompt = parse_pieces(prompt)
    assert prompt.text([False] * len(prompt.pieces)) == baseline


def test_a_piece_beside_one_that_is_absent_keeps_its_words():
    prompt = parse_pieces("an [orange] [girl] in a [library]")
    assert prompt.text([True, False, True]) == "an orange thing in a library"
    assert prompt.text([False, True, True]) == "a girl in a library"
    assert prompt.text([True, True, True]) == prompt.full_text == "an orange girl in a library"


def test_characters_know_which_words_they_are_of():
    characters = parse_pieces("an [old] cat with a [raven]").characters([False, False], "delete")
    assert "".join(character for character, _ in characters) == "a cat"
    assert [owner for character, owner in characters if character in "acat"] == [-1, -2, -2, -2]


def test_a_second_bar_is_refused():
    with pytest.raises(PromptError, match=r"^\[a\|b\|c\] has two bars: [^\n]*$"):
        parse_pieces("with [a|b|c]")
