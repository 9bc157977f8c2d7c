"""A model with edits: run it, draw with it, save it, share it.

It is saved as a folder: `steering.json` (the base model and its revision, the edits' settings, what
was measured, versions), `edits.safetensors` (their tensors) and `card.md` (what it does, for
people). The folder holds no weights of the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from torch import Tensor

from clerestory.arguments import checked
from clerestory.edits.base import SiteEdit, name_of
from clerestory.edits.base import edits as edit_kinds
from clerestory.errors import EditError, ModelError, RegistryError, SiteError, describe_error
from clerestory.io.digests import seal
from clerestory.io.reading import PARSE_ERRORS, path_inside, read_json
from clerestory.io.tensor_files import read_tensors, write_tensors
from clerestory.io.validation import validate_sealed
from clerestory.io.writing import make_empty_folder
from clerestory.models import Edit, Model, Run, load
from clerestory.models.core.addresses import parse
from clerestory.models.provenance import check_dictionaries, dictionary_digests, weights_digest
from clerestory.steering.card import card, versions
from clerestory.types import Pictures

__all__ = ["SavedSteering", "SteeredModel", "load_steered", "read_steering"]

FORMAT: Literal[3] = 3
FILE, TENSORS, CARD = "steering.json", "edits.safetensors", "card.md"
LoadOption = Literal["prior", "lora", "config"]
"""What a base model may be loaded with: names, and nothing that could make code run."""


@dataclass(frozen=True)
class Base:
    """The model that edits were made for.

    Attributes:
        name: What `load` opens it by.
        revision: A digest of its files; "" where unknown.
        weights: A digest of its weights; "" where they cannot be reached.
        load_options: Further arguments of `load`.
        dictionaries: Digests of the dictionaries whose latents are edited, by their addresses.
    """

    name: str
    revision: str
    weights: str
    load_options: dict[LoadOption, str]
    dictionaries: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SavedSteering:
    """The content of `steering.json`."""

    format: Literal[3]
    base: Base
    edits: tuple[dict[str, Any], ...]
    calibration: dict[str, Any]
    provenance: dict[str, Any]
    versions: dict[str, str]


class SteeredModel:
    """A model with edits that are always on.

    Args:
        model: The base model.
        edits: Applied in their order, before any further edits of a run.
        provenance: The origin of the edits, ready for JSON.
        calibration: What the edits were measured to do, ready for JSON; `steer` fills it.

    Raises:
        SiteError: An edit is of a site or unit that the model does not have.
        EditError: An edit is for another number of units.
    """

    @checked()
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
            _check_fit(model, edit)

    def __repr__(self) -> str:
        return f"SteeredModel({self.model!r}, {list(self.edits)!r})"

    @checked()
    def run(
        self,
        prompts: str | Sequence[str],
        seeds: int | Sequence[int] = 0,
        *,
        edits: Sequence[Edit] = (),
        **options: Any,
    ) -> Run:
        """`Model.run` with the edits on.

        Args:
            prompts: One prompt or several.
            seeds: The seeds of each prompt.
            edits: Further edits, which act after those of the steered model.
            **options: Further arguments of `Model.run`.

        Returns:
            The run.
        """
        return self.model.run(prompts, seeds, edits=(*self.edits, *edits), **options)

    @checked()
    def draw(
        self, prompts: str | Sequence[str], seeds: int | Sequence[int] = 0, **options: Any
    ) -> Pictures:
        """The pictures alone, `[sample, height, width, 3]`, prompt by prompt.

        Args:
            prompts: One prompt or several.
            seeds: The seeds of each prompt.
            **options: Further arguments of `run`.

        Returns:
            The pictures, uint8.
        """
        pictures = self.run(prompts, seeds, **options).pictures
        assert pictures is not None
        return pictures

    @checked()
    def save(self, folder: str | Path) -> Path:
        """Write the edits with their card.

        Args:
            folder: A new or empty folder.

        Returns:
            The folder.

        Raises:
            EditError: An edit's kind is not registered.
            OutputError: The folder holds something else.
        """
        tensors: dict[str, Tensor] = {}
        settings = []
        for index, edit in enumerate(self.edits):
            # `name_of` raises for an edit of any other class, which has no settings to save.
            kind, site_edit = name_of(edit), cast(SiteEdit, edit)
            settings.append({"kind": kind, **site_edit.to_dict()})
            for name, tensor in site_edit.tensors().items():
                # safetensors refuses views that are not contiguous.
                tensors[f"{index}.{name}"] = tensor.contiguous()
        model = self.model
        options = cast(dict[LoadOption, str], dict(model.load_options))
        edited = {parse(edit.site).site for edit in self.edits}
        digests = dictionary_digests(model)
        base = Base(
            model.name,
            model.revision,
            weights_digest(model.pipeline),
            options,
            {address: digests[address] for address in digests if address in edited},
        )
        steering = asdict(
            SavedSteering(
                FORMAT, base, tuple(settings), self.calibration, self.provenance, versions()
            )
        )
        # Both texts are made before the folder is, so that a failure leaves none behind.
        text, page = json.dumps(seal(steering), indent=1) + "\n", card(steering)
        folder = make_empty_folder(Path(folder))
        write_tensors(folder / TENSORS, tensors)
        (folder / FILE).write_text(text)
        (folder / CARD).write_text(page)
        return folder

    @classmethod
    @checked(ModelError)
    def load(
        cls,
        folder: str | Path,
        model: Model | None = None,
        *,
        dictionaries: Mapping[str, Any] | None = None,
    ) -> SteeredModel:
        """Open a saved steered model.

        Args:
            folder: The folder that was given to `save`.
            model: Its base model; by default the one that it names is loaded.
            dictionaries: Dictionaries by name whose latents are edited, where they are not attached
                to the model yet.

        Returns:
            The steered model.

        Raises:
            ModelError: The folder holds no steered model, or one of another version or base model;
                the message has the differences.
            DictionaryError: A dictionary whose latents are edited is not attached, or is another.
        """
        saved = read_steering(Path(folder))
        if model is None:
            options = cast(dict[str, Any], saved.base.load_options)
            model = load(saved.base.name, fetch=False, **options)
        # Before the edits are read: directions of another model would fit by chance.
        _check_base(Path(folder), saved.base, model)
        for address in saved.base.dictionaries:
            base, _, name = address.rpartition(":")
            if name in (dictionaries or {}) and name not in model.dictionaries:
                model.attach((dictionaries or {})[name], name, site=base)
        check_dictionaries(model, saved.base.dictionaries, folder)
        return cls(
            model,
            _load_edits(Path(folder), saved.edits),
            provenance=saved.provenance,
            calibration=saved.calibration,
        )


@checked(ModelError)
def load_steered(
    folder: str | Path,
    model: Model | None = None,
    *,
    dictionaries: Mapping[str, Any] | None = None,
) -> SteeredModel:
    """Open a saved steered model: `SteeredModel.load`.

    Args:
        folder: What `SteeredModel.save` wrote.
        model: Its base model; by default the one that it names is loaded.
        dictionaries: As for `SteeredModel.load`.

    Returns:
        The steered model.

    Raises:
        ModelError: The folder holds no steered model, or one of another version or base model.
        DictionaryError: A dictionary whose latents are edited is not attached, or is another.
    """
    return SteeredModel.load(folder, model, dictionaries=dictionaries)


def read_steering(folder: Path) -> SavedSteering:
    """Read `steering.json`.

    Args:
        folder: The folder of a saved steered model.

    Returns:
        Its fields, validated.

    Raises:
        ModelError: The file is missing, altered, or of another version.
    """
    if not (folder / FILE).exists():
        raise ModelError(
            f"{folder} holds no steered model: it has no {FILE}; give the folder of a "
            "`steer build --out`."
        )
    try:
        content = read_json(path_inside(folder, FILE, ModelError), ModelError, finite=False)
    except ModelError as error:
        raise ModelError(f"{folder} holds no steered model: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ModelError(
            f"{folder}/{FILE} is not of format {FORMAT} of a steered model: another version of "
            "Clerestory wrote it; build it again."
        )
    return validate_sealed(SavedSteering, content, f"{folder}/{FILE}", ModelError)


def _check_base(folder: Path, base: Base, model: Model) -> None:
    """ModelError where the model is not the one that the edits were made for.

    The names are not compared: a copy of the same weights may have another one.
    """
    lora = base.load_options.get("lora", ""), model.load_options.get("lora", "")
    pairs = {"revision": (base.revision, model.revision), "LoRA": lora}
    digests = base.weights, weights_digest(model.pipeline)
    # Weights on the meta device or offloaded have no digest: they are compared where both have one.
    if all(digests):
        pairs["weights"] = digests
    differences = [
        f"{name} {saved or 'none'!r} there, {current or 'none'!r} here"
        for name, (saved, current) in pairs.items()
        if saved != current
    ]
    if differences:
        raise ModelError(
            f"{folder} was made for {base.name}, and the model here, {model.name}, is another "
            f"({'; '.join(differences)}): make it again."
        )


def _check_fit(model: Model, edit: Edit) -> None:
    """SiteError or EditError where an edit does not fit the model."""
    units = model.sites[edit.site].shape[1]
    if isinstance(edit, SiteEdit):
        model.sites.select(edit.address)
        if units is not None:
            edit.check_units(units)


def _load_edits(folder: Path, saved: Sequence[Mapping[str, Any]]) -> list[SiteEdit]:
    """Edits from their settings and the tensors beside them."""
    path = path_inside(folder, TENSORS, ModelError)
    tensors: dict[int, dict[str, Tensor]] = {index: {} for index in range(len(saved))}
    for name, tensor in read_tensors(path, ModelError).items():
        # Names are `INDEX.FIELD`; anything else was added by another hand.
        number, _, field = name.partition(".")
        if not number.isdecimal() or int(number) not in tensors:
            raise ModelError(f"{path} does not fit steering.json: no edit has {name[:80]!r}.")
        tensors[int(number)][field] = tensor
    edits = []
    for index, settings in enumerate(saved):
        try:
            kind = edit_kinds[settings["kind"]]
            fields = {name: value for name, value in settings.items() if name != "kind"}
            edits.append(kind.from_dict(fields, tensors[index]))
        # Unknown kinds keep their own message, which lists the known ones.
        except RegistryError:
            raise
        except (EditError, SiteError, *PARSE_ERRORS) as error:
            raise ModelError(
                f"{folder}/{FILE}: edit {index} does not fit or is damaged: {describe_error(error)}"
            ) from error
    return edits
