"""Which prompts a dictionary was trained on: digests of them in its metadata."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clerestory.io.digests import digest

__all__ = ["MAX_PROMPTS", "prompt_metadata", "prompts_trained_on"]

KEY = "training_prompts"
DIGITS = 12
"""Hexadecimal digits of a digest: enough that two of a million prompts hardly share one."""
MAX_PROMPTS = 20_000
"""Prompts beyond which none are listed: the list is read with every figure of the dictionary."""


def prompt_metadata(prompts: Iterable[str]) -> dict[str, list[str]]:
    """What metadata say of the prompts of a training.

    Args:
        prompts: The prompts, each perhaps several times.

    Returns:
        A list of digests under the key `training_prompts`; empty where there are no prompts, or
        more than `MAX_PROMPTS`.
    """
    distinct = set(prompts)
    if not 0 < len(distinct) <= MAX_PROMPTS:
        return {}
    return {KEY: sorted(map(_digest, distinct))}


def prompts_trained_on(metadata: Mapping[str, Any], prompts: Sequence[str]) -> list[str] | None:
    """The prompts among some that a dictionary was trained on.

    Args:
        metadata: The dictionary's metadata.
        prompts: The prompts.

    Returns:
        Those of them, in order; None where the metadata do not tell.
    """
    known = metadata.get(KEY)
    if not isinstance(known, Sequence) or isinstance(known, str):
        return None
    digests = {each for each in known if isinstance(each, str)}
    return [prompt for prompt in prompts if _digest(prompt) in digests]


def _digest(prompt: str) -> str:
    return digest(prompt.encode())[:DIGITS]
