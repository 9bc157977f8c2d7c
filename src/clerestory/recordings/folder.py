"""A recording's folder: a local one, or one in an object store (any URL that fsspec opens).

Files are written completely or not at all: locally under another name and then renamed; object
stores put objects so by themselves.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.errors import OutputError, RecordingError, describe_error
from clerestory.io.reading import (
    MAX_TABLE_BYTES,
    MAX_TEXT_BYTES,
    check_count,
    check_regular_file,
    check_relative_path,
    parse_table,
    path_inside,
    read_table,
)
from clerestory.io.writing import check_link_target, check_links

if TYPE_CHECKING:
    import pandas as pd
    from zarr.abc.store import Store

__all__ = ["Folder"]

LOCK = ".lock"
PARTIAL = ".partial"


class Folder:
    """A folder whose files are read and written by name.

    Args:
        where: A local path, or a URL that fsspec opens.

    Raises:
        OutputError: No file system serves the URL.
        RecordingError: It is a link to nothing.
    """

    def __init__(self, where: str | Path) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.where = str(where)
        if not self.where or "\0" in self.where:
            raise OutputError(f"{self.where!r:.80} is no folder; write its path.")
        try:
            self.fs, self.root = url_to_fs(self.where)
        except (ImportError, ValueError) as error:
            raise OutputError(f"{where} cannot be opened: {error}.") from error
        self.local = isinstance(self.fs, LocalFileSystem)
        if self.local:
            check_link_target(Path(self.root), RecordingError)

    def __str__(self) -> str:
        return self.where

    @property
    def url(self) -> str:
        """The absolute path or URL, for another process."""
        # Absolute, since a worker may run in another working directory.
        return str(Path(self.root).resolve()) if self.local else self.where

    def read(self, name: str, max_bytes: int = MAX_TEXT_BYTES) -> bytes | None:
        """Read a file.

        Args:
            name: A path below the root.
            max_bytes: Limit of its size.

        Returns:
            The bytes; None if there is no such file.

        Raises:
            RecordingError: The name leads out of the folder, or the file is larger.
        """
        if not self.check(name, max_bytes):
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
        """Read a Parquet table.

        Args:
            name: A path below the root.

        Returns:
            The table; None if there is no such file.

        Raises:
            RecordingError: It is damaged or too large.
        """
        if self.local:
            path = Path(self.root) / name
            return read_table(path, RecordingError) if self.check(name, MAX_TABLE_BYTES) else None
        raw = self.read(name, MAX_TABLE_BYTES)
        return None if raw is None else parse_table(raw, f"{self}/{name}", RecordingError)

    def check(self, name: str, max_bytes: int) -> bool:
        """Whether a file exists and may be read.

        Args:
            name: A path below the root.
            max_bytes: Limit of its size.

        Returns:
            False if there is no such file.

        Raises:
            RecordingError: The name or a link leads out of the folder, or the file is too large or
                not a regular file.
        """
        check_relative_path(name, self, RecordingError)
        path = Path(self.root) / name
        if self.local:
            # A link that leads nowhere exists too, and is refused below.
            exists = path.exists() or path.is_symlink()
            if exists:
                check_regular_file(
                    path_inside(Path(self.root), name, RecordingError), RecordingError, max_bytes
                )
            return exists
        try:
            # The size without the bytes: a large object is refused before it is fetched.
            size = self.fs.size(f"{self.root}/{name}")
        except (FileNotFoundError, NotADirectoryError):
            return False
        check_count(f"{self}/{name}", RecordingError, size or 0, max_bytes, "bytes")
        return True

    def write(self, name: str, data: bytes) -> None:
        """Write a file completely or not at all; on a local disk it is flushed.

        Args:
            name: A path below the root; its folder is created, an existing file is replaced.
            data: The content.

        Raises:
            RecordingError: The folder was moved or removed, or the name leads out of it.
        """
        path = f"{self.root}/{name}"
        if not self.local:
            self.fs.pipe_file(path, data)
            return
        if not Path(self.root).is_dir():
            # Made again here, it would hold this file alone, beside the folder's new place.
            raise RecordingError(f"{self} was moved or removed meanwhile: give its new place.")
        # A folder in it may be a link to one elsewhere.
        path_inside(Path(self.root), name, RecordingError)
        # The process number separates two writers of the same file in a folder without a lock.
        partial = Path(f"{path}.{os.getpid()}{PARTIAL}")
        _make_folder(partial.parent)
        try:
            with partial.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
            # The rename is an entry of the folder, which is flushed as well.
            _flush(Path(path).parent)
        # Also at Ctrl-C, which is no Exception.
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def flush(self, names: Iterable[str]) -> None:
        """Flush files, and then their folders, to a local disk; no effect in an object store.

        Args:
            names: Paths below the root.
        """
        if self.local:
            paths = [Path(self.root) / name for name in names]
            # Files before folders: an entry must not outlive its content.
            for path in [*paths, *{path.parent for path in paths}]:
                _flush(path)

    def remove(self, name: str) -> None:
        """Remove a file or folder, if it exists.

        Args:
            name: Its path below the root.
        """
        if self.fs.exists(f"{self.root}/{name}"):
            self.fs.rm(f"{self.root}/{name}", recursive=True)

    def names(self, under: str = "") -> list[str]:
        """List a folder.

        Args:
            under: A path below the root; "" for the root.

        Returns:
            Names of its files and folders, sorted; empty if there is no such folder.

        Raises:
            OutputError: It is a file.
        """
        # fsspec lists a file as the only one of a folder.
        if self.local and Path(self.root).is_file():
            raise OutputError(f"{self} is a file; give a folder.")
        folder = f"{self.root}/{under}".rstrip("/")
        try:
            paths: list[str] = self.fs.ls(folder, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(path.rstrip("/").rpartition("/")[2] for path in paths)

    def sizes(self, under: str) -> dict[str, int]:
        """The sizes of a folder's files, by one listing.

        Args:
            under: A path below the root.

        Returns:
            Bytes by name; empty if there is no such folder.
        """
        try:
            entries = self.fs.ls(f"{self.root}/{under}", detail=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        return {
            entry["name"].rpartition("/")[2]: entry["size"]
            for entry in entries
            if entry["type"] == "file"
        }

    def identity(self, name: str) -> tuple[int, int] | None:
        """What tells a file from another of the same name.

        Args:
            name: A path below the root.

        Returns:
            Numbers of the disk and of the file; None if there is no such file, and in an object
            store, where nothing can be renamed.
        """
        try:
            status = Path(self.root, name).stat() if self.local else None
        except OSError:
            return None
        return None if status is None else (status.st_dev, status.st_ino)

    def make(self) -> None:
        """Create the folder, on a local disk, if it does not exist."""
        if self.local:
            _make_folder(Path(self.root))

    def remove_partial_files(self) -> None:
        """Remove the unfinished files that a killed process left."""
        if self.local:
            for path in Path(self.root).rglob(f"*{PARTIAL}"):
                path.unlink(missing_ok=True)

    def zarr(self, name: str, *, read_only: bool) -> Store:
        """Open a Zarr store.

        Args:
            name: A path below the root.
            read_only: Whether writing is refused.

        Returns:
            The store.
        """
        from zarr.storage import FsspecStore, LocalStore

        path = f"{self.root}/{name}"
        if self.local:
            return LocalStore(path, read_only=read_only)
        fs: Any = self.fs
        if not fs.async_impl:
            from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

            # Zarr 3 requires asynchronous file systems; some of fsspec's are synchronous.
            fs = AsyncFileSystemWrapper(fs, asynchronous=True)
        return FsspecStore(fs, path=path, read_only=read_only)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Exclude other processes that record into the folder.

        The lock is the operating system's, so it ends with its process, however that ends. Object
        stores have none; there, a chunk that two processes fill is the same from both.

        Raises:
            RecordingError: Another process holds the lock, or a link leads out of the folder.
        """
        if not self.local:
            yield
            return
        # Before the lock, which is a file in it.
        check_links(Path(self.root), RecordingError)
        from filelock import FileLock, Timeout

        self.make()
        # No timeout: a recording may take days, so the second process fails at once.
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


def _make_folder(folder: Path) -> None:
    """Create a folder with its parents; the entry of each new one is flushed."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _flush(folder.parent)


def _flush(path: Path) -> None:
    # `os.open` opens folders as well, which `open` refuses.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
