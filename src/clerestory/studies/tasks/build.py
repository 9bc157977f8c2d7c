"""`[build.NAME]`: a steered model from findings, reported beside words and shuffled directions."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from clerestory.recordings.template import Template
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
    named,
    span,
    steps,
    strip,
)
from clerestory.studies.tasks.verify import findings_of

if TYPE_CHECKING:
    from clerestory.steering import Built

__all__ = ["Build"]

DECOY = 0.05
"""How much more of the decoy may come with the concept."""
TRIED = 32
"""Settings that are tried, roughly: a few sites and steps, seven strengths of each."""
OF_A_DIRECTION, SHOWN = 8, 8
WAYS = {
    "unedited": "as it is",
    "edited": "with the direction added",
    "words": "saying the words instead",
}


@steps.register("build")
class Build(Step):
    """`steer build`: set a tunes on some contents, set b reports on others.

    `contents` is a template whose random fills are drawn, `tuning` another one for those that tune;
    `decoy` a classifier and the class that should not come with it; `keeps` are classifiers of what
    should stay. With `beats_words` it has to draw the concept more often than saying the words
    does. `strengths` and `sites` limit what is tried.
    """

    find: str
    classifier: str
    shows: str
    said: str
    contents: Template
    tuning: Template | None = None
    decoy: tuple[str, str] | None = None
    keeps: tuple[str, ...] = ()
    keep: float | None = None
    sites: tuple[str, ...] = ()
    strengths: tuple[float, ...] = ()
    tune: int = Field(default=24, ge=4)
    report: int = Field(default=48, ge=4)
    seeds: tuple[int, ...] = Field(default=(0, 1), min_length=1)
    shuffled: int = Field(default=20, ge=0)
    beats_words: bool = False

    def needs(self) -> tuple[str, ...]:
        """Its findings."""
        return named("find", self.find)

    def sees(self) -> tuple[tuple[str, str], ...]:
        """Who looks, and at what."""
        decoy = (self.decoy,) if self.decoy else ()
        return ((self.classifier, self.shows), *decoy, *((name, "") for name in self.keeps))

    def problem(self, plan: Mapping[str, Step], classifiers: Container[str]) -> str:
        """Which template has too few contents."""
        from clerestory.errors import TableError

        try:
            self.listed()
        except TableError as error:
            return f"contents: {error}".rstrip(".")
        return ""

    def method(self) -> str:
        """Who tunes and who reports, on what."""
        seeds = counted(len(self.seeds), "seed")
        return (
            f"Site, strength and steps were chosen on {self.tune} contents by one set of "
            f"classifiers; {self.report} others, {seeds} each, report by another set, beside "
            f"saying the words (“{self.said}”) and {self.shuffled} shuffled directions. Kept: a "
            "classifier sees in the edited picture what it sees in the unedited one of the same "
            "seed."
        )

    def cost(self, work: Work, needed: Mapping[str, Step]) -> Cost:
        """Some thirty settings on contents that tune, and the report beside its baselines."""
        tried = len(self.strengths) * max(len(self.sites), 1) or TRIED
        reports = self.report * len(self.seeds) * 3 + self.shuffled * OF_A_DIRECTION
        return Cost(pictures=self.tune * (tried + 2) + reports, disk=5_000_000)

    def run(self, work: Work, folder: Path) -> Came:
        """Build, and save the steered model in `steered`."""
        from clerestory.steering import Concept, build
        from clerestory.steering.pictures import chart as plot

        decoy = None
        if self.decoy is not None:
            decoy = (work.classifier(self.decoy[0]), work.shown(*self.decoy))
        shows = work.shown(self.classifier, self.shows)
        keeps = tuple(map(work.classifier, self.keeps))
        concept = Concept(work.classifier(self.classifier), shows, self.said, decoy, keeps)
        tune, report = self.listed()
        built = build(
            work.model,
            findings_of(work, self.find, "", ""),
            concept,
            tune=tune,
            report=report,
            seeds=self.seeds,
            keep=self.keep,
            sites=self.sites,
            strengths=self.strengths,
            shuffled=self.shuffled,
            source=self.find,
            progress=work.tell,
        )
        built.save(folder / "steered")
        told = built.steered.calibration
        return Came(
            claims=tuple(self._claims(told)),
            figures=told,
            tables=(_table(told),),
            strips=(_strip(built, folder),),
            charts=(chart(folder, "What was tried", "frontier", plot(built)),),
            warnings=tuple(told["warnings"]),
            steered="steered",
        )

    def listed(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Contents that tune, and that report; TableError where a template has too few."""
        if self.tuning is not None:
            return _fills(self.tuning, self.tune), _fills(self.contents, self.report)
        both = _fills(self.contents, self.tune + self.report)
        return both[: self.tune], both[self.tune :]

    def _claims(self, told: Mapping[str, Any]) -> list[Claim]:
        low, high = told["concept_interval"]
        baselines = told["baselines"]
        rate, words = told["concept_rate"], baselines["words"]["concept_rate"]
        others = ["unedited", "shuffled", *(["words"] if self.beats_words else [])]
        rest = {one: baselines[one]["concept_interval"][1] for one in others if one in baselines}
        kept = _kept(told)
        text = (
            f"With one vector added at {told['picked']['site']} the model draws {self.shows} in "
            f"{rate:.1%} of pictures whose prompts do not say it ({low:.1%} to {high:.1%}); saying "
            f"the words does in {words:.1%}.{kept}"
        )
        most = max(rest.values())
        bar = f"the interval above those of {', '.join(rest)} (at most {most:.1%})"
        claims = [Claim("drawn", text, low > most, bar, rate, low, high)]
        if told["decoy_added"] is not None and self.decoy is not None:
            claims.append(self._decoy(told, drawn=low > most))
        return claims

    def _decoy(self, told: Mapping[str, Any], *, drawn: bool) -> Claim:
        """Where nothing is drawn, nothing comes along: that is no success."""
        assert self.decoy is not None
        added, words = told["decoy_added"], told["baselines"]["words"]["decoy_added"]
        low, high = told["decoy_added_interval"]
        said = "" if words is None else f"; saying the words does by {words:+.3f}"
        often = span(added, low, high, "+.3f")
        text = f"It changes how often a {self.decoy[0]} is {self.decoy[1]} by {often}{said}."
        bar = (
            f"a figure of at most {DECOY:+.2f}, whatever its interval, where {self.shows} is drawn"
        )
        return Claim("decoy", text, drawn and added <= DECOY, bar, added, low, high)


def _kept(told: Mapping[str, Any]) -> str:
    """What stays, and what stays least, beside what saying the words keeps."""
    kept, words = told["kept"], told["baselines"]["words"]["kept"]
    if not kept or told["all_kept"] is None:
        return ""
    least = min(kept, key=lambda name: kept[name])
    return (
        f" It keeps {told['all_kept']:.0%} of the rest on average, the {least.rpartition(':')[2]} "
        f"least ({kept[least]:.0%}; saying the words {words[least]:.0%})."
    )


def _fills(template: Template, count: int) -> tuple[str, ...]:
    """So many different prompts of a template, in random order; TableError where it has fewer."""
    import numpy as np

    from clerestory.errors import TableError

    every = template.table()["prompt"].drop_duplicates().to_numpy()
    if len(every) < count:
        raise TableError(
            f"build takes {count} contents, and the template has {len(every)}: give more, or ask "
            "for fewer."
        )
    return tuple(map(str, np.random.default_rng(0).permutation(every)[:count]))


def _strip(built: Built, folder: Path) -> Strip:
    """The first contents that report, with the first seed."""
    rows = {
        says: list(built.report.outcomes[name].pictures[:SHOWN, 0]) for name, says in WAYS.items()
    }
    title = "The first contents of those that report, none picked by hand, one seed"
    return strip(folder, title, rows, built.report.contents[:SHOWN])


def _table(told: Mapping[str, Any]) -> Table:
    rows = []
    for name, one in {"edited": told, **told["baselines"]}.items():
        low, high = one["concept_interval"]
        kept = "–" if one.get("all_kept") is None else f"{one['all_kept']:.0%}"
        decoy = "–" if one.get("decoy_added") is None else f"{one['decoy_added']:+.3f}"
        said = WAYS.get(name, f"{name} directions")
        rows.append((said, f"{one['concept_rate']:.1%} ({low:.1%} to {high:.1%})", kept, decoy))
    head = ("drawn", "shows it", "rest kept, mean", "decoy added")
    seeds = counted(told["seeds"], "seed")
    title = f"What it draws, by set b, on {told['contents']} contents × {seeds}"
    return Table(title, head, tuple(rows), (0,))
