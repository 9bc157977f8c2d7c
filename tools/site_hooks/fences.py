"""What Markdown would misread in docstrings, fenced: doctests as quotes, trees as Python."""

from __future__ import annotations

import re
from textwrap import dedent
from typing import Any

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n(?! *$).*)*", re.MULTILINE)
TREE = re.compile(r"^ {4}.*(?:\n {4}.*)*\n {4}├(?:.*\n {4})*.*", re.MULTILINE)


class Fences(griffe.Extension):
    """Fences each doctest, up to the next blank line, and each drawn tree."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for everything that has a docstring, once."""
        if obj.docstring:
            text = DOCTEST.sub(r"```pycon\n\g<0>\n```", obj.docstring.value)
            obj.docstring.value = TREE.sub(_tree, text)


def _tree(found: re.Match[str]) -> str:
    return f"```text\n{dedent(found.group())}\n```"
