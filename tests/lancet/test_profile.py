import pytest

from lancet.items import contents
from lancet.profile import LancetProfile

pytestmark = pytest.mark.weights
PROFILE = LancetProfile()


def test_classifiers_are_those_of_every_factor():
    from clerestory.classifiers import load_classifier

    assert PROFILE.classifiers["style"] == "lancet:style"
    for factor, name in PROFILE.classifiers.items():
        assert load_classifier(name).factor == factor


def test_labels_are_worded_as_captions_word_them():
    assert PROFILE.template("lancet:style", "stained glass") == "a stained glass of {item}"
    assert PROFILE.template("colour:tint", "blue") == "{item}, blue"
    levels = PROFILE.classifiers
    assert all("{item}" in PROFILE.template(name, "no such label") for name in levels.values())


def test_items_name_neither_the_factor_nor_a_style():
    assert PROFILE.items(6, "lancet:place", 2) == contents(6, "place", "style", start=2)
    assert PROFILE.items(4) == contents(4, "style")
    assert PROFILE.items(4, "lancet:mood") == contents(4, "mood", "style", people=True)


def test_captions_are_many_and_of_lancets_world():
    captions = PROFILE.captions()
    assert len(captions) == 8000
    assert any("stained glass" in caption for caption in captions)


def test_known_names_are_those_of_people_with_a_look_of_their_own() -> None:
    assert {"tycho brahe", "hermione granger"} <= set(PROFILE.known_names())
    assert len(set(PROFILE.known_names())) == 14


def test_the_vocabulary_of_captions_is_known_by_name() -> None:
    from clerestory.maximization.vocabularies import caption_bigrams, vocabulary_words

    words = vocabulary_words("lancet")
    bigrams = caption_bigrams(PROFILE)
    assert bigrams is not None and set(words) < set(bigrams.words)
    assert "cat" in words and words == sorted(words)
