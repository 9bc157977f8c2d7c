"""A safetensors file with an encoder, a decoder and biases.

The header's metadata may have `kind`, `k`, `threshold`, `apply_b_dec_to_input` and `site` as texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import Format, formats, take
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
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
        encoder, decoder = (_matrix(tensors, names, path) for names in (ENCODERS, DECODERS))
        latents, units = decoder.shape
        bias, shift = torch.zeros(latents), torch.zeros(units)
        if any(name in tensors for name in ENCODER_BIASES):
            bias = take(tensors, path, *ENCODER_BIASES)
        if any(name in tensors for name in DECODER_BIASES):
            shift = take(tensors, path, *DECODER_BIASES)
        before = any(name in tensors for name in BEFORE)
        return Dictionary(
            encoder,
            bias,
            decoder,
            shift,
            _activation(tensors, metadata, path),
            apply_b_dec_to_input=metadata.get("apply_b_dec_to_input", str(before)) == "True",
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
    with wrap_errors(path, DictionaryError):
        for name in ("thresholds", "threshold"):
            if name in tensors and tensors[name].numel() > 1:
                return JumpReLU(tensors[name].float())
        if "threshold" in metadata:
            return BatchTopK(float(metadata["threshold"]), k=int(metadata.get("k", 1)))
        return TopK(int(metadata["k"])) if "k" in metadata else ReLU()
