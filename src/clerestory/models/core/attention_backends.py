"""Attention by `scaled_dot_product_attention` for as long as maps are asked for.

Other backends of diffusers, slices, and other implementations of transformers compute the same
attention where it cannot be seen. What was switched is put back afterwards, also after an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from clerestory.models.core.attention_layers import AttentionLayer

__all__ = ["switch_to_sdpa"]

SDPA_BACKENDS = ("native", "_native_cudnn", "_native_efficient", "_native_flash", "_native_math")
"""Backends of diffusers that call `scaled_dot_product_attention`."""
PROCESSORS = {
    "AttnProcessor": "AttnProcessor2_0",
    "SlicedAttnProcessor": "AttnProcessor2_0",
    "XFormersAttnProcessor": "AttnProcessor2_0",
    "AttnAddedKVProcessor": "AttnAddedKVProcessor2_0",
    "SlicedAttnAddedKVProcessor": "AttnAddedKVProcessor2_0",
    "XFormersAttnAddedKVProcessor": "AttnAddedKVProcessor2_0",
}
"""Processors of diffusers, and those that compute the same by `scaled_dot_product_attention`."""


@contextmanager
def switch_to_sdpa(pipeline: Any, layers: Sequence[AttentionLayer]) -> Iterator[list[str]]:
    """Let layers compute attention by `scaled_dot_product_attention`, until exit.

    Args:
        pipeline: The diffusers pipeline.
        layers: The layers.

    Yields:
        What was switched, in words; empty where everything was so already.
    """
    switched: dict[str, None] = {}
    with ExitStack() as restore:
        for layer in layers:
            processor = getattr(layer.module, "processor", None)
            if processor is not None:
                switched |= _switch_processor(layer.module, processor, restore)
        for name in {layer.path.split(".")[0]: None for layer in layers}:
            switched |= _switch_transformers(name, getattr(pipeline, name), restore)
        yield list(switched)


def _switch_processor(module: nn.Module, processor: Any, restore: ExitStack) -> dict[str, None]:
    name = type(processor).__name__
    if name in PROCESSORS and _is_plain(module):
        from diffusers.models import attention_processor

        # Not by `set_processor`, which warns; no processor of these has weights.
        restore.callback(setattr, module, "processor", processor)
        setattr(module, "processor", getattr(attention_processor, PROCESSORS[name])())  # noqa: B010
        return {f"{name} of diffusers": None}
    if not hasattr(processor, "_attention_backend"):
        return {}
    from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry

    active, _ = _AttentionBackendRegistry.get_active_backend()
    backend = AttentionBackendName(processor._attention_backend or active).value
    if backend in SDPA_BACKENDS:
        return {}
    restore.callback(setattr, processor, "_attention_backend", processor._attention_backend)
    processor._attention_backend = AttentionBackendName.NATIVE
    return {f"the backend {backend} of diffusers": None}


def _is_plain(module: Any) -> bool:
    """Whether an attention scales its logits as `scaled_dot_product_attention` does."""
    return getattr(module, "scale_qk", True) and not getattr(module, "residual_attention", False)


def _switch_transformers(name: str, part: Any, restore: ExitStack) -> dict[str, None]:
    """Switch networks of transformers, unless they have no such implementation (Gemma 2)."""
    switched: dict[str, None] = {}
    # Each network within a part says whether it can, and reads a configuration of its own or one
    # that it shares with others.
    for module in part.modules() if isinstance(part, nn.Module) else ():
        config: Any = getattr(module, "config", None)
        implementation = getattr(config, "_attn_implementation", None)
        if getattr(module, "_supports_sdpa", False) and implementation not in (None, "sdpa"):
            restore.callback(setattr, config, "_attn_implementation", implementation)
            config._attn_implementation = "sdpa"
            switched[f"{implementation} attention of {name}"] = None
    return switched
