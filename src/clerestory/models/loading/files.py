"""The files of a pipeline's folder: which are pickles, and whether every weight is there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError
from clerestory.io.reading import MOST_TEXT, check_count, inside, read_json, regular
from clerestory.io.tensors import check_tensors

__all__ = ["PICKLES", "check_index", "check_parts", "check_pickles", "check_whole", "pickle_error"]

PICKLES = (".bin", ".ckpt", ".pt", ".pth")
MOST_JSON = 64 * 2**20
"""Bytes of a tokenizer's vocabulary."""
MOST_LAYERS, MOST_SIZE = 1000, 2**24
"""What a configuration may say of layers, and of any other size."""


def check_pickles(folder: Path, index: Mapping[str, Any]) -> None:
    """ModelError, naming the file, where a part that is loaded has pickled weights only."""
    parts = [name for name, of in index.items() if isinstance(of, list) and of and of[0]]
    for part in sorted(set(parts) - {"safety_checker"}):
        pickled = sorted(path for path in (folder / part).glob("*") if path.suffix in PICKLES)
        if pickled and not any((folder / part).glob("*.safetensors")):
            raise pickle_error(pickled[0])


def check_index(what: Path | str, index: Any) -> None:
    """ModelError where a pipeline's index names parts that are no parts, or code of its own."""
    if not isinstance(index, Mapping):
        raise ModelError(f"{what} is no pipeline: its model_index.json cannot be read.")
    for name, of in index.items():
        if not isinstance(of, list) or name.startswith("_"):
            continue
        named = re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) is not None
        kind = len(of) == 2 and all(one is None or isinstance(one, str) for one in of)
        if not named or not kind:
            raise ModelError(
                f"{what} is no pipeline: its model_index.json has {name[:80]!r}, which is no part; "
                "expected a name with a library and a class."
            )
        if of[0] is not None and not _is_library(of[0]):
            raise ModelError(
                f"{what} cannot be opened: its part {name[:80]} needs code of its own "
                f"({of[0][:80]}), and such code is never run."
            )


def _is_library(name: str) -> bool:
    """Whether a part may come from there: diffusers, transformers, a pipeline's own room."""
    if name in ("diffusers", "transformers"):
        return True
    if name.startswith("_") or not name.isidentifier():
        return False
    return importlib.util.find_spec(f"diffusers.pipelines.{name}") is not None


def check_parts(folder: Path, kind: str, index: Mapping[str, Any], *, pickles: bool) -> None:
    """ModelError where a part's files are damaged or lead out of the folder, before any is loaded.

    Sizes that the configuration of a part names are bounded, since networks are built by them.
    """
    if not pickles:
        check_pickles(folder, index)
    try:
        _check_files(folder, index)
    except ModelError as error:
        raise ModelError(f"{folder} cannot be opened as a {kind}: {error}") from error


def _check_files(folder: Path, index: Mapping[str, Any]) -> None:
    for name in (name for name, of in index.items() if isinstance(of, list) and of[0]):
        inside(folder, name, ModelError)
        for path in sorted((folder / name).glob("*")):
            inside(folder, f"{name}/{path.name}", ModelError)
            if path.suffix == ".safetensors":
                check_tensors(path, ModelError)
            elif path.suffix == ".json":
                most = MOST_JSON if path.name.startswith(("tokenizer", "vocab")) else MOST_TEXT
                regular(path, ModelError, most)
            if path.name in ("config.json", "scheduler_config.json"):
                told = read_json(path, ModelError, finite=False)
                if not isinstance(told, Mapping):
                    raise ModelError(f"{path} is no configuration: a JSON object is expected.")
                _check_sizes(path, told)


def _check_sizes(path: Path, told: Any) -> None:
    """ModelError for numbers that no network has, and that would take for ever to build."""
    left: list[tuple[str, Any]] = [("", told)]
    while left:
        name, value = left.pop()
        if isinstance(value, Mapping):
            left += value.items()
        elif isinstance(value, list):
            left += [(name, one) for one in value]
        elif isinstance(value, int):
            most = MOST_LAYERS if "layers" in name else MOST_SIZE
            check_count(f"{path}: {name[:80]}", ModelError, value, most, "in it")


def pickle_error(path: Path | str) -> ModelError:
    """What to say of a pickle."""
    return ModelError(
        f"{path} is a pickle, which can run code when it is loaded. If you trust where it comes"
        " from: --allow-pickles (in Python pickles=True)."
    )


def check_whole(folder: Path, pipeline: Any) -> None:
    """RuntimeError where a part's file lacks a weight, which the libraries would make up."""
    from safetensors import safe_open

    for name, part in pipeline.components.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if not files or not hasattr(part, "named_parameters"):
            continue
        held: set[str] = set()
        for path in files:
            with safe_open(path, framework="pt") as opened_file:
                held |= {_renamed(key) for key in opened_file.keys()}  # noqa: SIM118
        for key, _ in part.named_parameters():
            if not held & {_renamed(key), *_tied(part, key)}:
                raise RuntimeError(f"{name} has no weight {key} in its files.")


def _renamed(key: str) -> str:
    """A weight's name today: older files have other names for the same."""
    key = key.removeprefix("text_model.")
    return re.sub(r"\.(query|key|value|proj_attn)\.(?=weight$|bias$)", _to_today, key)


def _to_today(old: re.Match[str]) -> str:
    names = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
    return f".{names[old[1]]}."


def _tied(part: Any, key: str) -> set[str]:
    """The weights that are one with this one, in a part that ties some."""
    tied = getattr(part, "_tied_weights_keys", None) or {}
    pairs = tied.items() if isinstance(tied, Mapping) else [(one, one) for one in tied]
    return {name for pair in pairs if key in pair for name in pair}
