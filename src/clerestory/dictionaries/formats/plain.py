"""A safetensors file with an encoder, a decoder and biases.

The header's metadata may have `kind`, `k`, `threshold`, `apply_b_dec_to_input` and `site` as texts;
`k` and `threshold` may be tensors of one number instead. Tensors of other names are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation, activations, make_activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import Format, formats, take
from clerestory.errors import DictionaryError
from clerestory.io.reading import wrap_errors
from clerestory.io.tensor_files import MAX_WEIGHT_BYTES, read_tensors

__all__ = ["Plain"]

# A linear layer's weight is [output, input]; matrices by themselves are [input, output].
ENCODERS = {"encoder": False, "W_enc": False, "encoder.weight": True}
DECODERS = {"decoder": False, "W_dec": False, "decoder.weight": True}
ENCODER_BIASES = ("encoder_bias", "encoder.bias", "b_enc", "latent_bias")
DECODER_BIASES = ("decoder_bias", "decoder.bias", "b_dec", "pre_bias", "bias")
BEFORE = ("pre_bias", "bias")
"""Biases that are subtracted from what is encoded too."""
PARAMETERS = ("thresholds", "threshold", "k")
"""Of the activation function: vectors, or numbers."""
NUMBERS: Mapping[str, Callable[[Any], float]] = {"k": int, "threshold": float}


@formats.register("plain")
class Plain(Format):
    """`encoder`, `decoder` and biases, by these or the usual other names."""

    @override
    def matches(self, path: Path) -> bool:
        # A file of another format has a name that is no encoder's.
        from clerestory.dictionaries.formats.overcomplete import Overcomplete

        is_file = path.is_file() and path.suffix == ".safetensors"
        return is_file and not Overcomplete().matches(path)

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        tensors = read_tensors(path, DictionaryError, max_bytes=MAX_WEIGHT_BYTES)
        metadata = _header(path)
        # An encoder that is missing is told first.
        encoder, decoder = (_matrix(tensors, names, path) for names in (ENCODERS, DECODERS))
        _check_names(tensors, path)
        latents, units = decoder.shape
        bias, shift = torch.zeros(latents), torch.zeros(units)
        if any(name in tensors for name in ENCODER_BIASES):
            bias = take(tensors, path, *ENCODER_BIASES)
        if any(name in tensors for name in DECODER_BIASES):
            shift = take(tensors, path, *DECODER_BIASES)
        return Dictionary(
            encoder,
            bias,
            decoder,
            shift,
            _activation(tensors, metadata, path),
            apply_b_dec_to_input=_is_subtracted(tensors, metadata, path),
            site=metadata.get("site", ""),
            metadata={"format": "plain"},
        )


def _header(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with wrap_errors(path, DictionaryError), safe_open(path, framework="pt") as opened:
        return dict(opened.metadata() or {})


def _matrix(tensors: Mapping[str, Tensor], names: Mapping[str, bool], path: Path) -> Tensor:
    matrix = take(tensors, path, *names)
    name = next(name for name in names if name in tensors)
    return matrix.T.contiguous() if names[name] else matrix


def _activation(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path
) -> Activation:
    """The activation function of the header's kind, or the one whose parameters there are."""
    vectors = {}
    for name in ("threshold", "thresholds"):
        if name in tensors and tensors[name].ndim == 1:
            vectors["thresholds"] = tensors[name].float()
    numbers: dict[str, float] = {}
    with wrap_errors(path, DictionaryError):
        for name, number in NUMBERS.items():
            if name in metadata:
                numbers[name] = number(metadata[name])
            elif name in tensors and tensors[name].ndim == 0:
                numbers[name] = number(tensors[name].item())
    kind = metadata.get("kind") or _guessed_kind(vectors, numbers, metadata, path)
    if kind == "batchtopk":
        # For information alone.
        numbers.setdefault("k", 1)
    names = {each.name for each in fields(activations[kind])}
    settings = {name: number for name, number in numbers.items() if name in names}
    return make_activation(kind, settings, {n: each for n, each in vectors.items() if n in names})


def _guessed_kind(
    vectors: Mapping[str, Tensor],
    numbers: Mapping[str, float],
    metadata: Mapping[str, str],
    path: Path,
) -> str:
    if vectors:
        return "jumprelu"
    if {"k", "threshold"} <= set(numbers) and "threshold" not in metadata:
        # dictionary_learning saves both with TopK and with BatchTopK.
        raise DictionaryError(
            f"{path} has both k and threshold: say which of them decides, with the kind topk or "
            "batchtopk in the metadata of its header."
        )
    if "threshold" in numbers:
        return "batchtopk"
    return "topk" if "k" in numbers else "relu"


def _check_names(tensors: Mapping[str, Tensor], path: Path) -> None:
    known = {*ENCODERS, *DECODERS, *ENCODER_BIASES, *DECODER_BIASES, *PARAMETERS}
    others = sorted(set(tensors) - known)
    if others:
        raise DictionaryError(
            f"{path} has a tensor {others[0][:80]!r} that no plain dictionary has: without it the "
            "latents would be others."
        )


def _is_subtracted(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], path: Path) -> bool:
    """Whether the decoder's bias is subtracted from what is encoded."""
    name = "apply_b_dec_to_input"
    text = metadata.get(name, str(any(bias in tensors for bias in BEFORE))).lower()
    if text not in ("true", "false"):
        raise DictionaryError(f"{path} has {name} {text[:40]!r}; it must be true or false.")
    return text == "true"
