"""Folders of EleutherAI's sparsify (formerly sae), as SAeUron has them: `cfg.json` and
`sae.safetensors`."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import (
    Format,
    formats,
    has_files,
    read_config,
    read_weights,
    take,
)
from clerestory.dictionaries.kinds.groupmax import GroupMax
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.errors import DictionaryError

__all__ = ["Sparsify"]

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"


@formats.register("sparsify")
class Sparsify(Format):
    """TopK and group-max autoencoders, and transcoders without a skip."""

    @override
    def matches(self, path: Path) -> bool:
        return has_files(path, CONFIG, WEIGHTS)

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        config = read_config(path, CONFIG)
        tensors = read_weights(path, WEIGHTS)
        k, activation = config.get("k"), config.get("activation", "topk")
        kinds: dict[str, type[Activation]] = {"topk": TopK, "groupmax": GroupMax}
        if activation not in kinds or not isinstance(k, int):
            raise DictionaryError(
                f"{path} has the activation {activation!r:.40} with k {k!r:.40}; topk and groupmax "
                "with a whole number can be read."
            )
        if config.get("signed") or config.get("skip_connection") or "W_skip" in tensors:
            raise DictionaryError(
                f"{path} has signed latents or a skip connection, which cannot be read."
            )
        transcodes = bool(config.get("transcode"))
        return Dictionary(
            # A linear layer's weight is [latent, unit].
            take(tensors, path, "encoder.weight").T.contiguous(),
            take(tensors, path, "encoder.bias"),
            take(tensors, path, "W_dec"),
            take(tensors, path, "b_dec"),
            kinds[activation](k=k),  # type: ignore[call-arg]
            apply_b_dec_to_input=not transcodes,
            output_site="" if transcodes else None,
            # Folders have the names of the modules that were hooked.
            metadata={"format": "sparsify", "hookpoint": path.resolve().name},
        )
