"""The files of a pipeline's folder: which are pickles, and whether every weight is there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clerestory.errors import ModelError

__all__ = ["PICKLES", "check_pickles", "check_whole", "pickle_error"]

PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def check_pickles(folder: Path, index: Mapping[str, Any]) -> None:
    """ModelError, naming the file, where a part that is loaded has pickled weights only."""
    parts = [name for name, of in index.items() if isinstance(of, list) and of[0]]
    for part in sorted(set(parts) - {"safety_checker"}):
        pickled = sorted(path for path in (folder / part).glob("*") if path.suffix in PICKLES)
        if pickled and not any((folder / part).glob("*.safetensors")):
            raise pickle_error(pickled[0])


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
