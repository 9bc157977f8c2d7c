import pytest

from clerestory.attribution import paraphrase, parse_pieces
from clerestory.attribution.paraphrases import TEMPLATES
from clerestory.errors import EvidenceError, PromptError


def said(prompt, present, removal="baseline"):
    return parse_pieces(prompt).text([bool(one) for one in present], removal)


THREE = "[alexandra elbakyan] with an [owl] in a [library]"


@pytest.mark.parametrize(
    ("present", "baseline", "deleted"),
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
def test_removed_pieces_are_replaced_or_deleted(present, baseline, deleted):
    assert said(THREE, present) == baseline
    assert said(THREE, present, "delete") == (baseline if deleted is None else deleted)


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
def test_the_baseline_follows_from_the_words_before(prompt, absent):
    assert said(prompt, [0]) == absent


def test_without_brackets_words_are_pieces_and_are_left_out():
    prompt = parse_pieces("two cats  sleep")
    assert [piece.words for piece in prompt.pieces] == ["two", "cats", "sleep"]
    assert prompt.text([True, False, True]) == "two sleep"


def test_letters_know_their_piece():
    characters = parse_pieces("a cat with a [raven], here").characters([False])
    assert "".join(character for character, owner in characters if owner == 0) == "thing"
    assert "".join(character for character, _ in characters) == "a cat with a thing, here"


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
    prompt = parse_pieces(THREE)
    found = paraphrase(prompt, 48)
    texts = [one.full_text for one in found]
    assert texts[0] == prompt.full_text
    assert len(set(texts)) == 48
    assert all("alexandra elbakyan" in text and "owl" in text for text in texts)
    assert found == paraphrase(prompt, 48)


def test_too_few_or_too_many_paraphrases_are_refused():
    prompt = parse_pieces("[a cat]")
    with pytest.raises(EvidenceError, match="too few replicates"):
        paraphrase(prompt, 19)
    with pytest.raises(EvidenceError, match=f"There are {len(TEMPLATES)} paraphrases"):
        paraphrase(prompt, 90)


def test_paraphrases_of_which_nothing_would_be_left_are_made_up_for():
    prompt = parse_pieces("[a cat]")
    assert all(one.text([False], "delete") for one in paraphrase(prompt, 20, removal=("delete",)))
    with pytest.raises(EvidenceError, match=f"There are {len(TEMPLATES) - 1} paraphrases"):
        paraphrase(prompt, 90, removal=("baseline", "delete"))
