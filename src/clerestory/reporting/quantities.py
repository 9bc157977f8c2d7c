"""Durations and sizes as people read them, for estimates and progress."""

from __future__ import annotations

__all__ = ["byte_size", "duration"]


def duration(seconds: float) -> str:
    """A duration in the unit in which it has few digits.

    Args:
        seconds: The duration.

    Returns:
        Two significant digits in seconds, minutes or hours; days with one decimal.

    >>> [duration(seconds) for seconds in (0.0412, 3.21, 99.7, 250, 9000, 600_000)]
    ['0.041 s', '3.2 s', '1.7 min', '4.2 min', '2.5 h', '6.9 days']
    """
    value = seconds
    for unit, next_unit in (("s", 60), ("min", 60), ("h", 24)):
        # Beyond, two digits would be written as an exponent.
        if value < 99.5:
            return f"{value:.2g} {unit}"
        value /= next_unit
    return f"{value:.1f} days"


def byte_size(count: float) -> str:
    """A number of bytes with a decimal prefix.

    Args:
        count: The number.

    Returns:
        Three significant digits.

    >>> [byte_size(count) for count in (0, 831, 602_311, 1_640_000_000, 23e12)]
    ['0 B', '831 B', '602 kB', '1.64 GB', '23.0 TB']
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
