"""Autoencoders of overcomplete: a module that `torch.save` wrote, or its `state_dict`.

A state dict says neither how many latents are kept nor how directions are normalised. Beside it,
`FILE.json` may say so: `{"top_k": 32}`, `{"running_threshold": 0.3, "top_k": 32}`, and
`{"normalization": "identity"}` where it is not "l2".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import Format, formats, read_config, read_pickle, take
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.errors import DictionaryError
from clerestory.io.tensor_files import MAX_WEIGHT_BYTES, read_tensors

__all__ = ["Overcomplete"]

PICKLES = (".pt", ".pth")
DIRECTIONS = "dictionary._weights"
ENCODERS = ("encoder.final_block.0.weight", "encoder.weight")
ENCODER_BIASES = ("encoder.final_block.0.bias", "encoder.bias")


@formats.register("overcomplete")
class Overcomplete(Format):
    """Standard, TopK, BatchTopK and JumpReLU autoencoders with a linear encoder."""

    @override
    def matches(self, path: Path) -> bool:
        if not path.is_file():
            return False
        return path.suffix in PICKLES or (
            path.suffix == ".safetensors" and DIRECTIONS in _names(path)
        )

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        settings: dict[str, Any] = {}
        if path.suffix in PICKLES:
            content = read_pickle(path, allow_pickles=allow_pickles, objects=True)
            if isinstance(content, torch.nn.Module):
                settings, content = _settings_of(content), content.state_dict()
        else:
            content = read_tensors(path, DictionaryError, max_bytes=MAX_WEIGHT_BYTES)
        if path.with_suffix(".json").is_file():
            settings |= read_config(path.parent, path.with_suffix(".json").name)
        if not isinstance(content, Mapping):
            raise DictionaryError(f"{path} holds no autoencoder of overcomplete.")
        tensors = {str(name): each for name, each in content.items() if isinstance(each, Tensor)}
        _check_linear(tensors, path)
        directions = take(tensors, path, DIRECTIONS)
        if settings.get("normalization", "l2") == "l2":
            directions = directions / (directions.norm(dim=1, keepdim=True) + 1e-8)
        multiplier = tensors.get("dictionary.multiplier", torch.zeros(()))
        decoder = directions * multiplier.float().exp()
        # Without a weight of its own the encoder is the transpose of the decoder.
        own = any(name in tensors for name in ENCODERS)
        encoder = take(tensors, path, *ENCODERS) if own else decoder
        biased = any(name in tensors for name in ENCODER_BIASES)
        latents, units = decoder.shape
        return Dictionary(
            encoder.T.contiguous(),
            take(tensors, path, *ENCODER_BIASES) if biased else torch.zeros(latents),
            decoder,
            torch.zeros(units),
            _activation(tensors, settings),
            metadata={"format": "overcomplete"},
        )


def _names(path: Path) -> set[str]:
    """Names of the tensors in a safetensors file; none where it cannot be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            return set(opened.keys())
    # Reading it will say so.
    except (OSError, SafetensorError):
        return set()


def _settings_of(module: Any) -> dict[str, Any]:
    settings = {
        name: getattr(module, name)
        for name in ("top_k", "running_threshold")
        if getattr(module, name, None) is not None
    }
    normalization = getattr(getattr(module, "dictionary", None), "normalization", None)
    # It is a function, `normalize_l2` by default.
    name = getattr(normalization, "__name__", "normalize_l2").removeprefix("normalize_")
    return {**settings, "normalization": name}


def _check_linear(tensors: Mapping[str, Tensor], path: Path) -> None:
    known = {DIRECTIONS, "dictionary.multiplier", "thresholds", *ENCODERS, *ENCODER_BIASES}
    others = sorted(set(tensors) - known)
    if others:
        raise DictionaryError(
            f"{path} has a tensor {others[0][:80]!r}: its encoder is not one linear layer."
        )


def _activation(tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Activation:
    k = settings.get("top_k")
    if "thresholds" in tensors:
        return JumpReLU(tensors["thresholds"].float().exp())
    if "running_threshold" in settings:
        # There a latent that equals the threshold is kept.
        threshold = torch.tensor(float(settings["running_threshold"]))
        below = torch.nextafter(threshold, torch.tensor(-torch.inf))
        return BatchTopK(float(below), k=int(k or 1))
    return ReLU() if k is None else TopK(int(k))
