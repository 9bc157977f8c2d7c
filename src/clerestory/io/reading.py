"""Reading of files that anybody may have written, within bounds of size, depth and values.

    content = read_json(folder / "findings.json", EvidenceError)
    table = read_table(folder / "samples.parquet", EvidenceError)

Every function takes the class of the error that it raises, with a message of one line. The fields
of what was read are checked by `validation.validate`.
"""

from __future__ import annotations

import io
import json
import lzma
import math
import os
import stat
import tokenize
import tomllib
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from clerestory.errors import ClerestoryError, describe_error
from clerestory.io.encodings import decode_text

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
    "parse_json",
    "parse_table",
    "parse_toml",
    "path_inside",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_table",
    "read_text",
    "read_toml",
    "symbolic_links",
    "wrap_errors",
]

MAX_TEXT_BYTES = 16 * 2**20
"""Size of a text that is parsed: JSON, prompts, CSV."""
MAX_TOML_BYTES = 2**20
MAX_DEPTH = 64
MAX_TABLE_BYTES = 2**30
"""Size of a Parquet file; its size in memory is checked by `parquet.check_parquet`."""
MAX_LINES_BYTES = 256 * 2**20
"""Size of a text with one entry per line, which is not parsed."""
MAX_INTEGER = 2**64

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
"""What parsers raise for damaged content."""


@contextmanager
def wrap_errors(source: object, error: ErrorClass) -> Iterator[None]:
    """Raise what parsers raise as `error`, with a message of one line.

    Args:
        source: The file, named in the message.
        error: Class of the error.

    Raises:
        ClerestoryError: Of class `error`; a ClerestoryError of the block is raised unchanged.

    Yields:
        Nothing; errors are wrapped while this is open.
    """
    try:
        yield
    # An error of the reader itself has its message already.
    except ClerestoryError:
        raise
    except OSError as reason:
        text = reason.strerror or describe_error(reason)
        raise error(f"{source} cannot be read: {text}.") from reason
    except PARSE_ERRORS as reason:
        raise error(
            f"{source} cannot be read ({describe_error(reason)}): it is damaged or was altered; "
            "get it again, or correct it."
        ) from reason


def check_relative_path(name: str, source: object, error: ErrorClass) -> str:
    """Check that a path stays below the folder that it is relative to.

    Args:
        name: A path with `/`.
        source: What contains the path, for the message.
        error: Class of the error.

    Returns:
        The path.

    Raises:
        ClerestoryError: Of class `error`, if it is empty, absolute, or could leave the folder.
    """
    parts = PurePosixPath(name).parts
    # Backslashes separate folders on other systems, and a NUL ends a path in C.
    if not parts or {"/", "//", ".."} & set(parts) or "\\" in name or "\0" in name:
        raise error(
            f"{source} names {name[:80]!r}, which is not a path in its folder: do not use it."
        )
    return name


def path_inside(folder: Path, name: str, error: ErrorClass) -> Path:
    """The path of a file in a folder; links out of the folder are refused.

    Links of a downloaded snapshot into the `blobs` of the same hub cache are allowed.

    Args:
        folder: The folder.
        name: A path below it.
        error: Class of the error.

    Returns:
        The path, with links not resolved; the file need not exist.

    Raises:
        ClerestoryError: Of class `error`, if the path or a link leads out of the folder.
    """
    path = folder / check_relative_path(name, folder, error)
    with wrap_errors(path, error):
        # Links are followed before the comparison, since `..` in a link
        # would escape a textual one.
        root, target = folder.resolve(), path.resolve()
    # The layout of huggingface_hub's cache: `snapshots/REVISION` with links into `blobs`.
    allowed = [root, root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [root]
    if not any(target.is_relative_to(home) for home in allowed):
        raise error(f"{path} is a link out of its folder, to {target}: put the file itself there.")
    return path


def symbolic_links(folder: Path) -> Iterator[Path]:
    """The symbolic links in a folder, at all depths; none is followed.

    Args:
        folder: The folder.

    Yields:
        Their paths.
    """
    for parent, folders, files in os.walk(folder):
        paths = (Path(parent, name) for name in [*folders, *files])
        yield from (path for path in paths if path.is_symlink())


def check_regular_file(path: Path, error: ErrorClass, max_bytes: int) -> int:
    """The size of a regular file, in bytes.

    Args:
        path: The file; links are followed.
        error: Class of the error.
        max_bytes: Limit of the size.

    Raises:
        ClerestoryError: Of class `error`, if it is missing, larger, or not a regular file (reading
            a pipe would never end).

    Returns:
        The size in bytes.
    """
    with wrap_errors(path, error):
        status = path.stat()
    # A pipe or device would block, or never end.
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path} is not a plain file.")
    check_count(path, error, status.st_size, max_bytes, "bytes")
    return status.st_size


def check_count(source: object, error: ErrorClass, count: int, limit: int, noun: str) -> None:
    """Check that a count is within its limit.

    Args:
        source: What is counted in, for the message.
        error: Class of the error.
        count: The count.
        limit: The largest count that is allowed.
        noun: What is counted, in the plural.

    Raises:
        ClerestoryError: Of class `error`, if there are more.
    """
    if count > limit:
        raise error(f"{source} has {count:,} {noun}, more than the {limit:,} that are read.")


def read_bytes(path: Path, error: ErrorClass, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read a file.

    Args:
        path: The file.
        error: Class of the error.
        max_bytes: Limit of its size.

    Raises:
        ClerestoryError: Of class `error`, if it cannot be read or is larger.

    Returns:
        The content.
    """
    check_regular_file(path, error, max_bytes)
    with wrap_errors(path, error), path.open("rb") as file:
        # No more than was checked, in case the file grows meanwhile.
        return file.read(max_bytes)


def read_text(path: Path, error: ErrorClass, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """Read a file as UTF-8; arguments and errors are those of `read_bytes`.

    Args:
        path: The file.
        error: Class of the error.
        max_bytes: Limit of its size.

    Returns:
        The content.

    Raises:
        ClerestoryError: Of class `error`, if it cannot be read, is larger, or is not UTF-8.
    """
    return decode_text(read_bytes(path, error, max_bytes), path, error)


def read_lines(path: Path, error: ErrorClass, max_bytes: int = MAX_LINES_BYTES) -> list[str]:
    """Read the lines of a text that are not blank; other arguments are those of `read_bytes`.

    A line ends at any of the line separators of Unicode, those of other systems included. Lines are
    in the normal form NFC, so that the same words are the same text however they were typed.

    Args:
        path: The file.
        error: Class of the error.
        max_bytes: Limit of its size.

    Returns:
        The lines, without spaces at either end.

    Raises:
        ClerestoryError: Of class `error`, as `read_text` raises it.
    """
    # Files that were joined have byte order marks further down.
    text = unicodedata.normalize("NFC", read_text(path, error, max_bytes)).replace("\ufeff", "")
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_json(
    path: Path, error: ErrorClass, *, finite: bool = True, max_bytes: int = MAX_TEXT_BYTES
) -> Any:
    """Read a JSON file; arguments, result and errors are those of `read_bytes` and `parse_json`.

    Args:
        path: The file.
        error: Class of the error.
        finite: Whether NaN and infinities are refused.
        max_bytes: Limit of its size.

    Returns:
        Dicts, lists, strings, numbers, bools and None.

    Raises:
        ClerestoryError: Of class `error`, if it cannot be read, or as `parse_json` raises it.
    """
    raw = read_bytes(path, error, max_bytes)
    return parse_json(raw, path, error, finite=finite, max_length=max_bytes)


def parse_json(
    raw: bytes | str,
    source: object,
    error: ErrorClass,
    *,
    finite: bool = True,
    max_length: int = MAX_TEXT_BYTES,
) -> Any:
    """Parse JSON within bounds.

    Args:
        raw: The text, or its bytes in UTF-8.
        source: Where it comes from, for the message.
        error: Class of the error.
        finite: Whether NaN and infinities are refused.
        max_length: Limit of the length, in characters.

    Returns:
        Dicts, lists, strings, numbers, bools and None.

    Raises:
        ClerestoryError: Of class `error`, if it is not JSON, too long or nested too deep, contains
            a name twice in one object, or a number or string that nothing could use.

    >>> parse_json('{"a": [1, 2.5]}', "it", ClerestoryError)
    {'a': [1, 2.5]}
    """
    with wrap_errors(source, error):
        text = raw.decode("utf-8") if isinstance(raw, bytes) else raw
        check_count(source, error, len(text), max_length, "characters")
        # Of a name that is given twice, parsers differ in which value they keep.
        content = json.loads(text, object_pairs_hook=_unique_names)
        _check_values(content, finite)
        return content


def read_toml(path: Path, error: ErrorClass) -> dict[str, Any]:
    """Read a TOML file; result and errors are those of `parse_toml`.

    Args:
        path: The file.
        error: Class of the error.

    Returns:
        The content; numbers are finite.

    Raises:
        ClerestoryError: Of class `error`, if it cannot be read, or as `parse_toml` raises it.
    """
    return parse_toml(read_text(path, error, MAX_TOML_BYTES), path, error)


def parse_toml(text: str, source: object, error: ErrorClass) -> dict[str, Any]:
    """Parse TOML within the bounds of `parse_json`.

    Args:
        text: The text.
        source: Where it comes from, for the message.
        error: Class of the error.

    Returns:
        The content; numbers are finite.

    Raises:
        ClerestoryError: Of class `error`, if it is not TOML or beyond the bounds.
    """
    check_count(source, error, len(text), MAX_TOML_BYTES, "characters")
    try:
        # tomllib refuses a key that is given twice itself.
        content = tomllib.loads(text)
        _check_values(content, finite=True)
    except PARSE_ERRORS as reason:
        raise error(
            f"{source} is not valid TOML: {describe_error(reason)}; correct it there."
        ) from reason
    return content


def read_table(path: Path, error: ErrorClass) -> pd.DataFrame:
    """Read a Parquet file; result and errors are those of `parse_table`.

    Args:
        path: The file.
        error: Class of the error.

    Returns:
        A table whose column names are strings, each occurring once.

    Raises:
        ClerestoryError: Of class `error`, if it is not Parquet or too large.
    """
    size = check_regular_file(path, error, MAX_TABLE_BYTES)
    with wrap_errors(path, error), path.open("rb") as file:
        # The magic bytes at both ends, before a gigabyte of something else is read.
        ends = file.read(4), file.seek(max(size - 4, 0)) and file.read(4)
        if ends != (b"PAR1", b"PAR1"):
            raise ValueError("it is not Parquet")
    return parse_table(read_bytes(path, error, MAX_TABLE_BYTES), path, error)


def parse_table(raw: bytes, source: object, error: ErrorClass) -> pd.DataFrame:
    """Parse Parquet within bounds.

    Args:
        raw: Content of the file.
        source: The file, for the message.
        error: Class of the error.

    Returns:
        A table whose column names are strings, each occurring once.

    Raises:
        ClerestoryError: Of class `error`, if it is not Parquet or too large in memory.
    """
    import pandas as pd

    from clerestory.io.parquet import check_parquet

    with wrap_errors(source, error):
        check_parquet(raw, source, error)
        table: pd.DataFrame = pd.read_parquet(io.BytesIO(raw), page_checksum_verification=True)
        # Columns are addressed by name everywhere; pandas would give a table for
        # a name that occurs twice.
        if not table.columns.is_unique or not all(isinstance(name, str) for name in table):
            raise ValueError("its columns have no names of their own")
        return table


def _unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        repeated, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"{repeated[:80]!r} is given twice")
    return content


def _check_values(content: Any, finite: bool) -> None:
    """ValueError for content nested too deep, and for numbers and strings nothing could use."""
    # A stack rather than recursion, whose limit depends on the caller's depth.
    stack: list[Iterator[Any]] = [iter((content,))]
    while stack:
        # The stack itself marks the end of an iterator: no parsed value can be it.
        value = next(stack[-1], stack)
        if value is stack:
            stack.pop()
        elif len(stack) > MAX_DEPTH + 1:
            raise ValueError(f"it nests deeper than {MAX_DEPTH}")
        elif isinstance(value, Mapping):
            stack.append(chain(value, value.values()))
        elif isinstance(value, list):
            stack.append(iter(value))
        elif isinstance(value, str):
            # A lone surrogate is valid in JSON and cannot be written again.
            # Encoding every ASCII text as well would take longer than parsing does.
            if not value.isascii():
                value.encode("utf-8")
            if "\0" in value:
                raise ValueError("a text has a NUL in it")
        elif isinstance(value, float):
            if finite and not math.isfinite(value):
                raise ValueError(f"{value} is not a finite number")
        # No table or tensor holds more than 64 bits.
        elif isinstance(value, int) and not -MAX_INTEGER < value < MAX_INTEGER:
            raise ValueError("a whole number is beyond 64 bits")
