"""Open a model: the embedded Lancet by name, or a folder with a pipeline."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.errors import ModelError
from clerestory.models.base import Options
from clerestory.models.model import Model
from clerestory.registry import suggest

if TYPE_CHECKING:
    import torch

__all__ = ["hushed", "load", "wrap"]

_NAMES = ("lancet",)
UNREADABLE = (OSError, ValueError, RuntimeError, TypeError, KeyError, AttributeError)
"""What the libraries raise at folders that are not as they should be."""


def load(what: str | Path = "lancet", *, device: str = "auto") -> Model:
    """Open `lancet`, a folder made by `clerestory lancet train`, or a diffusers pipeline folder.

    Only safetensors are read. `device` is `auto` (an accelerator where there is one), `cpu` or
    `cuda`. ModelError, in one line, for an unknown name, a folder that is no pipeline of a family
    that is served, and damaged weights.
    """
    from clerestory.lancet import weights

    if what == "lancet":
        return _lancet("lancet", weights.SHIPPED, device)
    folder = Path(what)
    if not folder.is_dir():
        raise ModelError(
            f"No model is called {str(what)!r}, and there is no such folder."
            f"{suggest(str(what), _NAMES)}"
        )
    if (folder / "manifest.json").is_file() and (folder / "model").is_dir():
        return _lancet(str(what), folder, device)
    return wrap(_pipeline(folder, device), name=str(what))


def wrap(
    pipeline: Any, *, name: str = "", defaults: Options | None = None, revision: str = ""
) -> Model:
    """A model around a pipeline object, which stays as it is."""
    from clerestory.models import unclip  # noqa: F401  (enters its family)
    from clerestory.models.family import families

    kind = type(pipeline).__name__
    if kind not in families:
        raise ModelError(f"{kind} is no pipeline that can be opened.{suggest(kind, families)}")
    return Model(name or kind, families[kind](pipeline), defaults=defaults, revision=revision)


def _lancet(name: str, folder: Path, device: str) -> Model:
    from clerestory.lancet import weights

    folder = weights.verified(folder)
    manifest = weights.manifest(folder)
    return wrap(
        _pipeline(folder / "model", device),
        name=name,
        defaults=Options().changed(**manifest["defaults"]),
        revision=weights.revision(folder),
    )


def _pipeline(folder: Path, device: str) -> Any:
    import torch
    from diffusers import DiffusionPipeline

    from clerestory.models import unclip  # noqa: F401  (enters its family)
    from clerestory.models.family import families

    kind = _kind(folder)
    if kind not in families:
        raise ModelError(
            f"The pipeline in {folder} is {kind}, which cannot be opened.{suggest(kind, families)}"
        )
    target = _device(device)
    with hushed():
        try:
            pipeline = DiffusionPipeline.from_pretrained(
                folder, use_safetensors=True, local_files_only=True
            )
            _check_whole(folder, pipeline)
            return pipeline.to(target, torch.float32)
        except UNREADABLE as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{folder} cannot be opened as a {kind}: {reason}") from error


def _check_whole(folder: Path, pipeline: Any) -> None:
    """RuntimeError where a part's file lacks a weight, which the libraries would make up."""
    from safetensors import safe_open

    for name, part in pipeline.components.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if not files or not hasattr(part, "named_parameters"):
            continue
        held: set[str] = set()
        for path in files:
            with safe_open(path, framework="pt") as opened:
                held |= {key.removeprefix("text_model.") for key in opened.keys()}  # noqa: SIM118
        for key, _ in part.named_parameters():
            if key.removeprefix("text_model.") not in held and not _tied(part, key):
                raise RuntimeError(f"{name} has no weight {key} in its files.")


def _tied(part: Any, key: str) -> bool:
    return key in (getattr(part, "_tied_weights_keys", None) or ())


@contextmanager
def hushed() -> Iterator[None]:
    """While this is open, diffusers and transformers log errors only and draw no progress bars."""
    from diffusers.utils import logging as diffusers_log
    from transformers.utils import logging as transformers_log

    logs = (diffusers_log, transformers_log)
    before = [(log, log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    try:
        for log in logs:
            log.set_verbosity_error()
            log.disable_progress_bar()
        yield
    finally:
        for log, verbosity, shown in before:
            log.set_verbosity(verbosity)
            if shown:
                log.enable_progress_bar()


def _kind(folder: Path) -> str:
    index = folder / "model_index.json"
    try:
        return str(json.loads(index.read_text())["_class_name"])
    except FileNotFoundError:
        raise ModelError(
            f"{folder} is no pipeline: it has no model_index.json. Expected a folder written by "
            "diffusers' save_pretrained."
        ) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(f"{folder} is no pipeline: its model_index.json cannot be read.") from None


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"No device is called {name!r}; write auto, cpu or cuda.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"The device {name!r} was asked for, and torch finds none; use cpu.")
    return device
