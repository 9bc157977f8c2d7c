"""Files that anybody may have written, read within bounds: sizes, depths, names, numbers.

    content = read_json(folder / "findings.json", EvidenceError)
    table = read_table(folder / "samples.parquet", EvidenceError)

Whatever is wrong with a file comes as the error that the caller names, in one line. What a field
may hold is checked by `validation.validated`.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import stat
import tokenize
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from clerestory.errors import ClerestoryError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MAX_LINES_BYTES",
    "MAX_TABLE_BYTES",
    "MAX_TEXT_BYTES",
    "PARSE_ERRORS",
    "check_count",
    "check_regular_file",
    "check_relative_path",
    "describe_error",
    "parse_json",
    "parse_table",
    "parse_toml",
    "path_inside",
    "read_bytes",
    "read_json",
    "read_table",
    "read_text",
    "read_toml",
    "wrap_errors",
]

MAX_TEXT_BYTES = 16 * 2**20
"""Bytes of a text that is parsed: JSON, prompts, CSV."""
MAX_TOML_BYTES = 2**20
MAX_DEPTH = 64
MAX_TABLE_BYTES = 2**30
"""Bytes of a Parquet table on disk; for what it unpacks to see `parquet`."""
MAX_LINES_BYTES = 256 * 2**20
"""Bytes of a text with one thing a line, which is not parsed."""
_LIMIT = 2**64

ErrorClass = type[ClerestoryError]
PARSE_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,
    zlib.error,
    lzma.LZMAError,
)
"""What parsers raise at bytes that are not what they should be."""


@contextmanager
def wrap_errors(what: object, error: ErrorClass) -> Iterator[None]:
    """While this is open, what parsers raise comes as `error`, in one line.

    Args:
        what: The file, named in the message.
        error: The class of what is raised.

    Raises:
        ClerestoryError: Of class `error`; a ClerestoryError from within passes as it is.
    """
    try:
        yield
    except ClerestoryError:
        raise
    except OSError as reason:
        raise error(
            f"{what} cannot be read: {reason.strerror or describe_error(reason)}."
        ) from reason
    except PARSE_ERRORS as reason:
        raise error(
            f"{what} cannot be read ({describe_error(reason)}): it is damaged or was altered; get "
            "it again, or correct it."
        ) from reason


def describe_error(reason: BaseException, most: int = 200) -> str:
    """What an exception says, or its kind where it says nothing.

    Args:
        reason: The exception.
        most: Characters, after which it is cut.

    Returns:
        One line.
    """
    text = " ".join(str(reason).split()) or type(reason).__name__
    return text if len(text) <= most else text[:most] + "…"


def check_relative_path(name: str, what: object, error: ErrorClass) -> str:
    """Check that a name leads down from a folder.

    Args:
        name: A path with `/`.
        what: What names it, for the message.
        error: The class of what is raised.

    Returns:
        The name.

    Raises:
        ClerestoryError: Of class `error`, where it is empty, absolute, or could lead out.
    """
    parts = PurePosixPath(name).parts
    if not parts or {"/", "//", ".."} & set(parts) or "\\" in name or "\0" in name:
        raise error(
            f"{what} names {name[:80]!r}, which is not a path in its folder: do not use it."
        )
    return name


def path_inside(folder: Path, name: str, error: ErrorClass) -> Path:
    """The place called `name` in a folder.

    A download from the hub is links into the `blobs` beside it, which are taken.

    Args:
        folder: The folder.
        name: A path below it.
        error: The class of what is raised.

    Returns:
        The path, links not resolved; nothing need be there.

    Raises:
        ClerestoryError: Of class `error`, where it is elsewhere, by name or by a link.
    """
    place = folder / check_relative_path(name, folder, error)
    with wrap_errors(place, error):
        root, real = folder.resolve(), place.resolve()
    # The layout of the cache of huggingface_hub: `snapshots/REVISION` with links into `blobs`.
    homes = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(real.is_relative_to(home) for home in homes):
        raise error(f"{place} is a link out of its folder, to {real}: put the file itself there.")
    return place


def check_regular_file(path: Path, error: ErrorClass, most: int) -> int:
    """The size of a plain file.

    Args:
        path: The file; links are followed.
        error: The class of what is raised.
        most: The most bytes that it may have.

    Returns:
        Its bytes.

    Raises:
        ClerestoryError: Of class `error`, where it is missing, not a plain file (a pipe never
            ends), or larger.
    """
    with wrap_errors(path, error):
        found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise error(f"{path} is not a plain file.")
    check_count(path, error, found.st_size, most, "bytes")
    return found.st_size


def check_count(what: object, error: ErrorClass, count: int, most: int, noun: str) -> None:
    """Check that there is no more of something than is ever written.

    Args:
        what: Where it is, for the message.
        error: The class of what is raised.
        count: How many there are.
        most: How many there may be.
        noun: What is counted, in the plural.

    Raises:
        ClerestoryError: Of class `error`, where there are more.
    """
    if count > most:
        raise error(f"{what} has {count:,} {noun}, more than the {most:,} that are read.")


def read_bytes(path: Path, error: ErrorClass, most: int = MAX_TEXT_BYTES) -> bytes:
    """A file's bytes.

    Args:
        path: The file.
        error: The class of what is raised.
        most: The most bytes that are read.

    Returns:
        The bytes.

    Raises:
        ClerestoryError: Of class `error`, where it cannot be read or is larger.
    """
    check_regular_file(path, error, most)
    with wrap_errors(path, error), path.open("rb") as file:
        # At most what was checked, should the file grow meanwhile.
        return file.read(most)


def read_text(path: Path, error: ErrorClass, most: int = MAX_TEXT_BYTES) -> str:
    """A file's text, which is UTF-8.

    Args:
        path: The file.
        error: The class of what is raised.
        most: The most bytes that are read.

    Returns:
        The text.

    Raises:
        ClerestoryError: Of class `error`, where it cannot be read or is larger.
    """
    raw = read_bytes(path, error, most)
    with wrap_errors(path, error):
        return raw.decode("utf-8")


def read_json(
    path: Path,
    error: ErrorClass,
    *,
    finite: bool = True,
    most: int = MAX_TEXT_BYTES,
) -> Any:
    """What a JSON file says, within the bounds of `loads`.

    Args:
        path: The file.
        error: The class of what is raised.
        finite: Whether NaN and infinities are refused.
        most: The most bytes that it may have.

    Returns:
        Its content: dicts, lists, texts, numbers.

    Raises:
        ClerestoryError: Of class `error`, as `loads`; also for a NUL, at which reading ends.
    """
    check_regular_file(path, error, most)
    pieces: list[bytes] = []
    with wrap_errors(path, error), path.open("rb") as file:
        while len(pieces) * MAX_TEXT_BYTES < most and (piece := file.read(MAX_TEXT_BYTES)):
            # A sparse file of zeros takes no disk and much memory.
            if b"\0" in piece:
                raise ValueError("it has a NUL in it")
            pieces.append(piece)
    return parse_json(b"".join(pieces), path, error, finite=finite, most=most)


def parse_json(
    raw: bytes | str,
    what: object,
    error: ErrorClass,
    *,
    finite: bool = True,
    most: int = MAX_TEXT_BYTES,
) -> Any:
    """What JSON says, within bounds.

    Args:
        raw: The text, or its bytes in UTF-8.
        what: Where it is from, for error messages.
        error: The class of what is raised.
        finite: Whether NaN and infinities are refused.
        most: The most characters that it may have.

    Returns:
        Its content: dicts, lists, texts, numbers.

    Raises:
        ClerestoryError: Of class `error`, where it is no JSON, too long or too deep, gives a name
            twice, or has a number or text that nothing could use.

    >>> loads('{"a": [1, 2.5]}', "it", ClerestoryError)
    {'a': [1, 2.5]}
    """
    with wrap_errors(what, error):
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        check_count(what, error, len(text), most, "characters")
        content = json.loads(text, object_pairs_hook=_once)
        _check_values(content, finite)
        return content


def read_toml(path: Path, error: ErrorClass) -> dict[str, Any]:
    """What a TOML file says.

    Args:
        path: The file.
        error: The class of what is raised.

    Returns:
        Its content.

    Raises:
        ClerestoryError: Of class `error`, as `loads_toml`.
    """
    return parse_toml(read_text(path, error, MAX_TOML_BYTES), path, error)


def parse_toml(text: str, what: object, error: ErrorClass) -> dict[str, Any]:
    """What TOML says, within the bounds of `loads`.

    Args:
        text: The text.
        what: Where it is from, for error messages.
        error: The class of what is raised.

    Returns:
        Its content; numbers are finite.

    Raises:
        ClerestoryError: Of class `error`, where it is not TOML, or beyond the bounds.
    """
    check_count(what, error, len(text), MAX_TOML_BYTES, "characters")
    try:
        content = tomllib.loads(text)
        _check_values(content, finite=True)
    except PARSE_ERRORS as reason:
        raise error(
            f"{what} is not valid TOML: {describe_error(reason)}; correct it there."
        ) from reason
    return content


def read_table(path: Path, error: ErrorClass) -> pd.DataFrame:
    """A Parquet file as a table.

    Args:
        path: The file.
        error: The class of what is raised.

    Returns:
        The table.

    Raises:
        ClerestoryError: Of class `error`, as `table_of`.
    """
    size = check_regular_file(path, error, MAX_TABLE_BYTES)
    with wrap_errors(path, error), path.open("rb") as file:
        # The magic bytes at both ends, before a gigabyte is read that is something else.
        ends = file.read(4), file.seek(max(size - 4, 0)) and file.read(4)
        if ends != (b"PAR1", b"PAR1"):
            raise ValueError("it is not Parquet")
    return parse_table(read_bytes(path, error, MAX_TABLE_BYTES), path, error)


def parse_table(raw: bytes, what: object, error: ErrorClass) -> pd.DataFrame:
    """Parquet as a table.

    Args:
        raw: The file's bytes.
        what: The file, for error messages.
        error: The class of what is raised.

    Returns:
        The table, whose columns have texts for names, each once.

    Raises:
        ClerestoryError: Of class `error`, where it unpacks to more than its bounds, or is none.
    """
    import pandas as pd

    from clerestory.io.parquet import check_parquet

    with wrap_errors(what, error):
        check_parquet(raw, what, error)
        table: pd.DataFrame = pd.read_parquet(io.BytesIO(raw))
        if not table.columns.is_unique or not all(isinstance(name, str) for name in table):
            raise ValueError("its columns have no names of their own")
        return table


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{twice[:80]!r} is given twice")
    return content


def _check_values(content: Any, finite: bool) -> None:
    """ValueError for what nests too deep, and for numbers and texts that nothing could use."""
    # By hand rather than by recursion, whose limit depends on the caller's depth.
    left: list[Iterator[Any]] = [iter((content,))]
    while left:
        value = next(left[-1], left)
        if value is left:
            left.pop()
        elif len(left) > MAX_DEPTH + 1:
            raise ValueError(f"it nests deeper than {MAX_DEPTH}")
        elif isinstance(value, Mapping):
            left.append(chain(value, value.values()))
        elif isinstance(value, list):
            left.append(iter(value))
        elif isinstance(value, str):
            # A lone surrogate is valid in JSON and cannot be written again.
            if not value.isascii():
                value.encode("utf-8")
            if "\0" in value:
                raise ValueError("a text has a NUL in it")
        elif isinstance(value, float):
            if finite and not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
        # No table or tensor holds more than 64 bits.
        elif isinstance(value, int) and not -_LIMIT < value < _LIMIT:
            raise ValueError("a whole number is beyond 64 bits")
