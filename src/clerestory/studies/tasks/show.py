"""`[show.NAME]`: prompts drawn as they are, and by what other steps built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clerestory.errors import TableError
from clerestory.io.reading import inside
from clerestory.studies.tasks.base import Came, Cost, Step, Work, steps, strip

if TYPE_CHECKING:
    from clerestory.edits.base import Edit

__all__ = ["Row", "Show"]

DRAWN = 64
"""Prompts that a row has at most."""


class Row(BaseModel):
    """A row of pictures: a prompt, drawn by the model itself or `by` a step's steered model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    says: str = ""
    by: str = ""


@steps.register("show")
class Show(Step):
    """Rows of pictures with the same seeds, for the top of the report. It makes no claim.

    A row whose step came to no steered model is left out.
    """

    claims = False

    title: str
    rows: tuple[Row, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=tuple(range(8)), min_length=1, max_length=DRAWN)

    @model_validator(mode="after")
    def _apart(self) -> Show:
        names = [row.says or row.prompt for row in self.rows]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rows: two are called {name!r}; give each a `says` of its own")
        return self

    def asks(self, name: str) -> bool:
        """Nobody looks."""
        return False

    def needs(self) -> tuple[str, ...]:
        """The steps whose steered models draw."""
        return tuple(dict.fromkeys(row.by for row in self.rows if row.by))

    def method(self) -> str:
        """What was drawn."""
        drawn = "; ".join(f"“{row.prompt}”{f' by {row.by}' * bool(row.by)}" for row in self.rows)
        return f"Drawn with the seeds {', '.join(map(str, self.seeds))}: {drawn}."

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """A picture a seed and row."""
        return Cost(pictures=len(self.rows) * len(self.seeds))

    def run(self, work: Work, folder: Path) -> Came:
        """Draw."""
        from clerestory import SteeredModel

        rows, warnings = {}, []
        for row in self.rows:
            steered = Came.read(work.folders[row.by]).steered if row.by else ""
            if row.by and not steered:
                warnings.append(f"{row.by} came to no steered model: its row is left out.")
                continue
            edits: Sequence[Edit] = ()
            if row.by:
                place = inside(work.folders[row.by], steered, TableError)
                edits = SteeredModel.load(place, work.model).edits
            pictures = work.model.run(row.prompt, self.seeds, edits=edits).pictures
            rows[row.says or row.prompt] = [] if pictures is None else list(pictures)
            work.tell("drawing", len(rows), len(self.rows))
        return Came(strips=(strip(folder, self.title, rows),), warnings=tuple(warnings))
