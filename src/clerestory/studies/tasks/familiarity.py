"""`[familiarity.NAME]`: does the model know this name, or fall back on context?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clerestory.studies.tasks.base import (
    Came,
    Claim,
    Cost,
    Step,
    Strip,
    Work,
    chart,
    counted,
    steps,
    strip,
)

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recognition import Familiarity

__all__ = ["Known"]

BESIDE = 4
"""Made-up names whose pictures are shown."""


@steps.register("familiarity")
class Known(Step):
    """`familiarity` of a phrase beside made-up ones. `thought` is what the study claims of it."""

    resumes = True

    phrase: str
    thought: Literal["familiar", "unfamiliar"] = "familiar"
    contexts: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    judges: tuple[str, ...] = ()
    count: int = 199
    seeds: tuple[int, ...] = (0, 1)

    def sees(self) -> tuple[tuple[str, str], ...]:
        """Who looks, and at what."""
        return tuple((name, "") for name in self.judges)

    def asks(self, name: str) -> bool:
        """Those that it names, or all."""
        return not self.judges or name in self.judges

    def method(self) -> str:
        """How many names, where, how often."""
        contexts, seeds = len(self._contexts()), len(self.seeds)
        return (
            f"“{self.phrase}” was drawn beside {len(self.controls) or self.count} made-up names "
            f"of its form in {counted(contexts, 'context')}, {counted(seeds, 'seed')}; what sets "
            "its pictures apart is compared with what sets each of theirs apart."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """The phrase and every made-up name, in every context, with every seed."""
        names = 1 + (len(self.controls) or self.count)
        return Cost(pictures=names * len(self._contexts()) * len(self.seeds))

    def run(self, work: Work, folder: Path) -> Came:
        """Ask, or go on; the page lies in the phrase's own folder under `familiarity`."""
        from clerestory.recognition import familiarity
        from clerestory.recognition.page import chart as plot
        from clerestory.recognition.page import keep

        found = familiarity(
            work.model,
            self.phrase,
            controls=self.controls or None,
            contexts=self._contexts(),
            classifiers=self._judges(work),
            count=self.count,
            seeds=self.seeds,
            out=folder / "familiarity",
            progress=work.tell,
        )
        keep(found, folder / "familiarity")
        return Came(
            claims=(self._claim(found),),
            figures=found.told(),
            strips=(self._strip(found, folder),),
            charts=(chart(folder, "The phrase among made-up names", "among", plot(found)),),
        )

    def _judges(self, work: Work) -> list[str] | None:
        """Those that it names; else Lancet's own, the prior's embedding, or all of the study's."""
        if not self.judges and self._is_observed(work.model):
            return None
        return [work.classifier(one) for one in self.judges or work.classifiers]

    @staticmethod
    def _is_observed(model: Model) -> bool:
        """Whether `familiarity` has classifiers of the model's own, or a prior's embedding."""
        return bool(model.profile.classifiers) or model.conditioning_site.startswith("prior/")

    def _contexts(self) -> tuple[str, ...]:
        from clerestory.recognition import CONTEXTS

        return self.contexts or tuple(CONTEXTS)

    def _claim(self, found: Familiarity) -> Claim:
        names = len(found.controls.names)
        holds = None if found.verdict == "undecided" else found.verdict == self.thought
        text = (
            f"“{self.phrase}” is {found.verdict} to the model: its pictures lie "
            f"{found.distance:.2f} times as far "
            f"from those of {names} made-up names as the median one's do (p {found.p:.2g})."
        )
        bar = "p at most .01" if self.thought == "familiar" else "p above .1"
        return Claim(self.thought, text, holds, bar, found.distance)

    def _strip(self, found: Familiarity, folder: Path) -> Strip:
        """A row for each name, a column for each context, with the first seed."""
        rows = {}
        for seen in (found.seen, *found.shown[:BESIDE]):
            if seen.pictures is not None:
                rows[seen.name] = list(seen.pictures[: len(found.contexts)])
        title = f"“{self.phrase}” and, below, made-up names"
        return strip(folder, title, rows, list(found.contexts))
