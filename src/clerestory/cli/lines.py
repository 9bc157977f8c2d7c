"""Files with one thing a line."""

from __future__ import annotations

from pathlib import Path

__all__ = ["lines_of"]


def lines_of(file: Path) -> list[str]:
    """A file's lines but for empty ones; EvidenceError where it cannot be read."""
    from clerestory.errors import EvidenceError

    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{file} cannot be read: {error}.") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
