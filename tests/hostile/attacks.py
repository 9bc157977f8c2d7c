"""Named attacks on files, by what their names end in; each gives bytes, or does it by itself."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

Attack = Callable[[Path], None]
ABSURD = 2**40
VALUES: list[Any] = [
    None,
    True,
    "../../x",
    -1,
    2**70,
    10**12,
    1.5,
    [],
    {},
    [[["x"]]],
    {"../x": None},
]
"""What any node of a JSON file is replaced by."""


def bytes_of(make: Callable[[bytes], bytes]) -> Attack:
    """An attack that changes a file's bytes."""
    return lambda path: path.write_bytes(make(path.read_bytes())) and None


def huge(path: Path) -> None:
    """300 MB and more, that take no room on disk."""
    with path.open("r+b") as file:
        file.truncate(300 * 2**20 if path.suffix != ".safetensors" else 2**42)


def link(path: Path) -> None:
    """The same file, but outside."""
    home = _home(path)
    outside = home.parent / f"{home.name}-outside"
    outside.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(outside)


def _home(path: Path) -> Path:
    return next(one for one in path.parents if one.name == "hostile-folder")


def pipe(path: Path) -> None:
    """A pipe that never ends."""
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder in place of the file."""
    path.unlink()
    path.mkdir()


ANY: dict[str, Attack] = {
    "empty": bytes_of(lambda raw: b""),
    "huge": huge,
    "pipe": pipe,
    "folder": folder,
    "link": link,
    "noise": bytes_of(lambda raw: bytes(range(256)) * 4),
}
TEXT: dict[str, Attack] = {
    "not UTF-8": bytes_of(lambda raw: b'"\xff\xfe"' + raw),
}
JSON: dict[str, Attack] = {
    "deep lists": bytes_of(lambda raw: b"[" * 100_000 + b"]" * 100_000),
    "deep objects": bytes_of(lambda raw: b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "deep inside": bytes_of(
        lambda raw: raw.rstrip()[:-1] + b',"x":' + b"[" * 90 + b"]" * 90 + b"}"
    ),
    "many values": bytes_of(lambda raw: b"[" + b"[]," * 200_000 + b"1]"),
    "long number": bytes_of(lambda raw: b'{"format": ' + b"1" * 10**5 + b"}"),
    "huge number": bytes_of(lambda raw: raw.rstrip()[:-1] + b',"x": ' + b"9" * 400 + b"}"),
    "given twice": bytes_of(lambda raw: raw.rstrip()[:-1] + b"," + raw.lstrip()[1:]),
    "cut short": bytes_of(lambda raw: raw[: len(raw) // 2]),
    "half a pair": bytes_of(lambda raw: raw.rstrip()[:-1] + b',"x": "\\ud800"}'),
    "a NUL": bytes_of(lambda raw: raw.rstrip()[:-1] + b',"x": "\\u0000"}'),
    "a list": bytes_of(lambda raw: b"[1, 2]"),
    "null": bytes_of(lambda raw: b"null"),
}
TOML: dict[str, Attack] = {
    "deep lists": bytes_of(lambda raw: b"a = " + b"[" * 100_000 + b"]" * 100_000),
    "long number": bytes_of(lambda raw: b"a = " + b"1" * 10**5),
    "no number": bytes_of(lambda raw: b"a = nan\n" + raw),
    "given twice": bytes_of(lambda raw: raw + b"\n" + raw),
    "unknown": bytes_of(lambda raw: b'zzz = "x"\n' + raw),
}


def header(content: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def every_tensor(change: Callable[[np.ndarray], np.ndarray]) -> Attack:
    """An attack that changes the tensors, of a file that is well-formed."""

    def attack(path: Path) -> None:
        path.write_bytes(save({name: change(one) for name, one in load_file(path).items()}))

    return attack


def _absurd(begin: int, end: int) -> dict[str, Any]:
    return {"0.direction": {"dtype": "F32", "shape": [ABSURD], "data_offsets": [begin, end]}}


SAFETENSORS: dict[str, Attack] = {
    "cut short": bytes_of(lambda raw: raw[: len(raw) // 2]),
    "few bytes": bytes_of(lambda raw: raw[:5]),
    "long header": bytes_of(lambda raw: struct.pack("<Q", 2**60) + raw[8:]),
    "absurd shape": bytes_of(lambda raw: header(_absurd(0, 4 * ABSURD))),
    "absurd shape, no data": bytes_of(lambda raw: header(_absurd(0, 0))),
    "overflowing shape": bytes_of(
        lambda raw: header({"a": {"dtype": "F32", "shape": [2**63, 4], "data_offsets": [0, 0]}})
    ),
    "deep header": bytes_of(lambda raw: struct.pack("<Q", 10**5) + b"[" * 10**5),
    "header is a list": bytes_of(lambda raw: struct.pack("<Q", 2) + b"[]"),
}
TENSORS: dict[str, Attack] = {
    "whole numbers": every_tensor(lambda one: (one * 0).astype("i8").reshape(-1, 1)),
    "not finite": every_tensor(lambda one: one * np.float32("nan")),
    "other names": lambda path: (
        path.write_bytes(
            save({f"../{name}": one for name, one in load_file(path).items()} | {"9.x": np.ones(3)})
        )
        and None
    ),
}


def table(frame: pd.DataFrame) -> Attack:
    return lambda path: frame.to_parquet(path)


PARQUET: dict[str, Attack] = {
    "cut short": bytes_of(lambda raw: raw[: len(raw) // 2]),
    "no footer": bytes_of(lambda raw: b"PAR1" + struct.pack("<I", 2**31 - 1) + b"PAR1"),
    "other columns": table(pd.DataFrame({"a": [1], "b": ["x"]})),
    "no rows": table(pd.DataFrame({"prompt": [], "seed": []})),
    "many rows": lambda path: _many_rows(path),
    "long texts": lambda path: _long_texts(path),
}


def _many_rows(path: Path) -> None:
    """A table of a hundred million rows in few bytes."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    part = pa.table({"prompt": pa.array(["a"]).take(pa.array(np.zeros(10**6, int)))})
    with ParquetWriter(path, part.schema, compression="zstd") as file:
        for _ in range(12):
            file.write_table(part)


def _long_texts(path: Path) -> None:
    """Three gigabytes of text in one small dictionary."""
    import pyarrow as pa
    from pyarrow.parquet import write_table

    text = pa.DictionaryArray.from_arrays(np.zeros(3000, "i4"), pa.array(["a" * 2**20]))
    write_table(pa.table({"prompt": text, "seed": np.zeros(3000, int)}), path, compression="zstd")


def npy(shape: str, kind: str = "<f8") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def _pickled() -> bytes:
    raw = io.BytesIO()
    np.save(raw, np.array([{"a": print}], dtype=object), allow_pickle=True)
    return raw.getvalue()


NPY: dict[str, Attack] = {
    "absurd shape": bytes_of(lambda raw: npy(f"({ABSURD},)")),
    "negative shape": bytes_of(lambda raw: npy("(-1,)")),
    "pickled": bytes_of(lambda raw: _pickled()),
    "deep header": bytes_of(lambda raw: npy("(" * 5000)),
    "of texts": bytes_of(lambda raw: npy("(1,)", "<U4") + b"\0" * 16),
}


def packed(raw: bytes, unpacked: bytes = b"") -> bytes:
    """An archive whose every part is this."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as before, zipfile.ZipFile(out, "w", 8) as after:
        for part in before.infolist():
            after.writestr(part.filename, unpacked)
    return out.getvalue()


NPZ: dict[str, Attack] = {
    name: bytes_of(lambda raw, part=part: packed(raw, part))
    for name, part in {
        "absurd shape": npy(f"({ABSURD},)"),
        "pickled": _pickled(),
        "nothing": b"",
        "scalar": npy("()") + b"\0" * 8,
    }.items()
}


def frame(size: int, data: bytes = b"") -> bytes:
    """The head of a Zstandard frame that says how much it unpacks to, with a checksum."""
    import google_crc32c

    raw = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", size) + data
    return raw + struct.pack("<I", google_crc32c.value(raw))


def _bomb() -> bytes:
    import google_crc32c
    from numcodecs.zstd import Zstd

    raw = Zstd(level=3).encode(bytes(2**28))
    return raw + struct.pack("<I", google_crc32c.value(raw))


CHUNK: dict[str, Attack] = {
    "absurd frame": bytes_of(lambda raw: frame(ABSURD, b"\x01\0\0")),
    "bomb": bytes_of(lambda raw: _bomb()),
    "cut short": bytes_of(lambda raw: raw[: len(raw) // 2]),
}
BY_ENDING: dict[str, dict[str, Attack]] = {
    "": {**ANY, **CHUNK},
    ".json": {**ANY, **TEXT, **JSON},
    ".toml": {**ANY, **TEXT, **TOML},
    ".txt": {name: ANY[name] for name in ("huge", "pipe", "folder", "empty")},
    ".csv": {**ANY, **TEXT},
    ".safetensors": {**ANY, **SAFETENSORS},
    ".parquet": {**ANY, **PARQUET},
    ".npy": {**ANY, **NPY},
    ".npz": {**ANY, **NPZ},
}


def nodes(content: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every node of a JSON value, of long lists the first two."""
    yield at
    if isinstance(content, dict):
        for name in content:
            yield from nodes(content[name], (*at, name))
    elif isinstance(content, list):
        for index in range(min(len(content), 2)):
            yield from nodes(content[index], (*at, index))


def replaced(content: Any, at: tuple[Any, ...], value: Any) -> Any:
    """The value with another at a node; without the node where that is Ellipsis."""
    if not at:
        return value if value is not ... else {}
    copy = dict(content) if isinstance(content, dict) else list(content)
    if value is ... and len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = replaced(copy[at[0]], at[1:], value)
    return copy
