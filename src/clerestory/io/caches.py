"""Where files are kept that can be made again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(*parts: str) -> Path:
    """A folder of Clerestory in the user's cache; it need not exist.

    Args:
        *parts: Names of folders within it.

    Returns:
        `$XDG_CACHE_HOME/clerestory/…`, by default in `~/.cache`.
    """
    # A relative path counts as unset, as the XDG base directory specification has it.
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = given if given.is_absolute() else Path.home() / ".cache"
    return base.joinpath("clerestory", *parts)
