"""The base class of dictionary formats, which read what a library publishes.

A new one is one file and one registration:

    @formats.register("sae-lens")
    class SAELens(Format): ...
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.errors import DictionaryError, describe_error
from clerestory.io.reading import check_regular_file, path_inside, read_json
from clerestory.io.tensor_files import MAX_WEIGHT_BYTES, read_tensors
from clerestory.registry import Registry

__all__ = [
    "Format",
    "find_format",
    "formats",
    "has_files",
    "read_config",
    "read_k",
    "read_pickle",
    "read_weights",
    "take",
]


class Format(ABC):
    """Base class of formats."""

    @abstractmethod
    def matches(self, path: Path) -> bool:
        """Whether a folder or file is of this format, by the names of its files.

        Args:
            path: The folder or file.
        """

    @abstractmethod
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        """Read a dictionary.

        Args:
            path: A folder or file that matches.
            allow_pickles: Whether pickled weights may be read.

        Returns:
            The dictionary, on the CPU.

        Raises:
            DictionaryError: A file is damaged, pickled, or has what no dictionary here can do.
        """

    def write(self, dictionary: Dictionary, folder: Path) -> Path:
        """Write a dictionary; by default refused.

        Args:
            dictionary: The dictionary.
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            DictionaryError: The format cannot hold it.
        """
        raise DictionaryError(f"{type(self).__name__} dictionaries are read and not written.")


formats: Registry[type[Format]] = Registry(
    "dictionary format",
    package="clerestory.dictionaries.formats",
    group="clerestory.dictionary_formats",
)
"""Formats by the name of the library that writes them."""


def find_format(path: Path) -> Format:
    """The format of a folder or file.

    Args:
        path: The folder or file.

    Returns:
        The first registered format that matches.

    Raises:
        DictionaryError: None does.
    """
    if not path.exists():
        raise DictionaryError(f"{path} cannot be read: there is no such file or folder.")
    for kind in formats.values():
        if kind().matches(path):
            return kind()
    raise DictionaryError(
        f"{path} holds no dictionary of a known format ({', '.join(sorted(formats))})."
    )


def has_files(path: Path, *names: str) -> bool:
    """Whether a folder has all of some files.

    Args:
        path: The folder.
        *names: Names of files.
    """
    return path.is_dir() and all((path / name).is_file() for name in names)


def read_config(folder: Path, name: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        folder: The folder of the dictionary.
        name: The file's name.

    Returns:
        Its fields.

    Raises:
        DictionaryError: It cannot be read, or is no object.
    """
    path = path_inside(folder, name, DictionaryError)
    content = read_json(path, DictionaryError, finite=False)
    if not isinstance(content, dict):
        raise DictionaryError(f"{path} is no configuration of a dictionary.")
    return content


def read_k(config: Mapping[str, Any], path: Path) -> int:
    """Number of active latents from a configuration.

    Args:
        config: The fields.
        path: The dictionary, for the message.

    Returns:
        `k`.

    Raises:
        DictionaryError: There is none, or it is no whole number.
    """
    k = config.get("k")
    if not isinstance(k, int):
        raise DictionaryError(f"{path} has no whole number k, but {k!r:.40}.")
    return k


def read_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """Read a safetensors file of a folder.

    Args:
        folder: The folder of the dictionary.
        name: The file's name.

    Returns:
        Tensors by name.

    Raises:
        DictionaryError: It cannot be read.
    """
    path = path_inside(folder, name, DictionaryError)
    return read_tensors(path, DictionaryError, max_bytes=MAX_WEIGHT_BYTES)


def take(tensors: Mapping[str, Tensor], source: object, *names: str) -> Tensor:
    """A tensor by the first of its names that there is.

    Args:
        tensors: Tensors by name.
        source: The file, for the message.
        *names: Names that it may have.

    Returns:
        The tensor in float32.

    Raises:
        DictionaryError: There is none.
    """
    for name in names:
        if name in tensors:
            return tensors[name].float()
    raise DictionaryError(f"{source} has no tensor {' or '.join(names)}; get it again.")


def read_pickle(path: Path, *, allow_pickles: bool, objects: bool = False) -> Any:
    """Read a file that `torch.save` wrote.

    Args:
        path: The file.
        allow_pickles: Whether it may be read.
        objects: Whether it may hold more than tensors, so that reading it runs code.

    Returns:
        Its content, on the CPU.

    Raises:
        DictionaryError: Pickles may not be read, or it is damaged.
    """
    if not allow_pickles:
        raise DictionaryError(
            f"{path} is a pickle, which can run code when it is read: if you trust it, read it "
            "with allow_pickles=True or --allow-pickles, or ask for safetensors."
        )
    check_regular_file(path, DictionaryError, MAX_WEIGHT_BYTES)
    try:
        # Tensors and plain containers alone, of which none can run code.
        return torch.load(path, map_location="cpu", weights_only=True)
    # What unpickling raises for whatever it finds.
    except Exception as error:
        if not objects:
            raise DictionaryError(
                f"{path} cannot be read ({describe_error(error)}): it is damaged, or holds more "
                "than tensors."
            ) from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:
        raise DictionaryError(
            f"{path} cannot be read ({describe_error(error)}): it is damaged, or needs the library "
            "that wrote it."
        ) from error
