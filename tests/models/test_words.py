"""A word is found as people see it: in any script, in any normal form, and not within another."""

from __future__ import annotations

import unicodedata

import pytest
from tiny import tiny_model

from clerestory.errors import PromptError
from clerestory.models.core.words import find_words

FOUND = [
    ("a cat in a cathedral", "cat", ["cat"]),
    ("A Cat, a cat", "CAT", ["Cat", "cat"]),
    ("一只猫在睡觉", "猫", ["猫"]),
    ("一只大花猫", "花猫", ["花猫"]),
    ("一只cat在睡觉", "cat", ["cat"]),
    ("ねこがねている", "ねこ", ["ねこ"]),
    ("แมวนอนบนเตียง", "แมว", ["แมว"]),
    ("ມີແມວ", "ແມວ", ["ແມວ"]),
    ("고양이 한 마리", "고양이", ["고양이"]),
    ("고양이가 잔다", "고양이", []),  # Korean puts spaces: this is another word form
    ("बिल्ली सोती है", "बिल", []),  # within a word, before a vowel sign
    ("बिल्ली सोती है", "बिल्ली", ["बिल्ली"]),
    ("ที่กำ", "ที", []),  # the tone mark belongs to the letter before it
    ("cafe\u0301 noir", "caf\u00e9", ["cafe\u0301"]),
    ("caf\u00e9 noir", "cafe\u0301", ["caf\u00e9"]),
    ("cafe\u0301 noir", "cafe", []),  # another word, whatever its bytes begin with
    ("a ｃａｔ", "cat", ["ｃａｔ"]),
    ("an oﬃce", "office", ["oﬃce"]),
    ("Straße", "STRASSE", ["Straße"]),
    ("stained \n  glass", "stained glass", ["stained \n  glass"]),
    ("stained\u00a0glass", "stained glass", ["stained\u00a0glass"]),
    ("a cat\u2028a dog", "cat", ["cat"]),
    ("a cat\u0085a dog", "dog", ["dog"]),
    ("snake_case case", "case", ["case"]),
    ("a cat", "  ", []),
    ("", "cat", []),
]


@pytest.mark.parametrize(("text", "word", "expected"), FOUND)
def test_a_word_is_found_where_a_reader_sees_it(text: str, word: str, expected: list[str]) -> None:
    assert [text[first:last] for first, last in find_words(text, word)] == expected


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("word", ["café", "고양이", "naïve", "がく", "Ångström", "việt"])
def test_every_normal_form_of_a_word_is_the_word(form: str, word: str) -> None:
    for other in ("NFC", "NFD"):
        text = f"a {unicodedata.normalize(other, word)} x"
        (span,) = find_words(text, unicodedata.normalize(form, word))  # type: ignore[arg-type]
        assert text[slice(*span)] == unicodedata.normalize(other, word)


@pytest.mark.parametrize(("prompt", "word"), [("一只猫在", "猫"), ("a cafe\u0301 x", "café")])
def test_the_tokens_of_a_word_of_any_script_are_read(prompt: str, word: str) -> None:
    model = tiny_model()
    site = "text.blocks.0/mlp"
    options = {"pictures": False, "progress": False}
    every = model.run(prompt, read=site, pool="none", **options).read(site).values[0, 0]
    of_word = model.run(prompt, read=site, pool=f"tokens:{word}", **options).read(site).values[0, 0]
    # By hand: the bytes of the text before the word and of the word, after the start token.
    normal = unicodedata.normalize("NFC", prompt)
    before, after = normal[: normal.index(word)], normal[: normal.index(word) + len(word)]
    first, last = (1 + len(model.tokenize(part)) for part in (before, after))
    assert last > first
    assert of_word == pytest.approx(every[first:last].mean(0), abs=1e-5)


@pytest.mark.parametrize("mark", ["\ufeff", "\0"])
def test_a_prompt_with_a_byte_order_mark_is_refused_with_the_way_to_read_its_file(
    mark: str,
) -> None:
    with pytest.raises(PromptError, match=r"byte order mark.*encoding='utf-8-sig'"):
        tiny_model().run(f"{mark}a cat", pictures=False, progress=False)
