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

from clerestory.edits.base import SiteEdit, check_units, edits, name_of
from clerestory.errors import EditError, ModelError, RegistryError, SiteError
from clerestory.io.outputs import empty_folder
from clerestory.io.reading import DAMAGED, inside, one_line, read_json
from clerestory.io.tensors import read_tensors, writing
from clerestory.models import Edit, Model, Run, load
from clerestory.models.provenance import weights_digest
from clerestory.steering.card import card, versions

__all__ = ["SteeredModel", "load_steered", "opened_as", "steering_of"]

_FORMAT = 2
FILE, TENSORS, CARD = "steering.json", "edits.safetensors", "card.md"
FIELDS = {"format", "base", "edits", "calibration", "provenance", "versions"}
BASE = {"name": str, "revision": str, "weights": str, "opened_with": dict}
OPENING = {"prior", "lora", "config"}
"""What a base model may be opened with: names, and nothing that could make code run."""


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
            kind, saved = name_of(edit), cast(SiteEdit, edit)
            listed.append({"kind": kind, **saved.to_dict()})
            for name, tensor in saved.tensors().items():
                tensors[f"{index}.{name}"] = tensor.contiguous()
        told = {
            "format": _FORMAT,
            "base": {
                "name": self.model.name,
                "revision": self.model.revision,
                "weights": weights_digest(self.model),
                "opened_with": self.model.load_options,
            },
            "edits": listed,
            "calibration": self.calibration,
            "provenance": self.provenance,
            "versions": versions(),
        }
        text, shown = json.dumps(told, indent=1) + "\n", card(told)
        place = empty_folder(Path(folder))
        with writing(place / TENSORS) as path:
            save_file(tensors, path)
        (place / FILE).write_text(text)
        (place / CARD).write_text(shown)
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
    """ModelError, with what differs, where the model is not the one that the edits were made for.

    A copy of the same weights may lie under another name.
    """
    here = {
        "revision": model.revision,
        "weights": weights_digest(model),
        "LoRA": model.load_options.get("lora", ""),
    }
    there = {**base, "LoRA": base["opened_with"].get("lora", "")}
    differ = [
        f"{name} {there[name] or 'none'!r} there, {own or 'none'!r} here"
        for name, own in here.items()
        if there[name] != own and (name != "weights" or (there[name] and own))
    ]
    if differ:
        raise ModelError(
            f"{folder} was made for {base['name']}, and the model here, {model.name}, is another "
            f"({'; '.join(differ)}): make it again."
        )


def _check(model: Model, edit: Edit) -> None:
    """SiteError or EditError where an edit does not fit the model."""
    units = model.sites[edit.site].shape[1]
    if isinstance(edit, SiteEdit):
        model.sites.select(edit.address)
        if edit.units is not None and units is not None:
            check_units(edit.site, edit.units, units)


def steering_of(folder: Path) -> dict[str, Any]:
    """What `steering.json` says; ModelError where it is none, or of another version."""
    try:
        told = read_json(inside(folder, FILE, ModelError), ModelError, finite=False)
    except ModelError as error:
        raise ModelError(f"{folder} holds no steered model: {error}") from error
    if not isinstance(told, dict) or told.get("format") != _FORMAT:
        raise ModelError(f"{folder}/{FILE} is not of format {_FORMAT} of a steered model.")
    _check_fields(folder, told)
    return told


def _check_fields(folder: Path, told: Mapping[str, Any]) -> None:
    """ModelError for fields that are unknown, lacking, or of another kind."""
    base = told["base"] if isinstance(told.get("base"), dict) else {}
    opened = base["opened_with"] if isinstance(base.get("opened_with"), dict) else {}
    unknown = [*(set(told) - FIELDS), *(f"base.{one}" for one in set(base) - set(BASE))]
    unknown += [f"base.opened_with.{name}" for name in set(opened) - OPENING]
    lacking = [*(FIELDS - set(told)), *(f"base.{name}" for name in set(BASE) - set(base))]
    kinds = {"edits": list, "calibration": dict, "provenance": dict, "versions": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(told.get(name), kind)]
    wrong += [f"base.{name}" for name, kind in BASE.items() if not isinstance(base.get(name), kind)]
    wrong += [f"base.opened_with.{k}" for k, of in opened.items() if not isinstance(of, str)]
    for said, names in (("has unknown", unknown), ("lacks the", lacking), ("has damaged", wrong)):
        if names:
            raise ModelError(
                f"{folder}/{FILE} {said} fields {', '.join(sorted(names))}; a newer Clerestory may "
                "have written it."
            )


def _restored(folder: Path, listed: Sequence[Mapping[str, Any]]) -> list[SiteEdit]:
    path = inside(folder, TENSORS, ModelError)
    tensors = read_tensors(path, ModelError)
    owned = {f"{index}" for index in range(len(listed))}
    strange = [name for name in tensors if name.partition(".")[0] not in owned]
    if strange:
        raise ModelError(f"{path} does not fit steering.json: no edit has {strange[0][:80]!r}.")
    restored = []
    for index, settings in enumerate(listed):
        try:
            kind = edits[settings["kind"]]
            plain = {name: value for name, value in settings.items() if name != "kind"}
            restored.append(kind.from_dict(plain, _own(tensors, f"{index}.")))
        except RegistryError:
            raise
        except (EditError, SiteError, *DAMAGED) as error:
            raise ModelError(
                f"{folder}/{FILE}: edit {index} does not fit or is damaged: {one_line(error)}"
            ) from error
    return restored


def _own(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
