"""`[show.NAME]`: prompts drawn by the model, and by steered models of other tasks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clerestory.errors import TableError
from clerestory.io.reading import path_inside
from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.rendering import save_pictures
from clerestory.studies.tasks.results import TaskResult, evidence_warnings

if TYPE_CHECKING:
    from clerestory.edits.base import Edit

__all__ = ["Row", "Show"]

MAX_SEEDS = 64
"""Pictures of a row, at most."""


class Row(BaseModel):
    """A row of pictures: a prompt, drawn by the model or `steered_by` a task's steered model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    caption: str = ""
    steered_by: str = ""


@tasks.register("show")
class Show(Task):
    """Rows of pictures with the same seeds, for the top of the report. It makes no claim.

    A row whose task has no steered model is left out.
    """

    makes_claims = False
    illustrates = True

    title: str
    rows: tuple[Row, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(default=tuple(range(8)), min_length=1, max_length=MAX_SEEDS)

    @model_validator(mode="after")
    def _check_captions(self) -> Self:
        captions = [row.caption or row.prompt for row in self.rows]
        for caption in captions:
            if captions.count(caption) > 1:
                raise ValueError(
                    f"rows: two are called {caption!r}; give each a `caption` of its own"
                )
        return self

    def uses_classifier(self, name: str) -> bool:
        return False

    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.steered_by for row in self.rows if row.steered_by))

    def method(self) -> str:
        rows = "; ".join(
            f"“{row.prompt}”{f' by {row.steered_by}' * bool(row.steered_by)}" for row in self.rows
        )
        return f"Drawn with the seeds {', '.join(map(str, self.seeds))}: {rows}."

    def cost(self, context: TaskContext) -> Cost:
        return Cost(pictures=len(self.rows) * len(self.seeds))

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        rows, warnings = {}, []
        for row in self.rows:
            edits = _edits(row, context)
            if edits is None:
                warnings.append(f"{row.steered_by} has no steered model: its row is left out.")
                continue
            pictures = context.model.run(row.prompt, self.seeds, edits=edits).pictures
            rows[row.caption or row.prompt] = [] if pictures is None else list(pictures)
            context.progress("drawing", len(rows), len(self.rows))
        return TaskResult(
            pictures=(save_pictures(folder, self.title, rows),),
            warnings=evidence_warnings(warnings),
        )


def _edits(row: Row, context: TaskContext) -> Sequence[Edit] | None:
    """The edits of a row; none for the model itself, None where its task has no steered model."""
    from clerestory import SteeredModel

    if not row.steered_by:
        return ()
    folder = context.folders[row.steered_by]
    # From its file: the task may have run in an earlier process.
    steered = TaskResult.load(folder).steered_model
    if not steered:
        return None
    return SteeredModel.load(path_inside(folder, steered, TableError), context.model).edits
