"""Replace the values of a site by a dictionary's reconstruction of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.folder import DictionaryConfig, config_of, from_config
from clerestory.edits.base import EditBranch, Positions, SiteEdit, edits
from clerestory.errors import DictionaryError, EditError, RegistryError
from clerestory.io.validation import validate
from clerestory.models.core.latents import MAX_VALUES
from clerestory.models.core.regions import split_region

__all__ = ["Reconstruct"]


@dataclass(frozen=True)
class _Settings:
    """What `to_dict` gives; the dictionary's tensors are saved beside it."""

    site: str
    branch: EditBranch
    positions: Positions
    dictionary: DictionaryConfig


@edits.register("reconstruct")
@dataclass(frozen=True, eq=False)
class Reconstruct(SiteEdit):
    """Replaces the values of a site by a dictionary's reconstruction, `decode(encode(value))`.

    What the dictionary cannot reconstruct is lost; an edit of latents leaves it as it is. At text
    sites start token and padding are replaced too, since a dictionary stands for the whole value,
    and most denoisers attend to padding; `positions="tokens"` leaves them as they are.

    Attributes:
        dictionary: A sparse autoencoder of the site; computed in float32.

    >>> from clerestory.dictionaries.kinds.relu import ReLU
    >>> ones = {name: torch.eye(2) for name in ("encoder", "decoder")}
    >>> zeros = {name: torch.zeros(2) for name in ("encoder_bias", "decoder_bias")}
    >>> positive = Dictionary(**ones, **zeros, activation=ReLU())
    >>> Reconstruct("prior/embedding", positive)(torch.tensor([[[3.0, -4.0]]]))
    tensor([[[3., 0.]]])
    """

    dictionary: Dictionary
    _placed: dict[torch.device, Dictionary] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dictionary.output_site is not None:
            raise EditError(
                f"The dictionary at {self.site} is a transcoder: it predicts the values of another "
                "site, and has no reconstruction of this one."
            )

    @property
    @override
    def units(self) -> int:
        return self.dictionary.width

    @override
    def __call__(self, value: Tensor) -> Tensor:
        self.check_units(value.shape[-1])
        if value.device not in self._placed:
            self._placed[value.device] = self.dictionary.to(value.device)
        dictionary = self._placed[value.device]
        # Some positions at a time: the latents of a batch of maps may not fit into memory.
        rows = max(1, MAX_VALUES // dictionary.latents)
        parts = [
            dictionary.decode(dictionary.encode(part)) for part in value.flatten(0, -2).split(rows)
        ]
        return torch.cat(parts).reshape(value.shape).to(value.dtype)

    @property
    @override
    def tensor_digest(self) -> str | None:
        # A mask of the picture is no part of the dictionary's digest.
        return None if isinstance(self.region, np.ndarray) else self.dictionary.digest

    @override
    def tensors(self) -> dict[str, Tensor]:
        saved = {name: tensor.cpu() for name, tensor in self.dictionary.tensors().items()}
        return {**super().tensors(), **saved}

    @override
    def to_dict(self) -> dict[str, Any]:
        # Figures of the training are no part of what the edit does.
        config = config_of(replace(self.dictionary, metadata={}))
        settings = asdict(_Settings(self.site, self.branch, self.positions, config))
        return {**settings, **self._region_settings()}

    @classmethod
    @override
    def from_dict(cls, settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        region, settings, tensors = split_region(settings, tensors)
        saved = validate(_Settings, dict(settings), cls.__name__, EditError)
        try:
            dictionary = from_config(
                saved.dictionary, {name: each.clone() for name, each in tensors.items()}, "The edit"
            )
        except (DictionaryError, RegistryError) as error:
            raise EditError(
                f"The dictionary of the edit at {saved.site} is damaged: {error}"
            ) from error
        return cls(
            saved.site, dictionary, branch=saved.branch, positions=saved.positions, region=region
        )
