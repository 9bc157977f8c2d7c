"""Files of tensors (safetensors, `.npz`, `.npy`), read within bounds; none can hold objects."""

from __future__ import annotations

import hashlib
import math
import stat
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import OutputError, describe_error
from clerestory.io.digests import DIGEST
from clerestory.io.reading import (
    MAX_TEXT_BYTES,
    ErrorClass,
    check_count,
    check_regular_file,
    parse_json,
    path_inside,
    wrap_errors,
)

__all__ = [
    "MAX_TENSOR_BYTES",
    "MAX_WEIGHT_BYTES",
    "check_tensor_file",
    "default_permissions",
    "open_memmap",
    "read_arrays",
    "read_tensors",
    "tensor_digest",
    "write_tensors",
]

MAX_TENSOR_BYTES = 2 * 2**30
"""Size of a file of directions or edits."""
MAX_WEIGHT_BYTES = 2**40
"""Size of a file of weights, which is memory-mapped."""


def read_tensors(
    path: Path,
    error: ErrorClass,
    framework: Literal["pt", "np"] = "pt",
    *,
    max_bytes: int = MAX_TENSOR_BYTES,
) -> dict[str, Any]:
    """Read a safetensors file.

    Args:
        path: The file.
        error: Class of the error.
        framework: `pt` for torch tensors on the CPU, `np` for numpy arrays.
        max_bytes: Limit of its size; by default 2 GiB.

    Returns:
        Tensors by name.

    Raises:
        ClerestoryError: Of class `error`, if it is damaged or too large.
    """
    from safetensors import SafetensorError, safe_open

    check_tensor_file(path, error, max_bytes)
    try:
        with wrap_errors(path, error), safe_open(path, framework=framework) as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            expected = (opened.metadata() or {}).get(DIGEST)
    except SafetensorError as reason:
        raise error(f"{path} is damaged: {describe_error(reason)}; get it again.") from reason
    # Files of others have none.
    if expected is not None and expected != tensor_digest(tensors):
        raise error(f"{path} was altered: its digest differs; get it again.")
    return tensors


def write_tensors(
    path: Path,
    tensors: Mapping[str, Any],
    *,
    framework: Literal["pt", "np"] = "pt",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write a safetensors file.

    Args:
        path: The file; one that exists is overwritten.
        tensors: Contiguous tensors by name.
        framework: `pt` for torch tensors, `np` for numpy arrays.
        metadata: Strings for the header.

    Raises:
        OutputError: The file cannot be written, for instance because the disk is full.
    """
    import safetensors.numpy
    import safetensors.torch

    module = {"pt": safetensors.torch, "np": safetensors.numpy}[framework]
    try:
        digest = {DIGEST: tensor_digest(tensors)}
        with default_permissions(path):
            module.save_file(dict(tensors), path, {**(metadata or {}), **digest})
    except safetensors.SafetensorError as reason:
        raise OutputError(f"{path} cannot be written: {describe_error(reason)}.") from reason


def tensor_digest(tensors: Mapping[str, Any]) -> str:
    """The digest of names, types, shapes and bytes, the same for torch and numpy.

    Args:
        tensors: Tensors or arrays by name.

    Returns:
        32 hexadecimal digits.
    """
    parts = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(tensors.items()):
        kind = str(tensor.dtype).removeprefix("torch.")
        parts.update(repr((name, kind, tuple(tensor.shape))).encode())
        if not isinstance(tensor, np.ndarray):
            import torch

            # As bytes: numpy has no bfloat16.
            tensor = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        parts.update(tensor.tobytes())
    return parts.hexdigest()


@contextmanager
def default_permissions(path: Path) -> Iterator[None]:
    """Give a file that is written in this context the permissions of any new file.

    safetensors makes files that only their owner may read, whatever the umask says.

    Args:
        path: The file, or a folder, all of whose safetensors files are meant.

    Yields:
        Nothing.
    """
    folder = path if path.is_dir() else path.parent
    # By a file of our own: the umask can be read only by setting it, for all threads.
    probe = folder / f".permissions-{uuid4().hex[:8]}"
    probe.touch()
    try:
        mode = stat.S_IMODE(probe.stat().st_mode)
    finally:
        probe.unlink()
    yield
    for file in path.rglob("*.safetensors") if path.is_dir() else [path]:
        file.chmod(mode)


def check_tensor_file(path: Path, error: ErrorClass, max_bytes: int = MAX_WEIGHT_BYTES) -> None:
    """Check the header of a safetensors file against its size; no tensor is read.

    Args:
        path: The file.
        error: Class of the error.
        max_bytes: Limit of its size.

    Raises:
        ClerestoryError: Of class `error`, if it is damaged, cut short or too large.
    """
    size = check_regular_file(path, error, max_bytes)
    with wrap_errors(path, error), path.open("rb") as file:
        # The format: 8 bytes with the length of the header, the header as JSON, the tensors.
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise error(
                f"{path} is damaged or cut short: it has {size:,} bytes, and the stated length of "
                f"its header is {length:,}. Get it again."
            )
        check_count(path, error, length, MAX_TEXT_BYTES, "bytes of header")
        header = parse_json(file.read(length), path, error)
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = entry["data_offsets"]
                # safetensors checks this too, but after it has mapped the file.
                if not 0 <= start <= end <= size - 8 - length or len(entry["shape"]) > 16:
                    raise ValueError(f"tensor {name[:80]!r} lies outside of the file")


def read_arrays(
    path: Path, error: ErrorClass, max_bytes: int = MAX_TENSOR_BYTES
) -> dict[str, NDArray[Any]]:
    """Read an `.npz` file.

    Args:
        path: The file.
        error: Class of the error.
        max_bytes: Limit of its size, packed and unpacked.

    Returns:
        Arrays by name.

    Raises:
        ClerestoryError: Of class `error`, if it is damaged, too large, holds objects (which would
            be pickled), or an array is shorter than its header states.
    """
    # A link could lead anywhere; only its own folder is trusted.
    path_inside(path.parent, path.name, error)
    check_regular_file(path, error, max_bytes)
    with wrap_errors(path, error), path.open("rb") as file:
        try:
            _check_archive(file, path, error, max_bytes)
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                return dict(archive)
        except zipfile.BadZipFile as reason:
            raise ValueError(str(reason)) from reason


def open_memmap(path: Path, error: ErrorClass) -> NDArray[Any]:
    """Memory-map an `.npy` file.

    Args:
        path: The file.
        error: Class of the error.

    Returns:
        The array, read-only.

    Raises:
        ClerestoryError: Of class `error`, if it is damaged or holds objects.
    """
    check_regular_file(path, error, MAX_WEIGHT_BYTES)
    with wrap_errors(path, error):
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.ndarray):
            raise ValueError("it is an archive, not an array")
        return array


def _check_archive(raw: BinaryIO, path: Path, error: ErrorClass, max_bytes: int) -> None:
    """`error` if the parts unpack to too much, ValueError if a header states a wrong size."""
    with zipfile.ZipFile(raw) as archive:
        parts = archive.infolist()
        check_count(path, error, sum(part.file_size for part in parts), max_bytes, "unpacked bytes")
        for part in parts:
            with archive.open(part) as file:
                major, _ = np.lib.format.read_magic(file)
                # Headers only: the stated size is checked before numpy allocates an array of it.
                read_header = np.lib.format.read_array_header_1_0
                if major > 1:
                    read_header = np.lib.format.read_array_header_2_0
                shape, _, dtype = read_header(file)
            if dtype.hasobject or math.prod(shape) * dtype.itemsize > part.file_size:
                raise ValueError(f"{part.filename!r} states that it is an array of {shape}")
