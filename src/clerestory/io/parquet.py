"""Parquet tables within bounds: what they unpack to is counted before anything reads them whole.

    check_parquet(raw, "samples.parquet", EvidenceError)
    raw = packed(table, "The plan", RecordingError)

What `packed` gives is what `reading.table_of` takes.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from clerestory.errors import ClerestoryError
from clerestory.io.reading import MAX_TABLE_BYTES, check_count

if TYPE_CHECKING:
    import pandas as pd
    from pyarrow import Field, RecordBatch
    from pyarrow.parquet import ParquetFile

__all__ = ["MAX_ROWS", "check_parquet", "to_parquet"]

MAX_UNPACKED_BYTES, MAX_RATIO, ANYWAY = 2**33, 200, 2**28
"""Bytes of a table in memory: at most so many, and so many for each packed byte, and these."""
MAX_ROWS, MAX_COLUMNS = 10_000_000, 1000
FEW, MANY = 256, 2**20
"""Rows that are unpacked together: of texts, of numbers in a dictionary."""


def check_parquet(raw: bytes, what: object, error: type[ClerestoryError]) -> None:
    """Check what a table unpacks to, first as it says, then as it is, a little at a time.

    Args:
        raw: A Parquet file.
        what: The file, for error messages.
        error: The class of what is raised.

    Raises:
        ClerestoryError: Of class `error`, where it has too many rows, columns or unpacked bytes.
        ValueError: Two columns have one name, or pyarrow cannot read it; the caller names the file.
    """
    from pyarrow import BufferReader
    from pyarrow.parquet import ParquetFile

    most = min(MAX_UNPACKED_BYTES, MAX_RATIO * len(raw) + ANYWAY)
    with ParquetFile(BufferReader(raw)) as file:
        metadata, names = file.metadata, file.schema_arrow.names
        check_count(what, error, metadata.num_rows, MAX_ROWS, "rows")
        check_count(what, error, metadata.num_columns, MAX_COLUMNS, "columns")
        if len(set(names)) < len(names):
            raise ValueError("its columns have no names of their own")
        groups = (metadata.row_group(at) for at in range(metadata.num_row_groups))
        # What the file says of itself is cheap to refuse, but anybody may have written it: the
        # columns are counted below.
        size = sum(group.total_byte_size for group in groups)
        check_count(what, error, size, most, "unpacked bytes")
        coded = [field.name for field in file.schema_arrow if _coded(field, names)]
        size = 0
        for batch in _batches(file, [name for name in names if name not in coded], FEW):
            size += batch.nbytes
            check_count(what, error, size, most, "unpacked bytes")
        for name in coded:
            largest = 0
            for batch in _batches(file, [name], MANY):
                column = batch.column(0)
                # A batch brings the whole dictionary again, so it is counted once, by its largest.
                largest = max(largest, column.dictionary.nbytes)
                size += column.indices.nbytes + _decoded(column)
                check_count(what, error, size + largest, most, "unpacked bytes")
            size += largest


def to_parquet(table: pd.DataFrame, what: object, error: type[ClerestoryError]) -> bytes:
    """A table as Parquet.

    Args:
        table: The table.
        what: What it is, for error messages.
        error: The class of what is raised.

    Returns:
        A Parquet file, which `reading.table_of` takes.

    Raises:
        ClerestoryError: Of class `error`, where it could not be read again.
    """
    check_count(what, error, len(table), MAX_ROWS, "rows")
    file = io.BytesIO()
    table.to_parquet(file)
    raw = file.getvalue()
    check_count(what, error, len(raw), MAX_TABLE_BYTES, "bytes")
    check_parquet(raw, what, error)
    return raw


def _coded(field: Field[Any], names: list[str]) -> bool:
    """Whether a column is numbers in a dictionary, and its name is the name of it alone."""
    from pyarrow import types

    alone = not any(name.startswith(f"{field.name}.") for name in names)
    return alone and types.is_dictionary(field.type)


def _batches(file: ParquetFile, names: list[str], rows: int) -> Any:
    """Some columns, so many rows at a time, each of them checked."""
    if not names:
        return
    for batch in file.iter_batches(batch_size=rows, columns=names, use_threads=False):
        part: RecordBatch = batch
        # pyarrow trusts offsets within a batch unless it is asked to check them.
        part.validate(full=True)
        yield part


def _decoded(column: Any) -> int:
    """How many bytes the values of a column with a dictionary have, each as often as it is there.

    The lengths of texts are read off where they begin, so a long dictionary costs nothing.
    """
    from pyarrow import types

    kind, held = column.dictionary.type, column.dictionary
    wide = types.is_large_string(kind) or types.is_large_binary(kind)
    if not (wide or types.is_string(kind) or types.is_binary(kind)):
        # Values of a fixed width are counted at 16 bytes each.
        return len(column) * 16
    if not len(held):
        return 0
    begins = np.frombuffer(held.buffers()[1], np.int64 if wide else np.int32)[held.offset :]
    at = column.indices.drop_null().to_numpy()
    return int((begins[at + 1].astype(np.int64) - begins[at]).sum())
