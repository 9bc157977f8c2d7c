"""Figures with their intervals, as text."""

from __future__ import annotations

__all__ = ["format_interval"]


def format_interval(figure: float, low: float, high: float, spec: str = "+z.2f") -> str:
    """A figure with its interval, as text.

    Args:
        figure: The figure.
        low: Lower limit.
        high: Upper limit.
        spec: The format of all three; `z` leaves out the minus of a rounded zero.

    Returns:
        `FIGURE (LOW to HIGH)`.

    >>> format_interval(0.5, -0.001, 0.75)
    '+0.50 (+0.00 to +0.75)'
    """
    return f"{figure:{spec}} ({low:{spec}} to {high:{spec}})"
