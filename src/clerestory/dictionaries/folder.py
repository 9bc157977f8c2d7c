"""Clerestory's own format: `config.json`, sealed, and `weights.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from clerestory.dictionaries.activation import make_activation
from clerestory.dictionaries.dictionary import WEIGHTS, Dictionary
from clerestory.dictionaries.normalization import Normalization
from clerestory.errors import DictionaryError
from clerestory.io.digests import seal
from clerestory.io.reading import path_inside, read_json
from clerestory.io.tensor_files import MAX_WEIGHT_BYTES, read_tensors, write_tensors
from clerestory.io.validation import to_jsonable, validate_sealed
from clerestory.io.writing import atomic_folder

__all__ = [
    "CONFIG",
    "FORMAT",
    "TENSORS",
    "DictionaryConfig",
    "config_of",
    "from_config",
    "read_dictionary",
    "write_dictionary",
]

FORMAT = "clerestory-dictionary-1"
CONFIG, TENSORS = "config.json", "weights.safetensors"


@dataclass(frozen=True)
class DictionaryConfig:
    """All of a dictionary but its tensors: the content of `config.json`."""

    format: Literal["clerestory-dictionary-1"]
    kind: str
    settings: dict[str, float | int]
    width: int
    latents: int
    apply_b_dec_to_input: bool
    has_output_normalization: bool
    site: str
    output_site: str | None
    metadata: dict[str, Any]


def config_of(dictionary: Dictionary) -> DictionaryConfig:
    """All of a dictionary but its tensors.

    Args:
        dictionary: The dictionary.

    Returns:
        What `from_config` restores it from, with `dictionary.tensors()`.
    """
    return DictionaryConfig(
        format="clerestory-dictionary-1",
        kind=dictionary.kind,
        settings=dictionary.activation.settings(),
        width=dictionary.width,
        latents=dictionary.latents,
        apply_b_dec_to_input=dictionary.apply_b_dec_to_input,
        has_output_normalization=dictionary.output_normalization is not None,
        site=dictionary.site,
        output_site=dictionary.output_site,
        metadata=dict(dictionary.metadata),
    )


def from_config(
    config: DictionaryConfig, tensors: Mapping[str, Tensor], source: object
) -> Dictionary:
    """Restore a dictionary.

    Args:
        config: What `config_of` gave.
        tensors: Its tensors by name, perhaps from an untrusted file.
        source: Where they come from, for messages.

    Returns:
        The dictionary.

    Raises:
        DictionaryError: A tensor is missing, unknown or of another shape.
        RegistryError: Its kind is not registered.
    """
    left = dict(tensors)
    missing = [name for name in WEIGHTS if name not in left]
    if missing:
        raise DictionaryError(f"{source} has no tensor {missing[0]!r}; get it again.")
    weights: dict[str, Any] = {name: left.pop(name) for name in WEIGHTS}
    normalization = _take_normalization(left, "normalization", source)
    output = _take_normalization(left, "output_normalization", source)
    dictionary = Dictionary(
        **weights,
        # What is left are the parameters of the activation function.
        activation=make_activation(config.kind, config.settings, left),
        normalization=normalization,
        output_normalization=output if config.has_output_normalization else None,
        apply_b_dec_to_input=config.apply_b_dec_to_input,
        site=config.site,
        output_site=config.output_site,
        metadata=config.metadata,
    )
    if (dictionary.width, dictionary.latents) != (config.width, config.latents):
        raise DictionaryError(f"{source} does not fit {CONFIG}: its sizes differ; get both again.")
    return dictionary


def write_dictionary(dictionary: Dictionary, folder: Path) -> Path:
    """Write a dictionary: both files or neither.

    Args:
        dictionary: The dictionary.
        folder: A new or empty folder.

    Returns:
        The folder.

    Raises:
        OutputError: The folder holds something else.
    """
    content = seal(to_jsonable(config_of(dictionary)))
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    with atomic_folder(folder) as part:
        tensors = {name: each.cpu().contiguous() for name, each in dictionary.tensors().items()}
        write_tensors(part / TENSORS, tensors)
        (part / CONFIG).write_text(text)
    return folder


def read_dictionary(folder: Path) -> Dictionary:
    """Read a dictionary that `write_dictionary` wrote.

    Args:
        folder: Its folder.

    Returns:
        The dictionary, on the CPU.

    Raises:
        DictionaryError: A file is missing, altered, damaged or of another format.
        RegistryError: Its kind is not registered.
    """
    path = path_inside(folder, CONFIG, DictionaryError)
    content = read_json(path, DictionaryError)
    config = validate_sealed(DictionaryConfig, content, path, DictionaryError)
    path = path_inside(folder, TENSORS, DictionaryError)
    tensors = read_tensors(path, DictionaryError, max_bytes=MAX_WEIGHT_BYTES)
    return from_config(config, tensors, path)


def _take_normalization(tensors: dict[str, Tensor], prefix: str, source: object) -> Normalization:
    names = [name for name in tensors if name.startswith(f"{prefix}.")]
    found = {name.removeprefix(f"{prefix}."): tensors.pop(name) for name in names}
    unknown = set(found) - {"mean", "scale"}
    if unknown:
        raise DictionaryError(f"{source} has a tensor {min(unknown)[:80]!r} that no {prefix} has.")
    return Normalization(**found)
