"""Folders of sae-lens: `cfg.json` and `sae_weights.safetensors`, of version 6 and of earlier ones.

Its BatchTopK and Matryoshka dictionaries are saved as JumpReLU ones with one threshold for all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from clerestory.dictionaries.activation import Activation
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.format import (
    Format,
    formats,
    has_files,
    read_config,
    read_k,
    read_weights,
    take,
)
from clerestory.dictionaries.kinds.batchtopk import BatchTopK
from clerestory.dictionaries.kinds.jumprelu import JumpReLU
from clerestory.dictionaries.kinds.relu import ReLU
from clerestory.dictionaries.kinds.topk import TopK
from clerestory.errors import DictionaryError
from clerestory.io.tensor_files import write_tensors
from clerestory.io.writing import atomic_folder

__all__ = ["SAELens"]

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
FOLDED = (None, False, True, "none", "expected_average_only_in", "covariance_whitening")
"""Normalisations that sae-lens folds into the weights of what it saves, and does not do itself."""
EARLIER_NAMES = {"hook_point": "hook_name", "activation_fn_str": "activation_fn"}
"""Fields of versions before 6 by the names that they have now."""


@formats.register("sae-lens")
class SAELens(Format):
    """Standard, TopK, JumpReLU and gated autoencoders, and transcoders without a skip."""

    @override
    def matches(self, path: Path) -> bool:
        return has_files(path, CONFIG, WEIGHTS)

    @override
    def read(self, path: Path, *, allow_pickles: bool) -> Dictionary:
        config = _current(read_config(path, CONFIG))
        tensors = read_weights(path, WEIGHTS)
        architecture = config["architecture"]
        normalization = config.get("normalize_activations")
        if normalization not in FOLDED:
            raise DictionaryError(
                f"{path} normalises each position by itself ({normalization!r:.40}), so that "
                "changes of latents cannot be decoded alone."
            )
        make = READERS.get(
            architecture.removesuffix("_transcoder").replace("transcoder", "standard")
        )
        if make is None or "skip" in architecture:
            raise DictionaryError(
                f"{path} is of the architecture {architecture[:40]!r}; those that can be read are "
                f"{', '.join(sorted(READERS))}, and transcoders of them."
            )
        encoder, bias, decoder, activation = make(config, tensors, path)
        # Before version 6 finetuned latents had a scale of their own.
        if "scaling_factor" in tensors:
            decoder = decoder * tensors["scaling_factor"].float()[:, None]
        known = config["metadata"]
        transcodes = "transcoder" in architecture
        hook, output = str(known.get("hook_name") or ""), str(known.get("hook_name_out") or "")
        return Dictionary(
            encoder,
            bias,
            decoder,
            take(tensors, path, "b_dec"),
            activation,
            apply_b_dec_to_input=not transcodes and bool(config.get("apply_b_dec_to_input", True)),
            # Names of hooks of language models are no addresses.
            site=hook if "/" in hook else "",
            output_site=(output if "/" in output else "") if transcodes else None,
            metadata={"format": "sae-lens", **_plain(known)},
        )

    @override
    def write(self, dictionary: Dictionary, folder: Path) -> Path:
        folded = dictionary.folded()
        transcodes = folded.output_site is not None
        name, settings, tensors = _written(folded.activation, folded.latents)
        if transcodes and name == "topk":
            raise DictionaryError("sae-lens has no transcoders of the kind topk.")
        architecture = name if not transcodes else WRITTEN_TRANSCODERS[name]
        config = {
            "d_in": folded.width,
            "d_sae": folded.latents,
            **({"d_out": folded.output_width} if transcodes else {}),
            "dtype": "float32",
            "device": "cpu",
            "apply_b_dec_to_input": False,
            "normalize_activations": "none",
            "reshape_activations": "none",
            **settings,
            "metadata": {
                "sae_lens_version": "6.0.0",
                "sae_lens_training_version": None,
                "hook_name": folded.site,
                "hook_name_out": folded.output_site,
                **_plain(folded.metadata),
            },
            "architecture": architecture,
        }
        tensors |= {
            "W_enc": folded.encoder,
            "b_enc": folded.encoder_bias,
            "W_dec": folded.decoder,
            "b_dec": folded.decoder_bias,
        }
        with atomic_folder(folder) as part:
            write_tensors(part / WEIGHTS, {key: each.contiguous() for key, each in tensors.items()})
            (part / CONFIG).write_text(json.dumps(config, indent=1) + "\n")
        return folder


WRITTEN_TRANSCODERS = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}
Parts = tuple[Tensor, Tensor, Tensor, Activation]


def _current(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the fields of version 6."""
    fields = {EARLIER_NAMES.get(name, name): value for name, value in config.items()}
    function = fields.get("activation_fn", "relu")
    if function not in ("relu", "topk", "TopK"):
        raise DictionaryError(
            f"cfg.json has the activation function {function!r:.40}, which is not known."
        )
    if function in ("topk", "TopK"):
        fields["architecture"] = "topk"
        fields.setdefault("k", (fields.get("activation_fn_kwargs") or {}).get("k"))
    metadata = fields.get("metadata")
    if not isinstance(metadata, dict):
        # Earlier versions had it among the other fields.
        names = ("hook_name", "hook_name_out", "model_name", "dataset_path")
        metadata = {name: fields[name] for name in names if name in fields}
    return {"architecture": "standard", **fields, "metadata": metadata}


def _standard(config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Parts:
    weights = (take(tensors, path, name) for name in ("W_enc", "b_enc", "W_dec"))
    return (*weights, ReLU())  # type: ignore[return-value]


def _topk(config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Parts:
    encoder, bias, decoder, _ = _standard(config, tensors, path)
    if config.get("rescale_acts_by_decoder_norm"):
        # Ranks are of latents times the lengths of their directions.
        length = decoder.norm(dim=1)
        encoder, bias, decoder = encoder * length, bias * length, decoder / length[:, None]
    return encoder, bias, decoder, TopK(read_k(config, path))


def _jumprelu(config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Parts:
    encoder, bias, decoder, _ = _standard(config, tensors, path)
    return encoder, bias, decoder, JumpReLU(take(tensors, path, "threshold"))


def _gated(config: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path) -> Parts:
    # Gate and magnitude are two scales of one product, so that the gate is a threshold of the
    # magnitude (Rajamanoharan et al. 2024, appendix).
    factor = take(tensors, path, "r_mag").exp()
    encoder, decoder = take(tensors, path, "W_enc"), take(tensors, path, "W_dec")
    bias, gate = take(tensors, path, "b_mag"), take(tensors, path, "b_gate")
    return encoder * factor, bias, decoder, JumpReLU(bias - factor * gate)


READERS = {"standard": _standard, "topk": _topk, "jumprelu": _jumprelu, "gated": _gated}


def _written(activation: Activation, latents: int) -> tuple[str, dict[str, Any], dict[str, Tensor]]:
    """The architecture in sae-lens, with the settings and tensors that it has."""
    if isinstance(activation, ReLU):
        return "standard", {}, {}
    if isinstance(activation, TopK):
        return "topk", {"k": activation.k, "rescale_acts_by_decoder_norm": False}, {}
    if isinstance(activation, BatchTopK):
        return "jumprelu", {}, {"threshold": torch.full((latents,), activation.threshold)}
    if isinstance(activation, JumpReLU):
        return "jumprelu", {}, {"threshold": activation.thresholds}
    raise DictionaryError(f"sae-lens has no dictionaries of {type(activation).__name__}.")


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The entries that are texts, numbers or nothing."""
    return {
        str(name): value
        for name, value in metadata.items()
        if isinstance(value, str | int | float | None)
    }
