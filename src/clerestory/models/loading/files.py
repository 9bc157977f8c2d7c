"""Checks of the files of a pipeline's folder: pickles, sizes, missing weights."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError
from clerestory.io.reading import (
    MAX_TEXT_BYTES,
    check_count,
    check_regular_file,
    path_inside,
    read_json,
)
from clerestory.io.tensor_files import check_tensor_file
from clerestory.models.loading.moved_classes import is_moved_package

__all__ = [
    "PICKLES",
    "check_complete",
    "check_index",
    "check_parts",
    "check_pickles",
    "pickle_error",
]

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
MOST_JSON = 64 * 2**20
"""Bytes of a tokenizer's vocabulary."""
MOST_LAYERS, MOST_SIZE = 1000, 2**24
"""The largest number of layers, and of anything else, in a configuration."""


def check_pickles(folder: Path, index: Mapping[str, Any]) -> None:
    """Check that no part has pickled weights only.

    Args:
        folder: The pipeline's folder.
        index: What `model_index.json` holds: for each part its library and class.

    Raises:
        ModelError: One has; the message names the file.
    """
    parts = [
        name for name, entry in index.items() if isinstance(entry, list) and entry and entry[0]
    ]
    # The safety checker of Stable Diffusion is left out, so it may be a pickle.
    for part in sorted(set(parts) - {"safety_checker"}):
        pickled = sorted(path for path in (folder / part).glob("*") if path.suffix in PICKLES)
        if pickled and not any((folder / part).glob("*.safetensors")):
            raise pickle_error(pickled[0])


def check_index(source: Path | str, index: Any) -> None:
    """Check that a pipeline's index names parts of known libraries.

    Args:
        source: The folder or id, for error messages.
        index: What `model_index.json` holds.

    Raises:
        ModelError: An entry is not a part, or needs code of its own.
    """
    if not isinstance(index, Mapping):
        raise ModelError(f"{source} is not a pipeline: its model_index.json cannot be read.")
    for name, entry in index.items():
        if not isinstance(entry, list) or name.startswith("_"):
            continue
        # A part's name is a folder's name too; this keeps it within the pipeline.
        is_name = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) is not None
        is_pair = len(entry) == 2 and all(text is None or isinstance(text, str) for text in entry)
        if not is_name or not is_pair:
            raise ModelError(
                f"{source} is not a pipeline: its model_index.json has {name[:80]!r}, which is not "
                "a part; expected a name with a library and a class."
            )
        if entry[0] is not None and not _is_library(entry[0]):
            raise ModelError(
                f"{source} cannot be opened: its part {name[:80]} needs code of its own "
                f"({entry[0][:80]}), and such code is never run."
            )


def _is_library(name: str) -> bool:
    """Whether parts may come from a library: diffusers, transformers, or a package of diffusers."""
    if name in ("diffusers", "transformers"):
        return True
    if name.startswith("_") or not name.isidentifier():
        return False
    # `find_spec` looks the package up without importing it, so a name in a file runs nothing of it.
    known = importlib.util.find_spec(f"diffusers.pipelines.{name}") is not None
    return known or is_moved_package(name)


def check_parts(folder: Path, kind: str, index: Mapping[str, Any], *, pickles: bool) -> None:
    """Check the files of all parts before any is loaded.

    Sizes in a part's configuration are bounded, since networks are built by them.

    Args:
        folder: The pipeline's folder.
        kind: The pipeline's class, for error messages.
        index: What `model_index.json` holds.
        pickles: Whether pickled weights may be read.

    Raises:
        ModelError: A file is damaged, leads out of the folder, or is a pickle.
    """
    if not pickles:
        check_pickles(folder, index)
    try:
        _check_files(folder, index)
    except ModelError as error:
        raise ModelError(f"{folder} cannot be opened as a {kind}: {error}") from error


def _check_files(folder: Path, index: Mapping[str, Any]) -> None:
    for name in (name for name, entry in index.items() if isinstance(entry, list) and entry[0]):
        path_inside(folder, name, ModelError)
        for path in sorted((folder / name).glob("*")):
            path_inside(folder, f"{name}/{path.name}", ModelError)
            if path.suffix == ".safetensors":
                check_tensor_file(path, ModelError)
            elif path.suffix == ".json":
                # Vocabularies of multilingual tokenizers are tens of megabytes of JSON.
                most = MOST_JSON if path.name.startswith(("tokenizer", "vocab")) else MAX_TEXT_BYTES
                check_regular_file(path, ModelError, most)
            if path.name in ("config.json", "scheduler_config.json"):
                # Schedulers write `-Infinity` and the like as bounds, so numbers need not be
                # finite.
                config = read_json(path, ModelError, finite=False)
                if not isinstance(config, Mapping):
                    raise ModelError(f"{path} is not a configuration: expected a JSON object.")
                _check_sizes(path, config)


def _check_sizes(path: Path, config: Any) -> None:
    """ModelError for numbers that no network has, and that would exhaust memory or time."""
    # A list of what is left rather than recursion: the depth is the file's to choose.
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        name, value = pending.pop()
        if isinstance(value, Mapping):
            pending += value.items()
        elif isinstance(value, list):
            pending += [(name, item) for item in value]
        elif isinstance(value, int):
            # Layers multiply everything else in a network, so their bound is the tighter one.
            most = MOST_LAYERS if "layers" in name else MOST_SIZE
            check_count(f"{path}: {name[:80]}", ModelError, value, most, "in it")


def pickle_error(path: Path | str) -> ModelError:
    """The error for a pickle that was not allowed.

    Args:
        path: The pickle.

    Returns:
        The error, to be raised by the caller.
    """
    return ModelError(
        f"{path} is a pickle, which can run code when it is loaded. If you trust where it comes"
        " from: --allow-pickles (in Python pickles=True)."
    )


def check_complete(folder: Path, pipeline: Any) -> None:
    """Check that every weight of a pipeline is in its files.

    Args:
        folder: The pipeline's folder.
        pipeline: The pipeline that was opened from it.

    Raises:
        RuntimeError: One is missing, which the libraries would initialise at random.
    """
    from safetensors import safe_open

    for name, part in pipeline.components.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if not files or not hasattr(part, "named_parameters"):
            continue
        stored: set[str] = set()
        for path in files:
            with safe_open(path, framework="pt") as opened_file:
                stored |= {_current_name(key) for key in opened_file.keys()}  # noqa: SIM118
        for key, _ in part.named_parameters():
            if not stored & {_current_name(key), *_tied_names(part, key)}:
                # RuntimeError, as the libraries raise for other damage: the caller turns both into
                # one line.
                raise RuntimeError(f"{name} has no weight {key} in its files.")


def _current_name(key: str) -> str:
    """A weight's current name: older files have other names for the same."""
    # transformers 5 dropped or moved these prefixes of CLIP's text encoders and of language models
    # within models of texts and pictures; their files keep them.
    key = re.sub(r"^((text_model|language_model|model)\.)+", "", key)
    return re.sub(r"\.(query|key|value|proj_attn)\.(?=weight$|bias$)", _rename_attention, key)


def _rename_attention(match: re.Match[str]) -> str:
    names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    return f".{names[match[1]]}."


def _tied_names(part: Any, key: str) -> set[str]:
    """Names of the weights that a part ties to this one."""
    tied = getattr(part, "_tied_weights_keys", None) or {}
    pairs = tied.items() if isinstance(tied, Mapping) else [(weight, weight) for weight in tied]
    return {name for pair in pairs if key in pair for name in pair}
