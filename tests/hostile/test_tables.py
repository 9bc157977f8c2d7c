"""The size of Parquet tables in memory: large ordinary ones are read, small bombs are not."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table

from clerestory.errors import EvidenceError
from clerestory.io import parquet
from clerestory.io.reading import parse_table

LONG = np.array([f"{number:05} {'x' * 104}" for number in range(20_000)])


def read(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    file = io.BytesIO()
    write_table(pa.table(table) if isinstance(table, dict) else pa.Table.from_pandas(table), file)
    return parse_table(file.getvalue(), "it", EvidenceError)


def test_categories_are_read():
    rows = np.arange(160_000) % 20_000
    table = pd.DataFrame({"prompt": pd.Categorical(LONG[rows]), "seed": np.arange(160_000)})
    assert list(read(table)["prompt"][:3]) == list(LONG[:3])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), None])
def test_a_long_text_is_counted_as_often_as_it_occurs(monkeypatch, kind):
    monkeypatch.setattr(parquet, "SMALL_TABLE", 2**20)
    texts = pa.array(["a" * 2**19, "b"])
    once, often = np.ones(3000, "i4"), np.zeros(3000, "i4")
    once[7] = 0

    def table(indices: np.ndarray) -> dict[str, pa.Array]:
        column = pa.DictionaryArray.from_arrays(indices, texts)
        return {"prompt": column if kind is None else column.cast(kind)}

    assert len(read(table(once))) == 3000
    with pytest.raises(EvidenceError, match="unpacked bytes"):
        read(table(often))


def test_a_large_table_is_read_and_as_many_bytes_in_a_small_file_are_not(monkeypatch):
    monkeypatch.setattr(parquet, "SMALL_TABLE", 2**20)
    rng = np.random.default_rng(0)
    ordinary = {"prompt": LONG[rng.integers(0, len(LONG), 200_000)], "seed": np.arange(200_000)}
    assert len(read(pd.DataFrame(ordinary))) == 200_000  # 25 MB from 3 MB
    with pytest.raises(EvidenceError, match="unpacked bytes"):
        read(pd.DataFrame({"prompt": ["a" * 110] * 200_000}))


def test_repeated_numbers_are_counted_by_rows_and_columns(monkeypatch):
    monkeypatch.setattr(parquet, "SMALL_TABLE", 2**20)
    columns = {f"factor {number}": np.zeros(20_000, int) for number in range(100)}
    with pytest.raises(EvidenceError, match="unpacked bytes"):
        read(pd.DataFrame(columns))
