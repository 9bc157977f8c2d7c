"""`[record.NAME]`: a template of prompts, recorded at sites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from clerestory.errors import SiteError
from clerestory.recordings.template import Template
from clerestory.studies.tasks.base import Cost, Task, TaskContext, tasks
from clerestory.studies.tasks.rendering import FIRST, count_noun, save_pictures
from clerestory.studies.tasks.results import PictureRows, TaskResult

if TYPE_CHECKING:
    import pandas as pd

    from clerestory.recordings import Recording

__all__ = ["Record"]


@tasks.register("record")
class Record(Task):
    """Prompts as factors with matched groups, and where they are read.

    Each item has `seeds_per_item` seeds of its own, which its prompts share; `seeds` are the same
    for all items instead (0 by default), and claims are then about these seeds. Every combination
    is drawn, or `sample` random fills; with `cells`, the factors that `[group]` controls,
    `per_cell` of them in each cell of one item and template that it compares. Patterns of `sites`
    that match no site of the model are left out. `max_levels` limits the levels of factors, for a
    smaller scale.
    """

    resumable = True
    makes_claims = False

    prompts: Template
    sites: tuple[str, ...] = Field(min_length=1)
    sample: int = Field(default=0, ge=0)
    cells: tuple[str, ...] = ()
    per_cell: int = Field(default=8, ge=2)
    seeds: tuple[int, ...] = ()
    seeds_per_item: int = Field(default=0, ge=0)
    pool: str = "mean"
    pictures: bool = False
    max_levels: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_max_levels(self) -> Self:
        for field, factors in {"max_levels": self.max_levels, "cells": self.cells}.items():
            for factor in factors:
                if factor not in self.prompts.levels:
                    raise ValueError(f"{field}: there is no factor {factor!r}")
        if self.cells and not self.sample:
            raise ValueError("cells: give `sample`, the number of prompts")
        return self

    @model_validator(mode="after")
    def _check_seeds(self) -> Self:
        if self.seeds and self.seeds_per_item:
            raise ValueError("give either seeds or seeds_per_item")
        return self

    def _seeds(self) -> dict[str, Any]:
        """The arguments of a recording that give its seeds."""
        if self.seeds_per_item:
            return {"seeds_per_item": self.seeds_per_item}
        return {"seeds": self.seeds or (0,)}

    def uses_classifier(self, name: str) -> bool:
        # Nothing is predicted, though a factor may have the name of a classifier.
        return False

    def method(self) -> str:
        prompts = len(self._table())
        kind = "random" if self.sample else "matched"
        factors = ", ".join(f"{len(levels)} × {name}" for name, levels in self._levels().items())
        seeds = (
            f"{count_noun(self.seeds_per_item, 'seed')} of its own for each item"
            if self.seeds_per_item
            else f"{count_noun(len(self.seeds or (0,)), 'seed')}, the same for all"
        )
        return (
            f"{prompts} {kind} prompts ({factors}; {seeds}) were read at {', '.join(self.sites)}."
        )

    def cost(self, context: TaskContext) -> Cost:
        from clerestory.recordings import survey
        from clerestory.recordings.plan import make_plan

        patterns = self._patterns(context)
        plan = make_plan(
            context.model,
            self._table(),
            sites=patterns,
            pool=self.pool,
            pictures=self.pictures,
            **self._seeds(),
        )
        # The first batch is timed.
        estimate = survey(context.model, plan)
        # Reading a site of the denoiser takes as long as a picture.
        drawn = self.pictures or _runs_denoiser(context, patterns)
        return Cost(
            read=0 if drawn else estimate.samples,
            pictures=estimate.samples if drawn else 0,
            disk=estimate.bytes,
            seconds=estimate.seconds,
        )

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.recordings import record

        recording = record(
            context.model,
            self._table(),
            sites=self._patterns(context),
            pool=self.pool,
            pictures=self.pictures,
            out=folder / "recording",
            progress=context.progress,
            **self._seeds(),
        )
        pictures = (_first_pictures(recording, folder),) if self.pictures else ()
        figures = {"samples": len(recording), "sites": list(recording.sites)}
        return TaskResult(figures=figures, pictures=pictures)

    def _table(self) -> pd.DataFrame:
        """The prompts, with as many levels as `max_levels` says."""
        import numpy as np

        from clerestory.contrasts.samples import cell_prompts

        # The task is frozen: a smaller scale takes a copy with fewer levels.
        prompts = self.prompts.model_copy(update={"levels": self._levels()})
        if not self.sample:
            return prompts.table()
        if self.cells:
            return cell_prompts(prompts.table(), self.cells, self.sample, self.per_cell)
        # A fixed seed: a run that was stopped continues with the same prompts.
        return prompts.random(self.sample, np.random.default_rng(0))

    def _levels(self) -> dict[str, dict[str, str | tuple[str, ...]]]:
        return {
            # `[:None]` is all levels.
            name: dict(list(levels.items())[: self.max_levels.get(name)])
            for name, levels in self.prompts.levels.items()
        }

    def _patterns(self, context: TaskContext) -> list[str]:
        """The patterns that match a site of the model; SiteError where none does."""
        # A study for several models lists sites that only some of them have.
        patterns, last_error = [], None
        for pattern in self.sites:
            try:
                context.model.sites.select([pattern])
            except SiteError as error:
                last_error = error
            else:
                patterns.append(pattern)
        if not patterns:
            raise SiteError(f"None of the study's sites is in {context.model.name}: {last_error}")
        return patterns


def _runs_denoiser(context: TaskContext, patterns: list[str]) -> bool:
    """Whether reading these sites takes the denoiser."""
    sites = context.model.sites
    # The denoiser's conditioning is known before it runs.
    addresses = set(sites.select(patterns)) - {*context.model.conditioning_sites}
    stages = {sites[address].stage.partition("_")[0] for address in addresses}
    return not stages <= {"text", "prior"}


def _first_pictures(recording: Recording, folder: Path) -> PictureRows:
    """The first pictures, under their prompts."""
    rows = recording.samples.iloc[:FIRST]
    title = f"The first {len(rows)} of its {len(recording)} pictures, none picked by hand"
    prompts = list(map(str, rows["prompt"]))
    return save_pictures(folder, title, {"": recording.pictures(range(len(rows)))}, prompts)
