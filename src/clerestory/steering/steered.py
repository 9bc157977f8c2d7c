"""A model with edits: run it, draw with it, save it, share it.

A saved one is a folder: `steering.json` (the base model and its revision, the edits' settings, what
was measured, versions), `edits.safetensors` (their tensors) and `card.md` (what it does, for
people). It holds no weights of the model.
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
from clerestory.steering.base import SavedEdit, known_edits, name_of
from clerestory.steering.card import card, versions

__all__ = ["SteeredModel", "load_steered", "opened_as", "steering_of"]

_FORMAT = 2
FILE, TENSORS, CARD = "steering.json", "edits.safetensors", "card.md"
FIELDS = {"format", "base", "edits", "calibration", "provenance", "versions"}
BASE = ("name", "revision", "opened_with")


class SteeredModel:
    """`model` with `edits` always on, in their order; further edits of a run come after them.

    `provenance` says where the edits come from, `calibration` what they were measured to do, as
    `steer build` does: anything that JSON can hold.
    """

    def __init__(
        self,
        model: Model,
        edits: Sequence[Edit],
        *,
        provenance: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.edits = model, tuple(edits)
        self.provenance, self.calibration = dict(provenance or {}), dict(calibration or {})
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
        base = {"name": self.model.name, "revision": self.model.revision}
        told = {
            "format": _FORMAT,
            "base": {**base, "opened_with": self.model.how},
            "edits": listed,
            "calibration": self.calibration,
            "provenance": self.provenance,
            "versions": versions(),
        }
        text = json.dumps(told, indent=1) + "\n"
        place = empty_folder(Path(folder))
        save_file(tensors, place / TENSORS)
        (place / FILE).write_text(text)
        (place / CARD).write_text(card(told))
        return place

    @classmethod
    def load(cls, folder: str | Path, model: Model | None = None) -> SteeredModel:
        """Open a saved one, on the model that it names or on the one given.

        ModelError where the folder holds no steered model, one of a newer version, or one for
        another base model; the message says what differs.
        """
        told = steering_of(Path(folder))
        base = told["base"]
        if model is None:
            model = load(base["name"], **base["opened_with"])
        _same(Path(folder), base, model)
        return cls(
            model,
            _restored(Path(folder), told["edits"]),
            provenance=told["provenance"],
            calibration=told["calibration"],
        )


def load_steered(folder: str | Path, model: Model | None = None) -> SteeredModel:
    """Open a saved steered model: `SteeredModel.load`, for notebooks."""
    return SteeredModel.load(folder, model)


def opened_as(folder: str | Path) -> tuple[str, dict[str, str]]:
    """The model that a saved one names, and what it was opened with besides."""
    base = steering_of(Path(folder))["base"]
    return base["name"], base["opened_with"]


def _same(folder: Path, base: Mapping[str, Any], model: Model) -> None:
    """ModelError where the model is not the one that the edits were made for.

    A copy of the same weights may lie under another name.
    """
    if base["revision"] != model.revision:
        raise ModelError(
            f"{folder} was made for {base['name']} of revision {base['revision']!r}, and the model "
            f"here is {model.name} of revision {model.revision!r}: make it again."
        )
    lora, own = (dict(how).get("lora") for how in (base["opened_with"], model.how))
    if lora != own:
        raise ModelError(f"{folder} was made with the LoRA {lora!r}, and the model has {own!r}.")


def _check(model: Model, edit: Edit) -> None:
    """SiteError or EditError where an edit does not fit the model."""
    site = model.sites[edit.site]
    vector = getattr(edit, "vector", None)
    if vector is not None and vector.shape[-1] != site.shape[1]:
        raise EditError(
            f"The direction for {edit.site} has {vector.shape[-1]} units and the site has "
            f"{site.shape[1]}."
        )


def steering_of(folder: Path) -> dict[str, Any]:
    """What `steering.json` says; ModelError where it is none, or of another version."""
    try:
        told: Any = json.loads((folder / FILE).read_text())
    except (OSError, ValueError):
        raise ModelError(
            f"{folder} holds no steered model: its {FILE} is missing or cannot be read."
        ) from None
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise ModelError(f"{folder}/{FILE} is not of format {_FORMAT} of a steered model.")
    unknown, lacking = sorted(set(told) - FIELDS), sorted(FIELDS - set(told))
    base = told.get("base")
    lacking += [f"base.{name}" for name in BASE if not isinstance(base, dict) or name not in base]
    if unknown or lacking or not isinstance(told["edits"], list):
        said = (
            f"has unknown fields: {', '.join(unknown)}"
            if unknown
            else f"lacks {', '.join(lacking)}"
        )
        raise ModelError(f"{folder}/{FILE} {said}. A newer Clerestory may have written it.")
    return told


def _restored(folder: Path, listed: Sequence[Mapping[str, Any]]) -> list[SavedEdit]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / TENSORS
    try:
        tensors = load_file(path)
        return [
            known_edits()[settings["kind"]].restored(
                {name: value for name, value in settings.items() if name != "kind"},
                _own(tensors, f"{index}."),
            )
            for index, settings in enumerate(listed)
        ]
    except RegistryError:
        raise
    except (OSError, SafetensorError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} does not fit steering.json or is damaged: {reason}") from error


def _own(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
