"""Files with one thing a line."""

from __future__ import annotations

from pathlib import Path

__all__ = ["lines_of"]


def lines_of(file: Path, *, least: int = 1) -> list[str]:
    """A file's lines but for empty ones; EvidenceError where it cannot be read or has too few."""
    from clerestory.errors import EvidenceError
    from clerestory.io.reading import MOST_LINES, read_text

    text = read_text(file, EvidenceError, MOST_LINES)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) < least:
        raise EvidenceError(f"{file} holds no line; write one thing a line.")
    return lines
