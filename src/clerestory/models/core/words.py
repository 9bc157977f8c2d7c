"""Where a word stands in a text, in any script and in any of Unicode's normal forms.

>>> [span for span in find_words("a cat in a cathedral", "cat")]
[(2, 5)]
>>> [span for span in find_words("一只猫在睡觉", "猫")]
[(2, 3)]
>>> [span for span in find_words("a cafe\\u0301", "caf\\u00e9")]
[(2, 7)]
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

__all__ = ["find_words", "select_occurrence"]

# Thai, Lao, Tibetan, Burmese, Khmer, Tai Le, kana, bopomofo, Han, Javanese and their extensions.
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u1b00-\u1b7f"
    "\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u3100-\u312f\u31a0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua980-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U0003fffd]"
)
"""Letters of scripts that put no spaces between words, so that a word has no mark of its ends."""
JOINERS = "\u200c\u200d_"


def find_words(text: str, word: str) -> Iterator[tuple[int, int]]:
    """Find every occurrence of a word, or of several words, in a text.

    Case and Unicode's normal form make no difference (NFKC: full-width letters are letters), any
    run of blanks is one. A word of a script with spaces is found as a whole, not within another;
    one of a script without them wherever it stands.

    Args:
        text: The text.
        word: The word.

    Yields:
        First and last character (exclusive) of each occurrence in the text as it was given.
    """
    wanted = "".join(letters for letters, *_ in _clusters(word)).strip()
    if not wanted:
        return
    folded, starts, ends = "", list[int](), list[int]()
    for letters, start, end in _clusters(text):
        folded += letters
        starts += [start] * len(letters)
        ends += [end] * len(letters)
    at = folded.find(wanted)
    while at >= 0:
        stop = at + len(wanted)
        if _is_edge(folded, at) and _is_edge(folded, stop):
            yield starts[at], ends[stop - 1]
        at = folded.find(wanted, at + 1)


def select_occurrence(
    spans: Iterator[tuple[int, int]], occurrence: int | None
) -> Iterator[tuple[int, int]]:
    """Of the places where a word stands, one or all.

    Args:
        spans: What `find_words` gives.
        occurrence: Which of them, from 0; None for all.

    Returns:
        The places; none where there are fewer.
    """
    return spans if occurrence is None else islice(spans, occurrence, occurrence + 1)


def _clusters(text: str) -> Iterator[tuple[str, int, int]]:
    """Parts of a text that are normalised by themselves: as NFKC without case, and where they are.

    A part ends where what follows does not change it, as an accent changes its letter.
    """
    start, blank = 0, True
    while start < len(text):
        end, letters = start + 1, _fold(text[start])
        while end < len(text):
            joined = _fold(text[start : end + 1])
            if joined == letters + _fold(text[end]) and not unicodedata.combining(text[end]):
                break
            end, letters = end + 1, joined
        if letters.isspace():
            # One blank for a run of them.
            yield ("" if blank else " "), start, end
            blank = True
        elif letters:
            yield letters, start, end
            blank = False
        start = end


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def _is_edge(text: str, at: int) -> bool:
    """Whether a word may begin or end between these letters."""
    if at in (0, len(text)):
        return True
    before, after = text[at - 1], text[at]
    # A vowel sign or an accent belongs to the letter before it, in any script.
    if unicodedata.category(after)[0] == "M" or after in "\u0e33\u0eb3":
        return False
    return not (_is_spaced(before) and _is_spaced(after))


def _is_spaced(letter: str) -> bool:
    """Whether it is a letter of a word in a script that puts spaces between words."""
    is_letter = letter.isalnum() or letter in JOINERS or unicodedata.category(letter)[0] == "M"
    return is_letter and UNSPACED.match(letter) is None
