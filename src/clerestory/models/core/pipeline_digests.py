"""Digests of a whole pipeline: of its weights, and of the settings that its pictures depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from clerestory.models.core.pipeline_state import pipeline_parts, prompt_templates
from clerestory.models.core.weight_digests import plain_tensors, values_digest, weight_digests

__all__ = [
    "module_settings",
    "pipeline_state",
    "schedulers",
    "settings_digest",
    "weight_samples",
    "weight_values_digest",
    "weights_digest",
]

SAMPLED_WEIGHTS = 64
"""Weights per tensor that are compared: training and adapters change nearly all."""
ADAPTERS = ("_active_adapter", "_disable_adapters")
"""Private attributes of LoRA layers that decide what they compute."""
CONFIG = "_internal_dict"
"""Where diffusers keeps a network's configuration."""


def weights_digest(pipeline: Any) -> str:
    """A digest of the weights, adapters included, alike in every precision.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        16 hexadecimal digits; "" where the pipeline's weights cannot be reached.
    """
    # Every part, not the denoiser alone: another text encoder or autoencoder gives other figures.
    parts = pipeline_parts(pipeline).values()
    digests = weight_digests(part for part in parts if isinstance(part, nn.Module))
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16] if digests else ""


def weight_values_digest(pipeline: Any) -> str:
    """A digest of every bit of the weights, which differs between precisions.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        16 hexadecimal digits; "" where weights cannot be reached, as those that are offloaded.
    """
    parts = pipeline_parts(pipeline).values()
    return values_digest(part for part in parts if isinstance(part, nn.Module))


def settings_digest(pipeline: Any) -> str:
    """A digest of what pictures depend on besides weights, alike on every machine.

    That is the schedulers with their configurations, the settings of the pipeline and of every
    module (FreeU's factors, active adapters and their scales, a replaced `forward`), its templates
    of prompts, and the sizes of the tokenizers.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        16 hexadecimal digits.
    """
    parts = dict(sorted(pipeline_parts(pipeline).items()))
    config = _plain(getattr(pipeline, "config", None))
    content = [
        type(pipeline).__name__,
        # Lists are the classes of its parts, of which a compiled one has another.
        {key: value for key, value in config.items() if not isinstance(value, list | tuple)},
        schedulers(parts),
        [
            [name, len(part)]
            for name, part in parts.items()
            if name.startswith("tokenizer") and part
        ],
        {
            name: list(module_settings(part))
            for name, part in parts.items()
            if isinstance(part, nn.Module)
        },
        # Few pipelines have any: digests of others stay as they were.
        *filter(None, [prompt_templates(pipeline)]),
    ]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]


def pipeline_state(pipeline: Any) -> str:
    """A digest of settings and exact weights, which any change within this process alters.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256(settings_digest(pipeline).encode())
    for part in pipeline_parts(pipeline).values():
        for sample in weight_samples(part) if isinstance(part, nn.Module) else ():
            digest.update(sample)
    return digest.hexdigest()[:16]


def weight_samples(network: nn.Module) -> Iterator[bytes]:
    """Name, type, shape and some values of every tensor of a network.

    Args:
        network: The network.

    Yields:
        Bytes. An offloaded weight, which has no values, gives its name alone.
    """
    for name, whole in (*network.named_parameters(), *network.named_buffers()):
        for tensor in plain_tensors(whole):
            yield repr((_uncompiled(name), str(tensor.dtype), tuple(tensor.shape))).encode()
            if tensor.numel() and not tensor.is_meta:
                flat = tensor.detach().flatten()
                # Spread over the whole tensor, since an adapter may leave its first rows unchanged.
                values = flat[:: max(1, len(flat) // SAMPLED_WEIGHTS)].cpu().contiguous()
                yield values.view(torch.uint8).numpy().tobytes()


def schedulers(parts: Mapping[str, Any]) -> list[Any]:
    """The schedulers among the parts of a pipeline.

    Args:
        parts: The parts by name.

    Returns:
        Name, class and configuration of each.
    """
    return [
        [name, type(part).__name__, _plain(part.config)]
        for name, part in parts.items()
        # Schedulers are the only parts with timesteps.
        if hasattr(part, "config") and hasattr(part, "timesteps")
    ]


def module_settings(network: nn.Module) -> Iterator[list[Any]]:
    """The plain attributes of every module: scales, factors, switches, configurations.

    Args:
        network: The network.

    Yields:
        The module's name and its settings by name, for modules that have any.
    """
    for name, module in network.named_modules():
        # Runs are uncompiled: a compiled module is the one that it wraps.
        if hasattr(module, "_orig_mod"):
            continue
        attributes = vars(module)
        settings = _plain(attributes)
        settings |= {key: attributes[key] for key in ADAPTERS if key in attributes}
        settings |= _plain(attributes.get(CONFIG))
        # accelerate replaces it to move weights, and changes nothing.
        if "forward" in attributes and "_hf_hook" not in attributes:
            forward = attributes["forward"]
            forward = getattr(forward, "_torchdynamo_orig_callable", forward)
            replaced = getattr(forward, "__qualname__", type(forward).__name__)
            if replaced != type(module).forward.__qualname__:
                settings["forward"] = replaced
        if settings:
            yield [_uncompiled(name), settings]


def _uncompiled(name: str) -> str:
    """The name of a module or weight without those of the wrappers that compile."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _plain(values: Any) -> dict[str, Any]:
    """The public settings among some values; without where they were loaded from, and training."""
    if not isinstance(values, Mapping):
        return {}
    return {
        key: _plain(value) if isinstance(value, Mapping) else value
        for key, value in sorted(values.items(), key=lambda pair: str(pair[0]))
        if isinstance(key, str)
        and not key.startswith("_")
        and key not in ("training", "forward", "name_or_path")
        and not key.endswith("dtype")
        and _is_setting(value)
    }


def _is_setting(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_setting, value))
    # Dictionaries with other keys, such as hooks by number, are no settings.
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_setting(part) for key, part in value.items())
    return value is None or isinstance(value, bool | int | float | str)
