"""`[suppress.NAME]`: what counteracts something that a prompt brings along unasked?"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from clerestory.registry import suggest
from clerestory.studies.tasks.base import (
    Came,
    Claim,
    Cost,
    Step,
    Strip,
    Table,
    Work,
    chart,
    counted,
    steps,
    strip,
)

if TYPE_CHECKING:
    from clerestory.suppression import Suppressed

__all__ = ["Suppress"]

GONE, KEPT = 0.8, 0.9
"""What a rung should come to."""
TRIED = 60
"""Settings of the whole ladder, roughly."""
RUNGS = 6
USUAL = 24
"""Sentences that tune, and that report, where there are so many."""
SHOWN = 8


@steps.register("suppress")
class Suppress(Step):
    """`suppress`: a ladder of ways; set a tunes, set b reports on other sentences.

    `unwanted` are conditions (classifier, class), `keep` words of the prompt, each with the
    condition by which it is seen. `instead` are the control's words in their place, `elsewhere`
    prompts of other things.
    """

    prompt: str
    unwanted: tuple[tuple[str, str], ...] = Field(min_length=1)
    keep: dict[str, tuple[str, str]] = Field(min_length=1)
    instead: tuple[str, ...] = ()
    rungs: tuple[str, ...] = ()
    tune: int | None = Field(default=None, ge=10)
    report: int | None = Field(default=None, ge=10)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    budget: int = Field(default=0, ge=0)
    elsewhere: tuple[str, ...] = ()

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """Which rung there is not."""
        from clerestory.suppression.methods import RUNGS as KNOWN

        for one in self.rungs:
            if one not in KNOWN:
                return f"rungs: no rung is called {one!r}.{suggest(one, KNOWN)}"[:-1]
        return ""

    def sees(self) -> tuple[tuple[str, str], ...]:
        """Who looks, and at what."""
        return (*self.unwanted, *self.keep.values())

    def method(self) -> str:
        """Who chose what, on what."""
        away, stays = ", ".join(shows for _, shows in self.unwanted), ", ".join(self.keep)
        return (
            f"Ways to take {away} out of “{self.prompt}” were tuned on paraphrases by one set of "
            "classifiers and reported on others by another. What is too much is what the prompt "
            f"shows beyond its control, which has other words in the place of {stays}."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """The settings on sentences that tune, and each rung's best on those that report."""
        count = len(self.rungs) or RUNGS
        tries = (self.tune or USUAL) * TRIED * count // RUNGS
        each = (self.report or USUAL) * len(self.seeds) + len(self.elsewhere)
        return Cost(self.budget, pictures=tries + each * (count + 2), disk=5_000_000)

    def run(self, work: Work, folder: Path) -> Came:
        """Climb; the page and the steered model are in `suppressed`."""
        from clerestory.suppression import Case, suppress
        from clerestory.suppression.page import frontier, keep

        unwanted = [work.condition(*one) for one in self.unwanted]
        stays = [f"{word}={work.condition(*one)}" for word, one in self.keep.items()]
        found = suppress(
            Case.of(work.model, self.prompt, unwanted, stays, instead=self.instead),
            tune=self.tune,
            report=self.report,
            seeds=self.seeds,
            elsewhere=self.elsewhere,
            budget=self.budget,
            only=self.rungs,
            progress=work.tell,
        )
        keep(found, folder / "suppressed")
        return Came(
            claims=(_claim(found),),
            figures=found.told(),
            tables=(_table(found),),
            strips=(_strip(found, folder),),
            charts=(chart(folder, "What is gone, and what is kept", "frontier", frontier(found)),),
            warnings=tuple(found.warnings),
            steered="suppressed/steered" if found.steered_by == found.chosen.name else "",
        )


def _claim(found: Suppressed) -> Claim:
    chosen = found.chosen
    came, before = chosen.came, found.before.unwanted
    kept = came.kept_share
    holds = came.drop is not None and came.drop >= GONE and kept is not None and kept >= KEPT
    gone = (
        "nothing that could go"
        if came.drop is None
        else f"{came.drop:.0%} of what is too much ({came.drop_low:.0%} to {came.drop_high:.0%})"
    )
    stays = "" if kept is None else f" and keeps {kept:.0%} of what is to stay"
    ways = "The" if len(found.rungs) == 1 else f"Of {len(found.rungs)} ways, the"
    text = (
        f"{ways} {chosen.name}, which was chosen on other sentences, "
        f"takes away {gone}{stays}: "
        f"the unwanted is in {before:.0%} of pictures before, in {came.unwanted:.0%} after, and in "
        f"{found.control.unwanted:.0%} of the control's."
    )
    bar = f"{GONE:.0%} gone and {KEPT:.0%} kept"
    return Claim("gone", text, holds, bar, came.drop, came.drop_low, came.drop_high)


def _table(found: Suppressed) -> Table:
    rows = []
    for rung in found.rungs:
        one = rung.came
        gone = (
            "–"
            if one.drop is None
            else f"{one.drop:.2f} ({one.drop_low:.2f} to {one.drop_high:.2f})"
        )
        kept = "–" if one.kept_share is None else f"{one.kept_share:.2f}"
        rest = "–" if rung.cra is None else f"{rung.cra:.2f}"
        rows.append((rung.name, rung.way.setting, gone, kept, rest))
    head = ("way", "setting", "gone of what is too much", "kept", "the rest, elsewhere")
    seeds = counted(found.seeds, "seed")
    title = f"Each way's best setting, by set b, on {found.contents} sentences × {seeds}"
    return Table(title, head, tuple(rows), (found.rungs.index(found.chosen),))


def _strip(found: Suppressed, folder: Path) -> Strip:
    rows = {
        "as it is": found.pictures["before"],
        found.chosen.name: found.chosen.pictures,
        "its control": found.pictures["control"],
    }
    title = "The first sentences of those that report, none picked by hand, one seed"
    return strip(folder, title, {name: list(own[:SHOWN, 0]) for name, own in rows.items()})
