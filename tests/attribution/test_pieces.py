import pytest

from clerestory.attribution import paraphrases, parse_pieces
from clerestory.errors import EvidenceError, PromptError


def said(prompt, present, absence="neutral"):
    return parse_pieces(prompt).text([bool(one) for one in present], absence)


THREE = "[alexandra elbakyan] with an [owl] in a [library]"


@pytest.mark.parametrize(
    ("present", "neutral", "deleted"),
    [
        ((1, 1, 1), "alexandra elbakyan with an owl in a library", None),
        ((0, 1, 1), "a person with an owl in a library", "with an owl in a library"),
        (
            (1, 0, 1),
            "alexandra elbakyan with a thing in a library",
            "alexandra elbakyan in a library",
        ),
        ((1, 1, 0), "alexandra elbakyan with an owl in a place", "alexandra elbakyan with an owl"),
        ((0, 0, 0), "a person with a thing in a place", ""),
    ],
)
def test_absent_pieces_have_a_stand_in_or_are_left_out(present, neutral, deleted):
    assert said(THREE, present) == neutral
    assert said(THREE, present, "delete") == (neutral if deleted is None else deleted)


@pytest.mark.parametrize(
    ("prompt", "absent"),
    [
        ("a picture of [an owl]", "a picture of a thing"),
        ("a cat in front of a [wall]", "a cat in front of a place"),
        ("a cat under [the moon]", "a cat under a place"),
        ("a [goth] person at night", "a person at night"),
        ("a [cat] next to a dog", "a thing next to a dog"),
        ("a [raven|small bird] in a library", "a small bird in a library"),
        ("[tycho brahe|somebody] smiles", "somebody smiles"),
        ("an [owl|duck], a drawing", "a duck, a drawing"),
    ],
)
def test_the_stand_in_goes_by_what_stands_before(prompt, absent):
    assert said(prompt, [0]) == absent


def test_without_brackets_words_are_pieces_and_are_left_out():
    asked = parse_pieces("two cats  sleep")
    assert [piece.words for piece in asked.pieces] == ["two", "cats", "sleep"]
    assert asked.text([True, False, True]) == "two sleep"


def test_letters_know_their_piece():
    letters = parse_pieces("a cat with a [raven], here").letters([False])
    assert "".join(letter for letter, owner in letters if owner == 0) == "thing"
    assert "".join(letter for letter, _ in letters) == "a cat with a thing, here"


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        ("a [] cat", "A bracket is empty"),
        ("a [ | thing] cat", "A bracket is empty"),
        ("[a [b] c]", "are nested"),
        ("a [cat", "is not closed"),
        ("a cat]", "was not opened"),
        ("  ", "The prompt is empty"),
    ],
)
def test_brackets_that_do_not_fit_are_told(prompt, problem):
    with pytest.raises(PromptError, match=problem):
        parse_pieces(prompt)


def test_paraphrases_differ_keep_the_pieces_and_begin_with_the_prompt():
    asked = parse_pieces(THREE)
    found = paraphrases(asked, 48)
    texts = [one.whole for one in found]
    assert texts[0] == asked.whole
    assert len(set(texts)) == 48
    assert all("alexandra elbakyan" in text and "owl" in text for text in texts)
    assert found == paraphrases(asked, 48)


def test_too_few_or_too_many_paraphrases_are_refused():
    asked = parse_pieces("[a cat]")
    with pytest.raises(EvidenceError, match="too few replicates"):
        paraphrases(asked, 19)
    with pytest.raises(EvidenceError, match="There are 21 paraphrases"):
        paraphrases(asked, 25)


def test_paraphrases_of_which_nothing_would_be_left_are_made_up_for():
    asked = parse_pieces("[a cat]")
    assert all(one.text([False], "delete") for one in paraphrases(asked, 20, absence=("delete",)))
    with pytest.raises(EvidenceError, match="There are 20 paraphrases"):
        paraphrases(asked, 24, absence=("neutral", "delete"))
