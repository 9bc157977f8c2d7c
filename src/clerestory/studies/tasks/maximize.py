"""`[excite.NAME]`: which prompts drive a found unit hardest, beside random ones?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, model_validator

from clerestory.registry import suggest
from clerestory.studies.tasks.base import Came, Claim, Cost, Step, Strip, Work, chart, steps, strip
from clerestory.studies.tasks.verify import findings_of

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult

__all__ = ["Excite"]

SHOWN = 8


@steps.register("excite")
class Excite(Step):
    """`excite` of the direction that discovery put first, at `site` where one was found there.

    What it shows is for a person to name.
    """

    resumes = True

    find: str = ""
    group: str = ""
    shows: str = ""
    site: str = ""
    search: str = "metropolis"
    budget: int = Field(default=5_000, ge=100)
    null: int = Field(default=300, ge=20)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)

    @model_validator(mode="after")
    def _one(self) -> Excite:
        if bool(self.find) == bool(self.group):
            raise ValueError("say either find or group")
        if self.group and not self.shows:
            raise ValueError("shows: say which class of the group")
        return self

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        kind, name = ("find", self.find) if self.find else ("group", self.group)
        return (f"{kind}.{name}",)

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """Which search there is not."""
        from clerestory.maximization.base import known_searches

        known = known_searches()
        if self.search in known:
            return ""
        return f"search: no search is called {self.search!r}.{suggest(self.search, known)}"[:-1]

    def method(self) -> str:
        """Which search, how long, beside how many random prompts."""
        return (
            f"A {self.search} search scored {self.budget:,} prompts by the direction that "
            "discovery put first"
            f"{f' (at {self.site}, if it is there)' if self.site else ''}, beside "
            f"{self.null} random prompts of the same words."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """So many prompts, read as far as the unit's site, and a few drawn."""
        count = self.budget + self.null
        text = self.site.partition(".")[0].partition("_")[0] == "text"
        return Cost(read=0 if text else count, text=count if text else 0, pictures=32)

    def run(self, work: Work, folder: Path) -> Came:
        """Search, or go on; the gallery is `excited/gallery.html`."""
        from clerestory.evaluation import along
        from clerestory.maximization import maximize
        from clerestory.maximization.gallery import write_gallery

        found = findings_of(work, self.find, self.group, work.group_called(self.shows))
        there = self.site if found.by_kind("direction", self.site) else None
        first = found.top_ranked("direction", there)
        came = maximize(
            work.model,
            along(first.site, found.direction(first.unit), "mean", name=first.unit),
            search=self.search,
            budget=self.budget,
            null=self.null,
            seeds=self.seeds,
            out=folder / "excited",
            progress=work.tell,
        )
        write_gallery(came, folder / "excited")
        return Came(
            claims=(_claim(came, first.unit, self.budget),),
            figures=came.to_dict(),
            strips=_strips(came, first.unit, folder),
            charts=(chart(folder, "The search, beside random prompts", "curve", came.plot()),),
        )


def _claim(came: MaximizationResult, unit: str, budget: int) -> Claim:
    """Held to what the best of as many random prompts would come to, were they normal."""
    from scipy.stats import norm

    best, beyond = came.best[0], float(np.max(came.null.scores))
    needed = float(norm.isf(1 / budget))
    holds = bool(best.z > needed)
    told = f"{best.score:.2f}, {best.z:.1f} standard deviations above the mean of random prompts"
    rest = f"the highest of {len(came.null.scores)} of those is {beyond:.2f}"
    drives = "drives" if holds else "was the best that was found, and does not surely drive"
    text = f"The prompt “{best.prompt}” {drives} {unit} to {told}; {rest}."
    bar = f"above {needed:.1f}, which the best of {budget:,} normal scores would come to"
    return Claim("driven", text, holds, bar, best.z)


def _strips(came: MaximizationResult, unit: str, folder: Path) -> tuple[Strip, ...]:
    if came.pictures is None:
        return ()
    shown = [pictures[0] for pictures in came.pictures[:SHOWN]]
    prompts = [one.prompt for one in came.best[: len(shown)]]
    title = f"What excites {unit} most: a person may say what it stands for"
    return (strip(folder, title, {"": shown}, prompts),)
