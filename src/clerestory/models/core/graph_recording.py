"""Autograd through pipelines that switch it off: their `__call__` is decorated with `no_grad`.

`torch.no_grad` sets the grad mode by a function that a `TorchFunctionMode` sees. Within
`record_graph` such a call of this thread does nothing, so that pipelines run as they are, and the
graph goes from text encoders through prior and denoiser to the picture. See docs/adr/0013.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from clerestory.errors import ModelError
from clerestory.models.core.pipeline_state import pipeline_parts

__all__ = ["GraphRecorder", "check_recordable", "make_node", "record_graph"]

PICTURE_AXES = 4
"""Sample, height, width, channel."""


@dataclass
class ByteCount:
    """Bytes of what was computed with a graph; `count` grows while it is measured."""

    count: int = 0


class GraphRecorder(TorchFunctionMode):
    """Keeps autograd on, and finds the tensor that a pipeline's pictures are made of."""

    def __init__(self) -> None:
        super().__init__()
        self._paused = 0
        self._measured: ByteCount | None = None
        self._arrays: list[tuple[Tensor, NDArray[Any]]] = []

    @override
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch._C._set_grad_enabled and not self._paused:
            return None
        if func is Tensor.numpy and isinstance(args[0], Tensor):
            # Pipelines end in numpy, which a tensor in a graph refuses.
            tensor: Tensor = args[0]
            array = func(tensor.detach(), *args[1:], **(kwargs or {}))
            if tensor.ndim == PICTURE_AXES and tensor.is_floating_point():
                self._arrays.append((tensor, array))
            return array
        output = func(*args, **(kwargs or {}))
        # A view has no memory of its own.
        if (
            self._measured is not None
            and isinstance(output, Tensor)
            and output.requires_grad
            and not output._is_view()
        ):
            self._measured.count += output.nbytes
        return output

    @contextmanager
    def measure(self) -> Iterator[ByteCount]:
        """Count the bytes of what is computed with a graph, for as long as this is open.

        Yields:
            The count.
        """
        before, self._measured = self._measured, ByteCount()
        try:
            yield self._measured
        finally:
            self._measured = before

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Record nothing, for as long as this is open."""
        self._paused += 1
        try:
            with torch.no_grad():
                yield
        finally:
            self._paused -= 1

    def picture_tensor(self, drawn: NDArray[Any] | None) -> Tensor:
        """The tensor that pictures were made of, in the graph if they depend on a site.

        Args:
            drawn: What the family has drawn.

        Returns:
            `[sample, height, width, 3]`, from 0 to 1, before any rounding.

        Raises:
            ModelError: There is none: the pipeline turns pictures into bytes itself.
        """
        tensor: Tensor
        for tensor, array in reversed(self._arrays):
            # Pictures that are not finite are these as well: the objective tells of them.
            if drawn is not None and np.array_equal(array, drawn, equal_nan=True):
                return tensor
        raise ModelError(
            "The pictures of this pipeline have no gradient, since it rounds them itself: choose "
            "an objective at a site."
        )


@contextmanager
def record_graph(pipeline: Any) -> Iterator[GraphRecorder]:
    """Record autograd's graph of a pipeline's run, for as long as this is open.

    Parameters need no gradients meanwhile, so that the graph has only what leads to sites.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Yields:
        The recorder.
    """
    frozen = [each for each in _parameters(pipeline) if each.requires_grad]
    recorder = GraphRecorder()
    try:
        for parameter in frozen:
            parameter.requires_grad_(False)
        with torch.enable_grad(), recorder:
            yield recorder
    finally:
        for parameter in frozen:
            parameter.requires_grad_()
        # Schedulers of several steps keep what the network has predicted.
        for part in pipeline_parts(pipeline).values():
            if hasattr(part, "set_timesteps"):
                vars(part).update({name: _detached(value) for name, value in vars(part).items()})


class _Node(torch.autograd.Function):
    """A copy of a value whose gradient autograd must compute to know that of the anchor."""

    @staticmethod
    @override
    def forward(ctx: Any, value: Tensor, anchor: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    @override
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        return gradient, gradient.new_zeros(())


def make_node(value: Tensor) -> tuple[Tensor, Tensor]:
    """A value as a node of its own in the graph, and what to differentiate by to reach it.

    By the anchor rather than by the value: autograd would keep the value's gradient as a whole, and
    with `backward` it would write gradients into whatever else is trainable on the way, such as the
    parameters of a classifier.

    Args:
        value: A value of the run.

    Returns:
        A copy of it, and the anchor, a number.
    """
    anchor = value.new_zeros((), requires_grad=True)
    node: Tensor = _Node.apply(value, anchor)  # type: ignore[no-untyped-call]
    return node, anchor


def check_recordable(where: str) -> None:
    """Check that autograd can record what is computed now.

    Args:
        where: The site that is to be differentiated, for the message.

    Raises:
        ModelError: Code of the pipeline runs in inference mode, which has no gradients at all.
    """
    if torch.is_inference_mode_enabled():
        raise ModelError(
            f"{where} has no gradient: the pipeline runs it in torch.inference_mode, whose tensors "
            "autograd cannot use. Replace it by torch.no_grad in the pipeline's code."
        )


def _detached(value: Any) -> Any:
    """A value without autograd's graph, which would stay in memory and cannot be copied."""
    if isinstance(value, Tensor):
        return value.detach() if value.grad_fn is not None else value
    if type(value) in (list, tuple):
        return type(value)(_detached(each) for each in value)
    return value


def _parameters(pipeline: Any) -> Iterator[nn.Parameter]:
    for part in (pipeline, *pipeline_parts(pipeline).values()):
        if isinstance(part, nn.Module):
            yield from part.parameters()
