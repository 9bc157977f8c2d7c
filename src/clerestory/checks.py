"""Checks of arguments that every package makes, with one wording of their messages.

>>> from clerestory.errors import OptionError
>>> check_minimum(OptionError, 1, width=512, steps=0)
Traceback (most recent call last):
    ...
clerestory.errors.OptionError: steps is 0; it must be 1 or more.
>>> check_choice(OptionError, ("cond", "uncond"), branch="both")
Traceback (most recent call last):
    ...
clerestory.errors.OptionError: branch is 'both'; it must be cond or uncond.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import ClerestoryError

__all__ = ["check_choice", "check_minimum", "number_array"]


def check_minimum(error: type[ClerestoryError], minimum: float, **values: float) -> None:
    """Check that numbers are large enough.

    Args:
        error: The class of the error, such as `OptionError`.
        minimum: The smallest number that is allowed.
        **values: The numbers by the names of their arguments.

    Raises:
        ClerestoryError: Of class `error`, for the first number that is below the minimum or NaN.
    """
    for name, value in values.items():
        # Not `value < minimum`, which is False for NaN.
        if not value >= minimum:
            raise error(f"{name} is {value}; it must be {minimum} or more.")


def check_choice(error: type[ClerestoryError], choices: Iterable[str], **values: object) -> None:
    """Check that values are among a few names.

    Args:
        error: The class of the error, such as `OptionError`.
        choices: The names that are allowed, in the order in which the message lists them.
        **values: The values by the names of their arguments.

    Raises:
        ClerestoryError: Of class `error`, for the first value that is not among the choices.
    """
    *others, last = names = list(choices)
    for name, value in values.items():
        if value not in names:
            listed = f"{', '.join(others)} or {last}" if others else last
            raise error(f"{name} is {value!r}; it must be {listed}.")


def number_array(error: type[ClerestoryError], name: str, values: Any) -> NDArray[np.float64]:
    """Real numbers as an array, whatever holds them.

    Args:
        error: The class of the error, such as `EditError`.
        name: What they are, for the message.
        values: An array, a tensor of any precision and layout, or nested sequences.

    Returns:
        A float64 copy of the same shape, in which values may be infinite or NaN.

    Raises:
        ClerestoryError: Of class `error`, where values are no real numbers: texts, dates, complex
            numbers, masked entries, rows of several lengths, tensors without data.
    """
    # Tensors are known by their methods: this module is imported before torch.
    if hasattr(values, "detach") and hasattr(values, "is_quantized"):
        if values.is_meta:
            raise error(f"{name} is a tensor on the device meta, which has no values.")
        dense = values.dequantize() if values.is_quantized else values.detach().to_dense()
        # numpy has no bfloat16; every real dtype of torch fits into float64.
        dense = dense.cpu() if dense.is_complex() else dense.double().cpu()
        values = dense.resolve_conj().numpy()
    if np.ma.is_masked(values):
        raise error(f"{name} has masked entries: fill them or leave their rows out.")
    try:
        array = np.array(values)
        kind = array.dtype.kind
        # Python numbers beyond 64 bits are objects; float64 has room for some of them.
        if kind == "O" and all(isinstance(each, int | float) for each in array.flat):
            kind = "f"
        if kind in "biuf":
            return array.astype(np.float64)
    except (TypeError, ValueError):  # rows of several lengths
        raise error(f"{name} is no array of numbers: its rows have several lengths.") from None
    except OverflowError:
        raise error(f"{name} has a number that is too large for a float.") from None
    kinds = {"c": "complex numbers", "U": "texts", "S": "texts", "M": "dates", "m": "durations"}
    raise error(f"{name} has {kinds.get(kind, 'values')} that are no real numbers.")
