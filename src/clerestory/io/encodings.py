"""Decoding of UTF-8; the error for another encoding names it and the command that converts it."""

from __future__ import annotations

import codecs

from clerestory.errors import ClerestoryError

__all__ = ["decode_text"]

# The longer ones first: that of UTF-32 begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
FOREIGN = ("WINDOWS-1252", "SHIFT_JIS", "GB18030", "BIG5", "EUC-KR", "KOI8-R")
"""Names for `iconv` of encodings that are common in files, the first for most languages."""
SAMPLE = 2**16
"""Bytes from which an encoding without a byte order mark is guessed."""


def decode_text(raw: bytes, source: object, error: type[ClerestoryError]) -> str:
    """Decode UTF-8, without the byte order mark that some editors put at the beginning.

    Args:
        raw: Content of a file.
        source: The file, for the message.
        error: Class of the error.

    Returns:
        The text.

    Raises:
        ClerestoryError: Of class `error`, if it is not UTF-8, or has NUL characters, as UTF-16 read
            as UTF-8 has.

    >>> decode_text(b"a caf\\xc3\\xa9", "it", ClerestoryError)
    'a café'
    """
    name = next((name for mark, name in MARKS.items() if raw.startswith(mark)), "")
    name = name or _wide_encoding(raw[:SAMPLE])
    if not name:
        try:
            return raw.decode("utf-8-sig")
        except UnicodeDecodeError as reason:
            at = f"byte {reason.start:,}"
        guess = f"{FOREIGN[0]} or {', '.join(FOREIGN[1:-1])}, …"
        raise error(
            f"{source} is not UTF-8 (at {at}): it was altered, or is in another encoding, such as "
            f"{guess}. Save it as UTF-8, or convert it: iconv -f {FOREIGN[0]} -t UTF-8 OLD > NEW."
        )
    raise error(
        f"{source} is not UTF-8: it seems to be {name}. Save it as UTF-8, or convert it: "
        f"iconv -f {name} -t UTF-8 OLD > NEW."
    )


def _wide_encoding(raw: bytes) -> str:
    """The encoding of several bytes a letter that a text without a mark has; "" for none.

    Blanks, digits and line ends have bytes 0 there, which no text in UTF-8 has.
    """
    zeros = [raw[at::4].count(0) for at in range(4)]
    if not sum(zeros):
        return ""
    # Of four bytes three are 0 in UTF-32, and two in UTF-16.
    if sorted(zeros)[1] > len(raw) / 8:
        return "UTF-32LE" if zeros[0] < zeros[3] else "UTF-32BE"
    return "UTF-16LE" if zeros[0] + zeros[2] < zeros[1] + zeros[3] else "UTF-16BE"
