"""Text files with one entry per line."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_lines"]


def read_lines(file: Path, *, minimum: int = 1) -> list[str]:
    """Read the non-empty lines of a file.

    Args:
        file: A UTF-8 text file.
        minimum: Smallest number of lines.

    Returns:
        The lines, stripped of spaces.

    Raises:
        EvidenceError: The file cannot be read or has too few lines.
    """
    from clerestory.errors import EvidenceError
    from clerestory.io import reading

    lines = reading.read_lines(file, EvidenceError)
    if len(lines) < minimum:
        raise EvidenceError(f"{file} has too few lines; write one entry per line.")
    return lines
