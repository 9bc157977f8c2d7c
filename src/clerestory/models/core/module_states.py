"""Whether a torch module is compiled, quantized or offloaded."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["is_compiled", "is_offloaded", "is_quantized"]

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""Dtypes of weights that are not quantized."""


def is_compiled(module: nn.Module) -> bool:
    """Whether a module is compiled, by torch or to TorchScript."""
    # `torch.compile(part)`, `part.compile()`, `part.forward = torch.compile(…)`, and TorchScript.
    return (
        hasattr(module, "_orig_mod")
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(vars(module).get("forward"), "_torchdynamo_orig_callable")
        or isinstance(module, torch.jit.ScriptModule)
    )


def is_quantized(module: nn.Module) -> bool:
    """Whether a module's own weights are of few bits."""
    # torchao and quanto have tensors of classes of their own.
    return bool(getattr(module, "is_quantized", False)) or any(
        weight.dtype not in DTYPES or type(weight.data) is not torch.Tensor
        for weight in module.parameters(recurse=False)
    )


def is_offloaded(module: nn.Module) -> bool:
    """Whether a module's weights are elsewhere until it runs."""
    hook = getattr(module, "_hf_hook", None)  # of accelerate; one that only moves inputs is none
    grouped = getattr(getattr(module, "_diffusers_hook", None), "hooks", ())
    return (
        type(hook).__name__ == "CpuOffload"
        or bool(getattr(hook, "offload", False))
        or any("offload" in name for name in grouped)
    )
