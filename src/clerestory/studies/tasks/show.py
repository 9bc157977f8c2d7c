"""`[show.NAME]`: prompts drawn by the model, and by steered models of other tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, model_validator

from clerestory.errors import TableError
from clerestory.io.reading import path_inside
from clerestory.studies.tasks.base import Cost, Task, TaskContext, TaskResult, save_pictures, tasks

if TYPE_CHECKING:
    from clerestory.edits.base import Edit

__all__ = ["Row", "Show"]

DRAWN = 64
"""Prompts that a row has at most."""


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
    seeds: tuple[int, ...] = Field(default=tuple(range(8)), min_length=1, max_length=DRAWN)

    @model_validator(mode="after")
    def _check_captions(self) -> Show:
        names = [row.caption or row.prompt for row in self.rows]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"rows: two are called {name!r}; give each a `caption` of its own")
        return self

    def uses_classifier(self, name: str) -> bool:
        """Nothing is predicted.

        Args:
            name: The study's name of the classifier.

        Returns:
            Whether the result may depend on it.
        """
        return False

    def needs(self) -> tuple[str, ...]:
        """The tasks whose steered models draw."""
        return tuple(dict.fromkeys(row.steered_by for row in self.rows if row.steered_by))

    def method(self) -> str:
        """What was drawn."""
        drawn = "; ".join(
            f"“{row.prompt}”{f' by {row.steered_by}' * bool(row.steered_by)}" for row in self.rows
        )
        return f"Drawn with the seeds {', '.join(map(str, self.seeds))}: {drawn}."

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """A picture a seed and row.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        return Cost(pictures=len(self.rows) * len(self.seeds))

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Draw.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory import SteeredModel

        rows, warnings = {}, []
        for row in self.rows:
            steered = (
                TaskResult.load(context.folders[row.steered_by]).steered_model
                if row.steered_by
                else ""
            )
            if row.steered_by and not steered:
                warnings.append(f"{row.steered_by} has no steered model: its row is left out.")
                continue
            # A row without a steered model is the model's own picture of the prompt.
            edits: Sequence[Edit] = ()
            if row.steered_by:
                place = path_inside(context.folders[row.steered_by], steered, TableError)
                edits = SteeredModel.load(place, context.model).edits
            pictures = context.model.run(row.prompt, self.seeds, edits=edits).pictures
            rows[row.caption or row.prompt] = [] if pictures is None else list(pictures)
            context.progress("drawing", len(rows), len(self.rows))
        return TaskResult(
            pictures=(save_pictures(folder, self.title, rows),), warnings=tuple(warnings)
        )
