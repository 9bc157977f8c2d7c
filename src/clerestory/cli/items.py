"""What to draw a concept with: a file of contents, or Lancet's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clerestory.cli.lines import read_lines

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["contents_of"]

PLAIN = ("style",)
"""What Lancet's contents never mention, besides the concept: in a style less can be seen."""


def contents_of(
    model: Model, file: Path | None, judge: str, count: int, start: int = 0
) -> tuple[str, ...]:
    """`count` contents from `start` on; EvidenceError where there are too few, or none are known.

    Lancet's own say nothing of the factor that `judge`, such as `lancet:mood`, tells.
    """
    from clerestory.errors import EvidenceError

    if file is not None:
        every = tuple(dict.fromkeys(read_lines(file)))
        listed = every[start : start + count]
        if len(listed) < count:
            raise EvidenceError(
                f"{file} has {len(every)} different contents and {start + count} are asked for: "
                "give more, or ask for fewer."
            )
        return listed
    if model.name != "lancet":
        raise EvidenceError("Name a file of contents, one a line: only Lancet has some of its own.")
    return _own(judge, count, start)


def _own(judge: str, count: int, start: int) -> tuple[str, ...]:
    from lancet.items import contents
    from lancet.phrases import FACTORS_SAID
    from lancet.world.table import World

    factor = judge.removeprefix("lancet:")
    world = World.load()
    told = factor if factor in FACTORS_SAID else "style"
    people = True if told == "mood" else None
    return contents(count, *dict.fromkeys((told, *PLAIN)), start=start, people=people, world=world)
