"""Text from outside, for people to see: it steers no terminal, no reader's eye and no renderer.

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
"""All but tabs and line feeds; what turns the direction of text; what no file can hold."""
UNUSUAL = re.compile(r"[^\n -~]")


def visible(text: str) -> str:
    r"""The text with control characters spelt out.

    Args:
        text: The text; tabs and line feeds stay.

    Returns:
        The text with `\xNN` and `\uNNNN` in place of what is invisible or steers.

    >>> print(visible("a\x1b[31m cat\u202e"))
    a\x1b[31m cat\u202e
    """
    return CONTROLS.sub(lambda found: _spelt(found.group()), text)


def plain(text: str) -> str:
    """The text without control characters, which could otherwise steer the terminal.

    Args:
        text: The text; tabs and line feeds stay.

    Returns:
        The printable characters alone.

    >>> plain("a\\x1b[31mcat")
    'a[31mcat'
    """
    return "".join(sign for sign in text if sign.isprintable() or sign in "\n\t")


def to_json(value: Any) -> str:
    r"""JSON for files and streams that people look at: letters as they are, no control characters.

    Args:
        value: What `json` can write; NaN and infinities are refused.

    Returns:
        Indented JSON, without a line feed at its end.

    Raises:
        ValueError: A number is not finite.

    >>> print(to_json("naïve\x9b\u202e"))
    "naïve\u009b\u202e"
    """
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    return UNUSUAL.sub(lambda found: _printable(found.group()), text)


def markdown(text: object) -> str:
    r"""One line that Markdown and HTML take for text, with no links in it.

    Args:
        text: Anything; what `str` makes of it is written.

    Returns:
        One line; blanks of any kind become single ones.

    >>> print(markdown("[a](b) <i> www.c.de https://c.de"))
    \[a\]\(b\) &lt;i> www&#46;c.de https:&#47;&#47;c.de
    """
    plain = visible(" ".join(str(text).split())).replace("&", "&amp;").replace("<", "&lt;")
    plain = re.sub(r"([\\`*_\[\]()!|#~])", r"\\\1", plain)
    # Renderers turn bare addresses into links by themselves: entities read the same and do not
    # match.
    unlinked = re.sub(r"(?i)(www)\.", r"\1&#46;", plain.replace("://", ":&#47;&#47;"))
    return re.sub(r"^([-+=>]|\d+(?=\.))", lambda found: _entity(found.group()), unlinked)


def markdown_code(text: object) -> str:
    """One line to stand between backquotes, which it cannot end.

    Args:
        text: Anything; what `str` makes of it is written.

    Returns:
        One line without backquotes, nor bars, which would end a table's cell.
    """
    return visible(" ".join(str(text).split())).replace("`", "'").replace("|", "/")


def _entity(text: str) -> str:
    return "".join(f"&#{ord(sign)};" for sign in text)


def _spelt(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"


def _printable(sign: str) -> str:
    if sign.isprintable():
        return sign
    return f"\\u{ord(sign):04x}" if sign < "\U00010000" else json.dumps(sign)[1:-1]
