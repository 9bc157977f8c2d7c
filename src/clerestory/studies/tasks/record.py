"""`[record.NAME]`: a template of prompts, recorded at sites."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from clerestory.errors import SiteError
from clerestory.recordings.template import Template
from clerestory.studies.tasks.base import (
    Cost,
    PictureRows,
    Task,
    TaskContext,
    TaskResult,
    count_noun,
    save_pictures,
    tasks,
)

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording
    from clerestory.recordings.plan import Plan

__all__ = ["Record"]

SHOWN = 8


@tasks.register("record")
class Record(Task):
    """Prompts as factors with matched groups, and where they are read.

    Every combination is drawn, or `sample` random fills. Patterns of `sites` that name nothing in
    this model are left out. `first` keeps so many levels of a factor, for a smaller scale.
    """

    resumable = True
    makes_claims = False

    prompts: Template
    sites: tuple[str, ...] = Field(min_length=1)
    sample: int = Field(default=0, ge=0)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    pool: str = "mean"
    pictures: bool = False
    first: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_first(self) -> Record:
        for factor in self.first:
            if factor not in self.prompts.levels:
                raise ValueError(f"first: there is no factor {factor!r}")
        return self

    def uses_classifier(self, name: str) -> bool:
        """Nothing is predicted: a factor may have the name of a classifier.

        Args:
            name: The study's name of the classifier.

        Returns:
            Whether the result may depend on it.
        """
        return False

    def table(self) -> pd.DataFrame:
        """The prompts, with as many levels as `first` says."""
        import numpy as np

        # The task is frozen: a smaller scale takes a copy with fewer levels.
        kept = self.prompts.model_copy(update={"levels": self._levels()})
        # A fixed seed: a stopped run goes on with the same prompts.
        return kept.random(self.sample, np.random.default_rng(0)) if self.sample else kept.table()

    def _levels(self) -> dict[str, dict[str, str | tuple[str, ...]]]:
        return {
            name: dict(list(every.items())[: self.first.get(name)])
            for name, every in self.prompts.levels.items()
        }

    def read(self, context: TaskContext) -> list[str]:
        """The patterns that name something; SiteError where none does.

        Args:
            context: The model.

        Returns:
            Patterns of sites.

        Raises:
            SiteError: None names a site of the model.
        """
        patterns, last = [], None
        for pattern in self.sites:
            try:
                context.model.sites.select([pattern])
            except SiteError as error:
                last = error
            else:
                patterns.append(pattern)
        if not patterns:
            raise SiteError(f"None of the study's sites is in {context.model.name}: {last}")
        return patterns

    def method(self) -> str:
        """How many prompts, from what, read where."""
        table = self.table()
        how = f"{len(table)} random prompts" if self.sample else f"{len(table)} matched prompts"
        factors = ", ".join(f"{len(each)} × {name}" for name, each in self._levels().items())
        seeds = count_noun(len(self.seeds), "seed")
        return f"{how} ({factors}; {seeds} each) were read at {', '.join(self.sites)}."

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """As its first batch tells.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        from clerestory.recordings import survey

        estimate = survey(context.model, self._plan(context))
        kept = Cost(disk=estimate.bytes, seconds=estimate.seconds)
        return (
            kept + Cost(pictures=estimate.samples)
            if self._draws(context)
            else kept + Cost(read=estimate.samples)
        )

    def _plan(self, context: TaskContext) -> Plan:
        from clerestory.recordings.plan import make_plan

        how: dict[str, Any] = {
            "sites": self.read(context),
            "pool": self.pool,
            "pictures": self.pictures,
        }
        return make_plan(context.model, self.table(), self.seeds, **how)

    def _draws(self, context: TaskContext) -> bool:
        """Whether the denoiser runs."""
        sites = context.model.sites
        # What conditions the denoiser is known before it runs.
        addresses = set(sites.select(self.read(context))) - {*context.model.conditioning_sites}
        stages = {sites[address].stage.partition("_")[0] for address in addresses}
        return self.pictures or not stages <= {"text", "prior"}

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Record, or go on.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.recordings import record

        recording = record(
            context.model,
            self.table(),
            self.seeds,
            sites=self.read(context),
            pool=self.pool,
            pictures=self.pictures,
            out=folder / "recording",
            progress=context.progress,
        )
        strips = (_first(recording, folder),) if self.pictures else ()
        figures = {"samples": len(recording), "sites": list(recording.sites)}
        return TaskResult(figures=figures, pictures=strips)


def _first(recording: Recording, folder: Path) -> PictureRows:
    """The first pictures, under their prompts."""
    rows = recording.samples.iloc[:SHOWN]
    shown = recording.pictures(range(len(rows)))
    title = f"The first {len(rows)} of its {len(recording)} pictures, none picked by hand"
    return save_pictures(folder, title, {"": shown}, [str(one) for one in rows["prompt"]])
