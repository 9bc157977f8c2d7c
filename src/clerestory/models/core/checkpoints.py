"""Activation checkpointing: what a step computes inside a network is computed again in backward.

Autograd keeps the inputs of each call of a denoiser rather than all that is computed in it, so that
memory does not grow by a network's activations with every step. Where all that is computed is
small, it is kept: with frozen weights a backward pass costs about as much as a forward pass, so
that computing each step again makes the whole half as long again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from clerestory.models.core.attachment import Attachment
from clerestory.models.core.family import StageCall
from clerestory.models.core.graph_recording import GraphRecorder

__all__ = ["KEPT_BYTES", "checkpoint_calls"]

KEPT_BYTES = 2**30
"""What calls of a batch may keep in memory, by the size of the first one."""
MARGIN = 2
"""Functions written in Python keep more than the outputs that are counted."""


@contextmanager
def checkpoint_calls(
    modules: Mapping[str, nn.Module],
    attachment: Attachment,
    recorder: GraphRecorder,
    *,
    is_kept: Callable[[str, StageCall], bool],
    recompute: bool = True,
) -> Iterator[None]:
    """Checkpoint calls of the networks of stages, for as long as this is open.

    The backward pass must be within it, while the hooks of the attachment are on.

    Args:
        modules: Networks by stage; the attachment counts their calls.
        attachment: Makes the edits again where a call is computed again.
        recorder: Records the graph.
        is_kept: Whether a call of a stage has gradients; the others are computed without a graph.
        recompute: Whether calls are checkpointed, but for as many as fit in `KEPT_BYTES`; otherwise
            the graph of each stays in memory.

    Yields:
        Nothing; the networks are as before at the end.
    """

    budget = KEPT_BYTES
    sizes: dict[str, int] = {}

    def wrap(stage: str, forward: Callable[..., Any]) -> Callable[..., Any]:
        # Pipelines look at the signatures of networks.
        @functools.wraps(forward)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            call = attachment.current_call(stage)
            if not is_kept(stage, call):
                with recorder.pause():
                    return forward(*args, **kwargs)
            nonlocal budget
            size = sizes.get(stage)
            # The first call is always computed again: what it would keep is not known before.
            is_small = recompute and size is not None and size <= budget
            if is_small:
                budget -= sizes[stage]
                # As checkpoints keep them: HiDream's experts write into a tensor that autograd has
                # saved and whose value it does not use, which is an error without hooks.
                with saved_tensors_hooks(torch.Tensor.detach, lambda tensor: tensor):
                    return forward(*args, **kwargs)
            if not recompute:
                return forward(*args, **kwargs)
            calls = 0

            def run(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == 1:
                    with recorder.measure() as measured:
                        output = forward(*args, **kwargs)
                    sizes[stage] = MARGIN * measured.count
                    return output
                # On an accelerator in a thread of autograd's, which no mode is open in.
                with attachment.replay(stage, call), torch.enable_grad(), GraphRecorder():
                    return forward(*args, **kwargs)

            return checkpoint(
                run,
                *args,
                use_reentrant=False,
                # Parts are in evaluation mode, so that no dropout draws numbers; an edit may.
                preserve_rng_state=attachment.has_edits,
                **kwargs,
            )

        return wrapped

    with ExitStack() as restored:
        for stage, module in modules.items():
            own = vars(module).get("forward")
            restored.callback(_restore, module, own)
            vars(module)["forward"] = wrap(stage, module.forward)
        yield


def _restore(module: nn.Module, own: Any) -> None:
    # Offloading gives a network a `forward` of its own, in place of its class's.
    if own is None:
        vars(module).pop("forward", None)
    else:
        vars(module)["forward"] = own
