"""A study of one's own: a short file that runs as it is, or a built-in one under another name."""

from __future__ import annotations

import re
from pathlib import Path

from clerestory.errors import TableError
from clerestory.io.reading import read_text
from clerestory.studies.schema import NAME, file_of

__all__ = ["begun"]

TEMPLATE = Path(__file__).with_name("pages") / "new.toml"


def begun(name: str, like: str | None = None) -> str:
    """The text of the file; TableError for a name that no study may have.

    The short one asks for a style, whose words are the name's: `zebra-stripes`.
    """
    if not NAME.fullmatch(name) or len(name) > 60:
        raise TableError(f"{name!r} is no name of a study: give small letters, digits and dashes.")
    if like is None:
        return (
            TEMPLATE.read_text("utf-8")
            .replace("NAME", name)
            .replace("WORDS", name.replace("-", " "))
        )
    text = read_text(file_of(like), TableError)
    return re.sub(r'^name = ".*"$', f'name = "{name}"', text, count=1, flags=re.MULTILINE)
