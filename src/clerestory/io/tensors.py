"""Tensors that anybody may have written, read within bounds: safetensors, `.npz`, `.npy`."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError
from clerestory.io.reading import (
    MOST_TEXT,
    Refusal,
    check_count,
    inside,
    loads,
    one_line,
    refusing,
    regular,
)

__all__ = [
    "MOST_TENSORS",
    "check_tensors",
    "mapped_array",
    "read_arrays",
    "read_tensors",
    "writing",
]

MOST_TENSORS = 2 * 2**30
"""Bytes of a file of directions or edits."""
MOST_WEIGHTS = 2**40
"""Bytes of a file of weights, which are mapped and not read."""


def read_tensors(
    path: Path, error: Refusal, framework: Literal["pt", "np"] = "pt"
) -> dict[str, Any]:
    """The tensors of a safetensors file.

    Args:
        path: The file.
        error: The class of what is raised.
        framework: `pt` for torch tensors on the CPU, `np` for numpy arrays.

    Returns:
        Tensors by name.

    Raises:
        ClerestoryError: Of class `error`, where it is damaged or larger than 2 GiB.
    """
    from safetensors import SafetensorError, safe_open

    check_tensors(path, error, MOST_TENSORS)
    try:
        with refusing(path, error), safe_open(path, framework=framework) as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except SafetensorError as reason:
        raise error(f"{path} is damaged: {one_line(reason)}; get it again.") from reason


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """While safetensors are written there.

    Args:
        path: The file.

    Yields:
        The path.

    Raises:
        OutputError: The disk does not take them.
    """
    from safetensors import SafetensorError

    try:
        yield path
    except SafetensorError as reason:
        raise OutputError(f"{path} cannot be written: {one_line(reason)}.") from reason


def check_tensors(path: Path, error: Refusal, most: int = MOST_WEIGHTS) -> None:
    """Check that a safetensors file's header fits the file; no tensor is read.

    Args:
        path: The file.
        error: The class of what is raised.
        most: The most bytes that it may have.

    Raises:
        ClerestoryError: Of class `error`, where it is damaged, cut short or too large.
    """
    size = regular(path, error, most)
    with refusing(path, error), path.open("rb") as file:
        # The format: 8 bytes with the length of the header, the header as JSON, the tensors.
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise error(
                f"{path} is damaged or cut short: it has {size:,} bytes, and its header says that "
                f"it is of {length:,}. Get it again."
            )
        check_count(path, error, length, MOST_TEXT, "bytes of header")
        header = loads(file.read(length), path, error)
        for name, one in header.items():
            if name != "__metadata__":
                begin, end = one["data_offsets"]
                if not 0 <= begin <= end <= size - 8 - length or len(one["shape"]) > 16:
                    raise ValueError(f"tensor {name[:80]!r} lies outside of the file")


def read_arrays(path: Path, error: Refusal, most: int = MOST_TENSORS) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file.

    Args:
        path: The file.
        error: The class of what is raised.
        most: The most bytes of the file, and of its parts unpacked.

    Returns:
        Arrays by name; none has objects, which would be pickles.

    Raises:
        ClerestoryError: Of class `error`, where it is damaged, too large, or an array says that it
            has more than it has.
    """
    inside(path.parent, path.name, error)
    regular(path, error, most)
    with refusing(path, error), path.open("rb") as file:
        try:
            _check_packed(file, path, error, most)
            file.seek(0)
            with np.load(file, allow_pickle=False) as held:
                return dict(held)
        except zipfile.BadZipFile as reason:
            raise ValueError(str(reason)) from reason


def mapped_array(path: Path, error: Refusal) -> NDArray[Any]:
    """An `.npy` file, mapped.

    Args:
        path: The file.
        error: The class of what is raised.

    Returns:
        The array, read-only, read from the disk where it is used.

    Raises:
        ClerestoryError: Of class `error`, where it is none, or holds objects.
    """
    regular(path, error, MOST_WEIGHTS)
    with refusing(path, error):
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it is an archive and no array")
        return found


def _check_packed(raw: BinaryIO, path: Path, error: Refusal, most: int) -> None:
    """`error` where the parts of an archive unpack to too much, ValueError where they lie."""
    with zipfile.ZipFile(raw) as packed:
        parts = packed.infolist()
        check_count(path, error, sum(part.file_size for part in parts), most, "unpacked bytes")
        for part in parts:
            with packed.open(part) as file:
                major, _ = np.lib.format.read_magic(file)
                # Headers only: what they claim is compared with the size before numpy makes an
                # array of it.
                read = np.lib.format.read_array_header_1_0
                read = read if major == 1 else np.lib.format.read_array_header_2_0
                shape, _, kind = read(file)
            if kind.hasobject or math.prod(shape) * kind.itemsize > part.file_size:
                raise ValueError(f"{part.filename!r} says that it is an array of {shape}")
