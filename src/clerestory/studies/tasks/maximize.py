"""`[maximize.NAME]`: which prompts maximize a found unit, beside random ones?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from clerestory.registry import suggest
from clerestory.studies.tasks.base import (
    Claim,
    Cost,
    PictureRows,
    Task,
    TaskContext,
    TaskResult,
    save_chart,
    save_pictures,
    tasks,
    to_status,
)
from clerestory.studies.tasks.verify import findings_of

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult

__all__ = ["Maximize"]

SHOWN = 8


@tasks.register("maximize")
class Maximize(Task):
    """`maximize` of the direction that ranked first, at `site` where one was found there.

    What it shows is for a person to name.
    """

    resumable = True

    find: str = ""
    group: str = ""
    label: str = ""
    site: str = ""
    search: str = "metropolis"
    budget: int = Field(default=5_000, ge=100)
    null: int = Field(default=300, ge=20)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)

    @model_validator(mode="after")
    def _check_source(self) -> Maximize:
        if bool(self.find) == bool(self.group):
            raise ValueError("say either find or group")
        if self.group and not self.label:
            raise ValueError("label: say which label of the group")
        return self

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        kind, name = ("find", self.find) if self.find else ("group", self.group)
        return (f"{kind}.{name}",)

    def problem(self, plan: Mapping[str, Task], classifiers: Container[str]) -> str:
        """Which search there is not.

        Args:
            plan: All tasks of the study, by key.
            classifiers: The study's names of classifiers.

        Returns:
            What is wrong, without a full stop; "" where everything fits.
        """
        from clerestory.maximization.base import searches

        known = searches
        if self.search in known:
            return ""
        # `suggest` ends with a full stop, which the caller adds.
        return f"search: no search is called {self.search!r}.{suggest(self.search, known)}"[:-1]

    def method(self) -> str:
        """Which search, how long, beside how many random prompts."""
        return (
            f"A {self.search} search scored {self.budget:,} prompts by the direction that "
            "ranked first"
            f"{f' (at {self.site}, if it is there)' if self.site else ''}, beside "
            f"{self.null} random prompts of the same words."
        )

    def cost(self, context: TaskContext, plan: Mapping[str, Task]) -> Cost:
        """So many prompts, read as far as the unit's site, and a few drawn.

        Args:
            context: The model, folders and classifiers.
            plan: All tasks of the study, by key.

        Returns:
            The cost.
        """
        count = self.budget + self.null
        # Sites of text encoders are read without running what comes after them.
        text = self.site.partition(".")[0].partition("_")[0] == "text"
        return Cost(read=0 if text else count, text=count if text else 0, pictures=32)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        """Search, or go on; the gallery is `maximized/gallery.html`.

        Args:
            context: The model, folders and classifiers.
            folder: The task's own folder, which exists.

        Returns:
            Claims, figures, and what the report shows.
        """
        from clerestory.evaluation import direction
        from clerestory.maximization import maximize
        from clerestory.maximization.gallery import write_gallery

        findings = findings_of(context, self.find, self.group, context.group_label(self.label))
        there = self.site if findings.by_kind("direction", self.site) else None
        first = findings.top_ranked("direction", there)
        result = maximize(
            context.model,
            direction(first.site, findings.direction(first.unit), "mean", name=first.unit),
            search=self.search,
            budget=self.budget,
            null=self.null,
            seeds=self.seeds,
            out=folder / "maximized",
            progress=context.progress,
        )
        write_gallery(result, folder / "maximized")
        return TaskResult(
            claims=(_claim(result, first.unit, self.budget),),
            figures=result.to_dict(),
            pictures=_pictures(result, first.unit, folder),
            charts=(
                save_chart(folder, "The search, beside random prompts", "curve", result.plot()),
            ),
        )


def _claim(result: MaximizationResult, unit: str, budget: int) -> Claim:
    """Held to what the best of as many random prompts would come to, were they normal."""
    from scipy.stats import norm

    best, beyond = result.best[0], float(np.max(result.null.scores))
    # One of so many normal scores is expected to lie above it.
    needed = float(norm.isf(1 / budget))
    supported = bool(best.z > needed)
    score = f"{best.score:.2f}, {best.z:.1f} standard deviations above the mean of random prompts"
    rest = f"the highest of {len(result.null.scores)} of those is {beyond:.2f}"
    drives = "drives" if supported else "is the best found, and is not shown to drive"
    text = f"The prompt “{best.prompt}” {drives} {unit} to {score}; {rest}."
    criterion = f"above {needed:.1f}, which the best of {budget:,} normal scores would come to"
    return Claim("maximized", text, to_status(supported), criterion, best.z)


def _pictures(result: MaximizationResult, unit: str, folder: Path) -> tuple[PictureRows, ...]:
    if result.pictures is None:
        return ()
    shown = [pictures[0] for pictures in result.pictures[:SHOWN]]
    prompts = [one.prompt for one in result.best[: len(shown)]]
    title = f"What excites {unit} most: a person may say what it stands for"
    return (save_pictures(folder, title, {"": shown}, prompts),)
