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

from clerestory.errors import ClerestoryError

__all__ = ["check_choice", "check_minimum"]


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
