"""A recording's folder: a local one, or a place in an object store (any URL that fsspec opens).

A file is written whole or not at all: locally under another name and then renamed; object stores
put objects so by themselves.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.errors import OutputError, RecordingError
from clerestory.io.reading import (
    MAX_TABLE_BYTES,
    MAX_TEXT_BYTES,
    check_count,
    check_regular_file,
    check_relative_path,
    describe_error,
    parse_table,
    path_inside,
    read_table,
)

if TYPE_CHECKING:
    import pandas as pd
    from zarr.abc.store import Store

__all__ = ["Folder", "digest"]

LOCK = ".lock"
PARTIAL = ".partial"


class Folder:
    """Named bytes under one root.

    Args:
        where: A local path, or a URL that fsspec opens.

    Raises:
        OutputError: No file system serves the URL.
    """

    def __init__(self, where: str | Path) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.where = str(where)
        try:
            self.fs, self.root = url_to_fs(self.where)
        except (ImportError, ValueError) as error:
            raise OutputError(f"{where} cannot be opened: {error}.") from error
        self.local = isinstance(self.fs, LocalFileSystem)

    def __str__(self) -> str:
        return self.where

    @property
    def url(self) -> str:
        """Where it is, for another process: an absolute path, or the URL."""
        return str(Path(self.root).resolve()) if self.local else self.where

    def read(self, name: str, most: int = MAX_TEXT_BYTES) -> bytes | None:
        """The bytes called `name`.

        Args:
            name: A path below the root.
            most: The most bytes that are read.

        Returns:
            The bytes; None where there are none of that name.

        Raises:
            RecordingError: The name leads out of the folder, or there are more than `most` bytes.
        """
        if not self.check(name, most):
            return None
        try:
            data: bytes = self.fs.cat_file(f"{self.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise RecordingError(
                f"{self}/{name} cannot be read: {describe_error(error)}."
            ) from error
        return data

    def table(self, name: str) -> pd.DataFrame | None:
        """The Parquet table called `name`.

        Args:
            name: A path below the root.

        Returns:
            The table; None where there is none.

        Raises:
            RecordingError: It is damaged, or larger than what is ever written.
        """
        if self.local:
            path = Path(self.root) / name
            return read_table(path, RecordingError) if self.check(name, MAX_TABLE_BYTES) else None
        raw = self.read(name, MAX_TABLE_BYTES)
        return None if raw is None else parse_table(raw, f"{self}/{name}", RecordingError)

    def check(self, name: str, most: int) -> bool:
        """Whether something is called `name` and may be read.

        Args:
            name: A path below the root.
            most: The most bytes that it may have.

        Returns:
            False where nothing has that name.

        Raises:
            RecordingError: It lies elsewhere, by name or link, is not a plain file, or is too
                large.
        """
        check_relative_path(name, self, RecordingError)
        path = Path(self.root) / name
        if self.local:
            there = path.exists() or path.is_symlink()
            if there:
                check_regular_file(
                    path_inside(Path(self.root), name, RecordingError), RecordingError, most
                )
            return there
        try:
            # The size without the bytes: a large object is refused before it is fetched.
            size = self.fs.size(f"{self.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        check_count(f"{self}/{name}", RecordingError, size or 0, most, "bytes")
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write bytes, whole or not at all; on a local disk they are flushed to it.

        Args:
            name: A path below the root; its folder is made, and what has the name is replaced.
            data: The bytes.
        """
        path = f"{self.root}/{name}"
        if not self.local:
            self.fs.pipe_file(path, data)
            return
        # The process in the name keeps two that write the same file apart, where a folder has no
        # lock.
        partial = Path(f"{path}.{os.getpid()}{PARTIAL}")
        partial.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            # A rename is in the folder, which has to reach the disk as well.
            _flush(Path(path).parent)
        # Also at Ctrl-C, which is no Exception.
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def flush(self, names: Iterable[str]) -> None:
        """Flush files to a local disk, and then the folders that they are in.

        Args:
            names: Paths below the root; nothing happens in an object store.
        """
        if self.local:
            paths = [Path(self.root) / name for name in names]
            for path in [*paths, *{path.parent for path in paths}]:
                _flush(path)

    def remove(self, name: str) -> None:
        """Remove what is called `name`, if anything is.

        Args:
            name: A file's or folder's path below the root.
        """
        if self.fs.exists(f"{self.root}/{name}"):
            self.fs.rm(f"{self.root}/{name}", recursive=True)

    def names(self, under: str = "") -> list[str]:
        """The names directly under a folder.

        Args:
            under: A path below the root; "" for the root.

        Returns:
            Names without their path, sorted; empty where there is no such folder.
        """
        place = f"{self.root}/{under}".rstrip("/")
        try:
            listed: list[str] = self.fs.ls(place, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in listed)

    def remove_partial_files(self) -> None:
        """Without the halves of files that a killed recorder left."""
        if self.local:
            for path in Path(self.root).rglob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)

    def zarr(self, name: str, *, read_only: bool) -> Store:
        """The Zarr store called `name`.

        Args:
            name: A path below the root.
            read_only: Whether writing is refused.

        Returns:
            A local store, or one over fsspec.
        """
        from zarr.storage import FsspecStore, LocalStore

        path = f"{self.root}/{name}"
        if self.local:
            return LocalStore(path, read_only=read_only)
        fs: Any = self.fs
        if not fs.async_impl:
            from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

            # Zarr 3 takes asynchronous file systems only; some of fsspec are not.
            fs = AsyncFileSystemWrapper(fs, asynchronous=True)
        return FsspecStore(fs, path=path, read_only=read_only)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Nobody else records here while this is open.

        The lock is the operating system's, so it ends with its process, however that ends. Object
        stores have none; there a chunk done twice is harmless.

        Raises:
            RecordingError: Somebody does; nothing is waited for.
        """
        if not self.local:
            yield
            return
        from filelock import FileLock, Timeout

        Path(self.root).mkdir(parents=True, exist_ok=True)
        # timeout=0: a recording may take days, so the second recorder is told at once.
        lock = FileLock(f"{self.root}/{LOCK}", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise RecordingError(
                f"Somebody else is recording into {self}: wait, or take another folder."
            ) from None
        try:
            yield
        finally:
            lock.release()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def digest(data: bytes) -> str:
    """What markers and the manifest say of a file.

    Args:
        data: The file's bytes.

    Returns:
        BLAKE2b, 16 bytes in hexadecimal.
    """
    return hashlib.blake2b(data, digest_size=16).hexdigest()
