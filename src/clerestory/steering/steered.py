"""A model with edits: run it, draw with it, save it, share it.

A saved one is a folder: `steered.json` (the model's name, the edits' settings, where they come
from) and `edits.safetensors` (their tensors). It holds no weights of the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clerestory.errors import EditError, ModelError, RegistryError
from clerestory.models import Edit, Model, Run, load
from clerestory.outputs import empty_folder
from clerestory.steering.base import SavedEdit, edits, name_of

__all__ = ["SteeredModel", "opened_as"]

_FORMAT = 1


class SteeredModel:
    """`model` with `edits` always on, in their order; further edits of a run come after them.

    `provenance` is anything that JSON can hold: which finding the edits come from, how they were
    measured.
    """

    def __init__(
        self, model: Model, edits: Sequence[Edit], *, provenance: Mapping[str, Any] | None = None
    ) -> None:
        self.model, self.edits = model, tuple(edits)
        self.provenance = dict(provenance or {})
        for edit in self.edits:
            _check(model, edit)

    def __repr__(self) -> str:
        return f"SteeredModel({self.model!r}, {list(self.edits)!r})"

    def run(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        edits: Sequence[Edit] = (),
        **how: Any,
    ) -> Run:
        """`Model.run` with the edits on."""
        return self.model.run(prompts, seeds, edits=(*self.edits, *edits), **how)

    def draw(
        self, prompts: str | Sequence[str], seeds: int | Sequence[int] = 0, **how: Any
    ) -> NDArray[np.uint8]:
        """Just the pictures, `[sample, height, width, 3]`, prompt by prompt."""
        pictures = self.run(prompts, seeds, **how).pictures
        assert pictures is not None
        return pictures

    def save(self, folder: str | Path) -> Path:
        """Write the edits to a folder; OutputError where it is not empty."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        listed = []
        for index, edit in enumerate(self.edits):
            kind, saved = name_of(edit), cast(SavedEdit, edit)
            listed.append({"kind": kind, **saved.settings()})
            for name, tensor in saved.tensors().items():
                tensors[f"{index}.{name}"] = tensor.contiguous()
        told = {
            "format": _FORMAT,
            "model": self.model.name,
            "revision": self.model.revision,
            "edits": listed,
            "provenance": self.provenance,
            "opened_with": self.model.how,
        }
        text = json.dumps(told, indent=1) + "\n"
        place = empty_folder(Path(folder))
        save_file(tensors, place / "edits.safetensors")
        (place / "steered.json").write_text(text)
        return place

    @classmethod
    def load(cls, folder: str | Path, model: Model | None = None) -> SteeredModel:
        """Open a saved one, on the model that it names or on the one given.

        ModelError where the folder holds no steered model, or one for a model of another revision.
        """
        told = _told(Path(folder))
        if model is None:
            model = load(told["model"], **told.get("opened_with", {}))
        if told["revision"] != model.revision:
            raise ModelError(
                f"{folder} was made for {told['model']} of revision {told['revision']!r}, and the "
                f"model here is {model.name} of revision {model.revision!r}: make it again."
            )
        return cls(model, _restored(Path(folder), told["edits"]), provenance=told["provenance"])


def opened_as(folder: str | Path) -> tuple[str, dict[str, str]]:
    """The model that a saved one names, and what it was opened with besides."""
    told = _told(Path(folder))
    return told["model"], told.get("opened_with", {})


def _check(model: Model, edit: Edit) -> None:
    """SiteError or EditError where an edit does not fit the model."""
    site = model.sites[edit.site]
    vector = getattr(edit, "vector", None)
    if vector is not None and vector.shape[-1] != site.shape[1]:
        raise EditError(
            f"The direction for {edit.site} has {vector.shape[-1]} units and the site has "
            f"{site.shape[1]}."
        )


def _told(folder: Path) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads((folder / "steered.json").read_text())
    except (OSError, ValueError):
        raise ModelError(
            f"{folder} holds no steered model: its steered.json is missing or cannot be read."
        ) from None
    needed = {"format", "model", "revision", "edits", "provenance"}
    whole = isinstance(told, dict) and needed <= set(told) and isinstance(told["edits"], list)
    if not whole or told["format"] != _FORMAT:
        raise ModelError(f"{folder}/steered.json is not of format {_FORMAT} of a steered model.")
    return told


def _restored(folder: Path, listed: Sequence[Mapping[str, Any]]) -> list[SavedEdit]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / "edits.safetensors"
    try:
        tensors = load_file(path)
        return [
            edits[settings["kind"]].restored(
                {name: value for name, value in settings.items() if name != "kind"},
                _own(tensors, f"{index}."),
            )
            for index, settings in enumerate(listed)
        ]
    except RegistryError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} does not fit steered.json or is damaged: {reason}") from error


def _own(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
