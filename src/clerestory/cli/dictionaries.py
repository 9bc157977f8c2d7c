"""The option `--dictionary`: sparse dictionaries that are attached to a model or a recording."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

from clerestory.cli.options import option

__all__ = ["DICTIONARY_HELP", "Dictionaries", "attach_dictionaries"]

DICTIONARY_HELP = (
    "A sparse dictionary, whose latents become units `SITE:NAME[12]`: NAME=FOLDER, or "
    "SITE:NAME=FOLDER where it does not know its site; repeatable."
)
Dictionaries = Annotated[list[str] | None, option(DICTIONARY_HELP, "--dictionary")]
# A name first, so that a folder may have colons and equals signs.
_VALUE = re.compile(r"(?:(?P<site>[^=:]+):)?(?P<name>[^=:]+)=(?P<folder>.+)")


class _Attachable(Protocol):
    def attach(self, dictionary: Any, name: str, *, site: str | None = None) -> str: ...


def attach_dictionaries(
    targets: Iterable[_Attachable], values: Sequence[str] | None, *, allow_pickles: bool = False
) -> None:
    """Open dictionaries and attach them.

    Args:
        targets: Models or recordings; each dictionary is attached to those that have its site.
        values: Values of `--dictionary`.
        allow_pickles: Whether weights in a format that can hold code may be read.

    Raises:
        OptionError: A value is not of the form NAME=FOLDER.
        DictionaryError: A folder holds no dictionary, or one that does not fit.
        SiteError: No target has its site.
    """
    if not values:
        return
    from clerestory.dictionaries import Dictionary
    from clerestory.errors import OptionError, SiteError

    listed = list(targets)
    for value in values:
        match = _VALUE.fullmatch(value)
        if match is None:
            raise OptionError(
                f"--dictionary is {value!r}; expected NAME=FOLDER or SITE:NAME=FOLDER."
            )
        dictionary = Dictionary.load(Path(match["folder"]), allow_pickles=allow_pickles)
        attached, absent = 0, None
        for target in listed:
            try:
                target.attach(dictionary, match["name"], site=match["site"])
                attached += 1
            # Of several recordings, one may have another site.
            except SiteError as error:
                absent = error
        if absent is not None and not attached:
            raise absent
