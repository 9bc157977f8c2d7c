"""The base class of activation functions, which make latents of a dictionary sparse.

A new one is one file and one registration:

    @activations.register("relu")
    @dataclass(frozen=True, eq=False)
    class ReLU(Activation): ...
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from clerestory.errors import DictionaryError
from clerestory.registry import Registry

__all__ = [
    "Activation",
    "activations",
    "check_k",
    "kind_of",
    "make_activation",
    "threshold_at",
]


def check_k(k: int, latents: int) -> None:
    """Check a number of active latents.

    Args:
        k: The number.
        latents: The dictionary's number of latents.

    Raises:
        DictionaryError: It is out of range, or no whole number.
    """
    if not isinstance(k, int) or not 1 <= k <= latents:
        raise DictionaryError(
            f"k is {k}; it must be a whole number from 1 to the {latents} latents."
        )


# Compared by identity (`eq=False`), since tensors compare element by element.
@dataclass(frozen=True, eq=False)
class Activation:
    """Base class of activation functions. Fields are numbers, or tensors with a value per latent.

    Attributes:
        tensor_fields: The fields that are float32 tensors `[latent]`.
        elementwise: Whether each latent depends on its own pre-activation alone, so that single
            latents can be computed without the others.
    """

    tensor_fields: ClassVar[tuple[str, ...]] = ()
    elementwise: ClassVar[bool] = True

    def __call__(self, values: Tensor) -> Tensor:
        """Apply the function.

        Args:
            values: Pre-activations, `[..., latent]`.

        Returns:
            Latents of the same shape, 0 or more.
        """
        raise NotImplementedError

    def check(self, latents: int) -> None:
        """Check that the function fits a dictionary.

        Args:
            latents: The dictionary's number of latents.

        Raises:
            DictionaryError: It has parameters for another number, or they are out of range.
        """
        for name, tensor in self.tensors().items():
            if tuple(tensor.shape) != (latents,) or not torch.isfinite(tensor).all():
                raise DictionaryError(
                    f"{name} has the shape {list(tensor.shape)} or is not finite; it must have one "
                    f"number for each of the {latents} latents."
                )

    def at(self, units: Tensor) -> Self:
        """The function of some latents, where it is elementwise.

        Args:
            units: Indices of latents.

        Returns:
            A copy with the parameters of these latents.
        """
        return self._with_tensors(
            {name: tensor[units.to(tensor.device)] for name, tensor in self.tensors().items()}
        )

    def at_l0(self, values: Tensor, l0: float) -> Activation:
        """The function of this kind with which some values have a given number of active latents.

        Args:
            values: Pre-activations, `[row, latent]`.
            l0: Latents per row, on average.

        Returns:
            A function of the same kind, as near to it as the kind's parameters allow; by default
            itself, where the number follows from the pre-activations alone.
        """
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the parameters.

        Args:
            device: A device.

        Returns:
            A copy whose tensors are there.
        """
        return self._with_tensors(
            {name: tensor.to(device) for name, tensor in self.tensors().items()}
        )

    def _with_tensors(self, tensors: dict[str, Any]) -> Self:
        return replace(self, **tensors)

    def tensors(self) -> dict[str, Tensor]:
        """The parameters that are tensors, by name."""
        return {name: getattr(self, name) for name in self.tensor_fields}

    def settings(self) -> dict[str, float]:
        """The other parameters, by name."""
        names = [each.name for each in fields(self) if each.name not in self.tensor_fields]
        return {name: getattr(self, name) for name in names}


activations: Registry[type[Activation]] = Registry(
    "kind of dictionary", package="clerestory.dictionaries.kinds", group="clerestory.dictionaries"
)
"""Activation functions by the name of the kind of dictionary that they make."""


def threshold_at(values: Tensor, l0: float) -> float:
    """The threshold above which rows have a given number of values on average.

    Args:
        values: `[row, latent]`.
        l0: Values per row that are to be above it.

    Returns:
        The quantile, between the two values that it parts; one below all values where all are to
        be above it.
    """
    share = l0 / values.shape[1]
    if round(share * values.numel()) >= values.numel():
        return float(values.min()) - 1
    return float(np.quantile(values.detach().cpu().numpy(), 1 - share))


def kind_of(activation: Activation) -> str:
    """The name under which the class of an activation function is registered.

    Args:
        activation: An activation function.

    Returns:
        The name, such as `topk`.

    Raises:
        DictionaryError: Its class is not registered.
    """
    for name, kind in activations.items():
        if type(activation) is kind:
            return name
    raise DictionaryError(f"{type(activation).__name__} is not registered as a kind of dictionary.")


def make_activation(
    kind: str, settings: Mapping[str, float], tensors: Mapping[str, Tensor]
) -> Activation:
    """Restore an activation function from what `settings` and `tensors` gave.

    Args:
        kind: The name of its kind.
        settings: Numbers by name, perhaps from an untrusted file.
        tensors: Tensors by name.

    Returns:
        The function; whether it fits a dictionary is for `check`.

    Raises:
        RegistryError: No kind has this name.
        DictionaryError: Parameters are missing, unknown, or not finite.
    """
    found = activations[kind]
    names, given = {each.name for each in fields(found)}, {**settings, **tensors}
    if set(given) != names or set(tensors) != set(found.tensor_fields):
        raise DictionaryError(
            f"A dictionary of the kind {kind} has the parameters {sorted(names)}, and this one "
            f"{sorted(name[:80] for name in given)}."
        )
    if not all(math.isfinite(number) for number in settings.values()):
        raise DictionaryError(f"A parameter of the kind {kind} is not a finite number.")
    return found(**given)
