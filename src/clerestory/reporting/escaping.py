"""Escapes untrusted text for terminals, JSON and Markdown.

On pages, jinja2 escapes markup.
"""

from __future__ import annotations

import json
import re
from typing import Any

__all__ = ["markdown", "markdown_code", "plain", "to_json", "visible"]

CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""Control characters except tab and line feed, direction marks, surrogates and noncharacters."""
UNUSUAL = re.compile(r"[^\n -~]")


def visible(text: str) -> str:
    r"""The text with control characters escaped.

    Args:
        text: The text; tabs and line feeds stay.

    Returns:
        The text with `\xNN` and `\uNNNN` in place of control characters and direction marks.

    >>> print(visible("a\x1b[31m cat\u202e"))
    a\x1b[31m cat\u202e
    """
    return CONTROLS.sub(lambda match: _escape(match.group()), text)


def plain(text: str) -> str:
    """The text without control characters, which could otherwise steer the terminal.

    Args:
        text: The text; tabs and line feeds stay.

    Returns:
        The printable characters alone.

    >>> plain("a\\x1b[31mcat")
    'a[31mcat'
    """
    return "".join(letter for letter in text if letter.isprintable() or letter in "\n\t")


def to_json(value: Any) -> str:
    r"""Indented JSON with letters of all scripts as they are and control characters escaped.

    Args:
        value: What `json` can write; NaN and infinities are refused.

    Returns:
        The text, without a line feed at its end.

    Raises:
        ValueError: A number is not finite.

    >>> print(to_json("naïve\x9b\u202e"))
    "naïve\u009b\u202e"
    """
    # NaN is no JSON: most parsers refuse the whole file.
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return UNUSUAL.sub(lambda match: _printable(match.group()), text)


def markdown(text: object) -> str:
    r"""One line of text for Markdown and HTML, without markup and links.

    Args:
        text: Any value, which is converted by `str`.

    Returns:
        One line; blanks of any kind become single ones.

    >>> print(markdown("[a](b) <i> www.c.de https://c.de"))
    \[a\]\(b\) &lt;i> www&#46;c.de https:&#47;&#47;c.de
    """
    plain = visible(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;")
    plain = re.sub(r"([\\`*_\[\]()!|#~])", r"\\\1", plain)
    # Renderers turn bare addresses into links: entities look the same and are not recognized.
    unlinked = re.sub(r"(?i)(www)\.", r"\1&#46;", plain.replace("://", ":&#47;&#47;"))
    return re.sub(r"^([-+=>]|\d+(?=\.))", lambda match: _entities(match.group()), unlinked)


def markdown_code(text: object) -> str:
    """One line for a code span in backquotes, which it cannot close.

    Args:
        text: Any value, which is converted by `str`.

    Returns:
        One line without backquotes, nor bars, which would end a table's cell.
    """
    # A backquote would end the span, and a bar the cell of a table.
    return visible(" ".join(str(text).split())).replace("`", "'").replace("|", "/")


def _entities(text: str) -> str:
    return "".join(f"&#{ord(character)};" for character in text)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    # JSON escapes have four digits: above the basic plane `json` writes a pair of surrogates.
    return f"\\u{ord(character):04x}" if character < "\U00010000" else json.dumps(character)[1:-1]
