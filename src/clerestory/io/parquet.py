"""Parquet tables whose size in memory is checked before they are read as a whole.

    check_parquet(raw, "samples.parquet", EvidenceError)
    raw = to_parquet(table, "The plan", RecordingError)

`reading.parse_table` accepts what `to_parquet` returns.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from clerestory.errors import ClerestoryError
from clerestory.io.reading import MAX_TABLE_BYTES, check_count

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MAX_ROWS", "check_parquet", "to_parquet", "write_parquet"]

MAX_ROWS, MAX_COLUMNS = 10_000_000, 1000
MAX_UNPACKED_BYTES, MAX_RATIO, SMALL_TABLE = 2**33, 200, 2**28
"""Bytes of a table in memory: at most `MAX_UNPACKED_BYTES`, and at most `MAX_RATIO` for each byte
of the file beyond `SMALL_TABLE`."""
CELL_BYTES = 8


def check_parquet(raw: bytes, what: object, error: type[ClerestoryError]) -> None:
    """Check rows, columns and size in memory, from the metadata and the lengths of texts.

    Args:
        raw: A Parquet file.
        what: The file, for error messages.
        error: Class of the error.

    Raises:
        ClerestoryError: Of class `error`, if there are too many rows, columns or unpacked bytes.
        ValueError: Two columns have the same name, or pyarrow cannot read the file.
    """
    from pyarrow import BufferReader, types
    from pyarrow.parquet import ParquetFile

    limit = min(MAX_UNPACKED_BYTES, MAX_RATIO * len(raw) + SMALL_TABLE)
    with ParquetFile(BufferReader(raw)) as file:
        # Only the footer has been read by now.
        metadata, schema = file.metadata, file.schema_arrow
    check_count(what, error, metadata.num_rows, MAX_ROWS, "rows")
    check_count(what, error, metadata.num_columns, MAX_COLUMNS, "columns")
    if len(set(schema.names)) < len(schema.names):
        raise ValueError("its columns have no names of their own")
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    # Of encoded values, of which a repeated one may take no space, so cells are counted as well.
    size = max(
        sum(group.total_byte_size for group in groups),
        metadata.num_rows * metadata.num_columns * CELL_BYTES,
    )
    check_count(what, error, size, limit, "unpacked bytes")
    # As dictionaries each distinct text is in memory once, however many rows repeat it.
    texts = [
        field.name
        for field in schema
        if types.is_dictionary(field.type)
        or any(is_text(field.type) for is_text in (types.is_string, types.is_binary))
        or any(is_text(field.type) for is_text in (types.is_large_string, types.is_large_binary))
    ]
    with ParquetFile(
        BufferReader(raw), read_dictionary=texts, page_checksum_verification=True
    ) as file:
        table = file.read(texts)
    # pyarrow trusts offsets and indices unless it is asked to check them.
    table.validate(full=True)
    size += sum(_decoded_bytes(chunk) for column in table.columns for chunk in column.chunks)
    check_count(what, error, size, limit, "unpacked bytes")


def write_parquet(
    table: pd.DataFrame, target: Path | BinaryIO, *, index: bool | None = None
) -> None:
    """Write a table as Parquet with checksums, which `reading.parse_table` verifies.

    Args:
        table: The table.
        target: A path or an opened file.
        index: Whether the index is a column, as for pandas.
    """
    table.to_parquet(target, index=index, write_page_checksum=True)


def to_parquet(table: pd.DataFrame, what: object, error: type[ClerestoryError]) -> bytes:
    """Write a table as Parquet.

    Args:
        table: The table.
        what: Its name in error messages.
        error: Class of the error.

    Returns:
        The bytes of a Parquet file, which `reading.parse_table` accepts.

    Raises:
        ClerestoryError: Of class `error`, if the table is too large to be read again.
    """
    check_count(what, error, len(table), MAX_ROWS, "rows")
    file = io.BytesIO()
    write_parquet(table, file)
    # Checked as a reader will: a table that cannot be read again is refused now.
    raw = file.getvalue()
    check_count(what, error, len(raw), MAX_TABLE_BYTES, "bytes")
    check_parquet(raw, what, error)
    return raw


def _decoded_bytes(chunk: Any) -> int:
    """Bytes of all texts of a dictionary array, each counted as often as it occurs."""
    import pyarrow.compute as pc
    from pyarrow import ArrowNotImplementedError

    try:
        # Of each distinct text, multiplied below by how often it occurs.
        lengths = pc.binary_length(chunk.dictionary)
    except ArrowNotImplementedError:  # numbers, which `CELL_BYTES` counts
        return 0
    return int(pc.sum(lengths.cast("int64").take(chunk.indices)).as_py() or 0)
