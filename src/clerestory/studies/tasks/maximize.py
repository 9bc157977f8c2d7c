"""`[maximize.NAME]`: which prompts maximize a found unit, beside random ones?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.studies.tasks.base import Cost, Task, TaskContext, check_registered, tasks
from clerestory.studies.tasks.findings import FindingsTask
from clerestory.studies.tasks.rendering import FIRST, save_chart, save_pictures
from clerestory.studies.tasks.results import Claim, PictureRows, TaskResult, to_status

if TYPE_CHECKING:
    from clerestory.maximization import MaximizationResult

__all__ = ["Maximize"]

MAX_PICTURES = 32
"""Pictures of the best prompts, at most."""


@tasks.register("maximize")
class Maximize(FindingsTask):
    """`maximize` of the direction that ranked first, at `site` where one was found there.

    What it shows is for a person to name.
    """

    resumable = True

    site: str = ""
    search: str = "metropolis"
    budget: int = Field(default=5_000, ge=100)
    random_prompts: int | None = Field(default=None, ge=20)
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)

    def check_plan(self, plan: Mapping[str, Task], classifiers: Container[str]) -> None:
        from clerestory.maximization.base import searches

        check_registered("search", self.search, searches)

    def method(self) -> str:
        site = f" (at {self.site}, if it is there)" if self.site else ""
        return (
            f"A {self.search} search scored {self.budget:,} prompts by the direction that "
            f"ranked first{site}. The best of them is compared with a random search of the same "
            "budget, by random prompts of the same words."
        )

    def cost(self, context: TaskContext) -> Cost:
        from clerestory.maximization.pool import POOL_RATIO, SCALE_PROMPTS

        stage = context.address(self.site).partition(".")[0]
        # Sites of text encoders are read without running what comes after them.
        is_text = stage.partition("_")[0] == "text"
        # As `maximize` chooses: a large pool where prompts are cheap to read.
        default = POOL_RATIO * self.budget if is_text else SCALE_PROMPTS
        count = self.budget + (self.random_prompts or default)
        if is_text:
            return Cost(text=count, pictures=MAX_PICTURES)
        return Cost(read=count, pictures=MAX_PICTURES)

    def run(self, context: TaskContext, folder: Path) -> TaskResult:
        from clerestory.evaluation import direction
        from clerestory.maximization import maximize
        from clerestory.maximization.gallery import write_gallery

        findings = self.load_findings(context, context.group_label(self.label))
        site = context.address(self.site)
        # A model without the site still has an answer, at the site that ranked first.
        has_direction = bool(findings.by_kind("direction", site))
        first = findings.top_ranked("direction", site if has_direction else None)
        result = maximize(
            context.model,
            direction(first.site, findings.direction(first.unit), "mean", name=first.unit),
            search=self.search,
            budget=self.budget,
            random_prompts=self.random_prompts,
            seeds=self.seeds,
            out=folder / "maximized",
            cache=context.cache,
            progress=context.progress,
        )
        write_gallery(result, folder / "maximized")
        return TaskResult(
            claims=(_claim(result, first.unit),),
            figures=result.to_dict(),
            pictures=_pictures(result, first.unit, folder),
            charts=(
                save_chart(folder, "The search, beside random prompts", "curve", result.plot()),
            ),
        )


def _claim(result: MaximizationResult, unit: str) -> Claim:
    best = result.best[0]
    text = (
        f"The prompt “{best.prompt}” scores {best.fresh_score:.2f} on {unit}, {best.z:.1f} "
        f"standard deviations above the mean of random prompts. {result.status_text}"
    )
    criterion = "q at most .05 against a random search of the same budget"
    # A search that finds no such prompt does not show that there is none.
    supported = True if result.status == "found" else None
    return Claim("maximized", text, to_status(supported), criterion, best.z)


def _pictures(result: MaximizationResult, unit: str, folder: Path) -> tuple[PictureRows, ...]:
    if result.pictures is None:
        return ()
    pictures = [of_prompt[0] for of_prompt in result.pictures[:FIRST]]
    prompts = [best.prompt for best in result.best[: len(pictures)]]
    title = f"The prompts that maximize {unit}: a person may say what it stands for"
    return (save_pictures(folder, title, {"": pictures}, prompts),)
