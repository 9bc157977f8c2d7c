"""What a Parquet table may unpack to: large honest ones are read, small bombs are not."""

from __future__ import annotations

import io
import time

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


def test_a_dictionary_is_counted_once():
    rows = np.arange(160_000) % 20_000
    table = pd.DataFrame({"prompt": pd.Categorical(LONG[rows]), "seed": np.arange(160_000)})
    assert list(read(table)["prompt"][:3]) == list(LONG[:3])


def test_one_long_text_in_a_dictionary_is_counted_where_it_is_used(monkeypatch):
    monkeypatch.setattr(parquet, "ANYWAY", 2**20)
    texts = pa.array(["a" * 2**19, "b"])
    seldom, often = np.ones(3000, "i4"), np.zeros(3000, "i4")
    seldom[7] = 0
    table = {"prompt": pa.DictionaryArray.from_arrays(seldom, texts)}
    assert len(read(table)) == 3000
    table = {"prompt": pa.DictionaryArray.from_arrays(often, texts)}
    with pytest.raises(EvidenceError, match="unpacked bytes"):
        read(table)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.int64()])
def test_what_a_dictionary_decodes_to_is_known_without_doing_it(kind):
    values = [b"", b"abc", b"de"] if kind == pa.binary() else ["", "abc", "de"]
    held = pa.array([1, 2, 3] if kind == pa.int64() else values, kind)
    column = pa.DictionaryArray.from_arrays(pa.array([2, 1, None, 1, 0], pa.int32()), held)
    assert parquet._decoded(column) == (80 if kind == pa.int64() else 8)
    sliced = pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), held[1:])
    assert parquet._decoded(sliced) == (32 if kind == pa.int64() else 5)
    nothing = pa.DictionaryArray.from_arrays(pa.array([None], pa.int8()), held[:0])
    assert parquet._decoded(nothing) == (16 if kind == pa.int64() else 0)


def test_a_large_table_is_read_and_as_many_bytes_in_a_small_file_are_not(monkeypatch):
    monkeypatch.setattr(parquet, "ANYWAY", 2**20)
    rng = np.random.default_rng(0)
    honest = {"prompt": LONG[rng.integers(0, len(LONG), 200_000)], "seed": np.arange(200_000)}
    assert len(read(pd.DataFrame(honest))) == 200_000  # 25 MB of 3
    begun = time.monotonic()
    with pytest.raises(EvidenceError, match="unpacked bytes"):
        read(pd.DataFrame({"prompt": ["a" * 110] * 200_000}))
    assert time.monotonic() - begun < 2


def test_columns_under_the_name_of_a_dictionary_are_unpacked_a_little_at_a_time(monkeypatch):
    sizes = []
    batches = parquet._batches
    monkeypatch.setattr(parquet, "_batches", lambda *how: sizes.append(how[1:]) or batches(*how))
    codes = pa.DictionaryArray.from_arrays(np.zeros(300, "i4"), pa.array(["a"]))
    read({"x": codes, "x.y": pa.array(["b"] * 300), "z": codes})
    assert sizes == [(["x", "x.y"], parquet.FEW), (["z"], parquet.MANY)]
