"""Clerestory's own format: `config.json`, sealed, and `weights.safetensors`."""

from __future__ import annotations

import json
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

__all__ = ["CONFIG", "FORMAT", "TENSORS", "read_dictionary", "write_dictionary"]

FORMAT = "clerestory-dictionary-1"
CONFIG, TENSORS = "config.json", "weights.safetensors"


@dataclass(frozen=True)
class _Config:
    """The content of `config.json`; its tensors are beside it."""

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
    config = _Config(
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
    text = json.dumps(seal(to_jsonable(config)), indent=1, allow_nan=False) + "\n"
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
    config = validate_sealed(_Config, read_json(path, DictionaryError), path, DictionaryError)
    path = path_inside(folder, TENSORS, DictionaryError)
    tensors: dict[str, Tensor] = read_tensors(path, DictionaryError, max_bytes=MAX_WEIGHT_BYTES)
    missing = [name for name in WEIGHTS if name not in tensors]
    if missing:
        raise DictionaryError(f"{path} has no tensor {missing[0]!r}; get it again.")
    weights: dict[str, Any] = {name: tensors.pop(name) for name in WEIGHTS}
    normalization = _take_normalization(tensors, "normalization", path)
    output = _take_normalization(tensors, "output_normalization", path)
    dictionary = Dictionary(
        **weights,
        # What is left are the parameters of the activation function.
        activation=make_activation(config.kind, config.settings, tensors),
        normalization=normalization,
        output_normalization=output if config.has_output_normalization else None,
        apply_b_dec_to_input=config.apply_b_dec_to_input,
        site=config.site,
        output_site=config.output_site,
        metadata=config.metadata,
    )
    if (dictionary.width, dictionary.latents) != (config.width, config.latents):
        raise DictionaryError(f"{path} does not fit {CONFIG}: its sizes differ; get both again.")
    return dictionary


def _take_normalization(tensors: dict[str, Tensor], prefix: str, path: Path) -> Normalization:
    names = [name for name in tensors if name.startswith(f"{prefix}.")]
    found = {name.removeprefix(f"{prefix}."): tensors.pop(name) for name in names}
    unknown = set(found) - {"mean", "scale"}
    if unknown:
        raise DictionaryError(f"{path} has a tensor {min(unknown)[:80]!r} that no {prefix} has.")
    return Normalization(**found)
