"""What every page shows, as plain data: a page and its `.json` twin are made of the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from clerestory.errors import OptionError
from clerestory.microscope import blind, fragments, searches
from clerestory.microscope.blind import Score
from clerestory.microscope.folder import Microscope, SiteUnits, Unit
from clerestory.microscope.references import references
from clerestory.microscope.summaries import BINS
from clerestory.microscope.themes import Theme, Themes, agreement

__all__ = ["PAGE", "SORTS", "Views"]

PAGE = 60
"""Units that a site's page shows at a time."""
SORTS = {
    "number": "number",
    "peak": "rare and strong first",
    "sd": "varies most",
    "themes": "most themes",
    "blind": "best proven",
}
FEW, SHOWN = 4, 200
"""Pictures of a unit among others; themes on its page, the newest."""


@dataclass(frozen=True, eq=False)
class Views:
    """The pages of a microscope and of what was said of it."""

    microscope: Microscope
    themes: Themes

    def model(self) -> dict[str, Any]:
        """Its stages and sites, and how many units have themes."""
        counts = self.themes.counts()
        sites = [
            {
                "address": site.address,
                "stage": site.stage,
                "units": site.units,
                "named": sum(unit.rpartition("[")[0] == site.address for unit in counts),
                "path": self.path(site.address),
            }
            for site in self.microscope.sites.values()
        ]
        stages: dict[str, list[dict[str, Any]]] = {}
        for one in sites:
            stages.setdefault(str(one["stage"]), []).append(one)
        return {
            "model": self.microscope.model,
            "revision": str(self.microscope.plan["model"]["revision"]),
            "samples": [one["samples"] for one in self.microscope.plan["recordings"]],
            "units": sum(site.units for site in self.microscope.sites.values()),
            "named": len(counts),
            "latest": [
                {"text": theme.text, "unit": theme.unit, "path": self.of(theme.unit)}
                for theme in self.themes.latest(6)
            ],
            "stages": [{"stage": name, "sites": own} for name, own in stages.items()],
        }

    def site(self, address: str, sort: str = "number", page: int = 0) -> dict[str, Any]:
        """A page of its units, sorted. OptionError for a sorting that is none.

        Args:
            address: The site's address.
            sort: A key of `SORTS`.
            page: From 0; an empty one beyond the last.

        Returns:
            Ready for JSON.

        Raises:
            OptionError: There is no such sorting.
            SiteError: There is no such site.
        """
        site = self.microscope.unit(address, 0).site
        counts, best = self.themes.counts(), best_scores(self.themes)
        order = self._order(site, sort, counts, best)
        shown = [Unit(site, int(one)) for one in order[page * PAGE : (page + 1) * PAGE]]
        said = self.themes.among(unit.address for unit in shown)
        return {
            "model": self.microscope.model,
            "site": address,
            "stage": site.stage,
            "path": self.path(address),
            "units": site.units,
            "named": sum(unit.rpartition("[")[0] == address for unit in counts),
            "sort": sort,
            "sorts": SORTS,
            "page": page,
            "pages": -(-site.units // PAGE),
            "shown": [self._row(unit, said.get(unit.address, []), best) for unit in shown],
        }

    def _order(
        self,
        site: SiteUnits,
        sort: str,
        counts: Mapping[str, int],
        best: Mapping[str, Score],
    ) -> Sequence[int]:
        if sort not in SORTS:
            raise OptionError(f"Units are sorted by {', '.join(SORTS)}, not {sort[:20]!r}.")
        if sort == "number":
            return range(site.units)
        if sort in ("peak", "sd"):
            return [int(one) for one in np.argsort(-site.figure(sort), kind="stable")]
        worth = {
            number: float(counts.get(address, 0)) if sort == "themes" else _sure(best.get(address))
            for number in range(site.units)
            for address in [f"{site.address}[{number}]"]
        }
        return sorted(worth, key=lambda number: -worth[number])

    def _row(self, unit: Unit, said: Sequence[Theme], best: Mapping[str, Score]) -> dict[str, Any]:
        """A unit among others: the four samples with the highest activation."""
        score = best.get(unit.address)
        return {
            "unit": unit.address,
            "number": unit.number,
            "path": self.path(unit.path),
            "most": fragments.samples(self.microscope, unit, unit.figure("most")[:FEW]),
            "themes": [theme.text for theme in said[-2:]],
            "blind": None if score is None else score.to_dict(),
        }

    def unit(self, unit: Unit) -> dict[str, Any]:
        """All of a unit.

        Args:
            unit: The unit.

        Returns:
            Ready for JSON.
        """
        site = unit.site
        said, scores = self.themes.of(unit.address), blind.scores(self.themes, unit=unit.address)
        same, pairs = agreement(said)
        numbers = {name: float(unit.figure(name)) for name in ("mean", "sd", "low", "high", "peak")}
        return {
            "model": self.microscope.model,
            "unit": unit.address,
            "path": self.path(unit.path),
            "site": site.address,
            "stage": site.stage,
            "number": unit.number,
            "before": self.path(f"{site.address}/{unit.number - 1}") if unit.number else None,
            "after": self.path(f"{site.address}/{unit.number + 1}")
            if unit.number + 1 < site.units
            else None,
            **numbers,
            "histogram": {"bins": BINS, "counts": unit.figure("histogram").tolist()},
            "most": fragments.samples(self.microscope, unit, unit.figure("most"), maps=True),
            "spread": fragments.samples(self.microscope, unit, unit.figure("spread")),
            "least": fragments.samples(self.microscope, unit, unit.figure("least")),
            "words": {
                side: fragments.words(self.microscope, unit, side) for side in ("up", "down")
            },
            "near": fragments.related(self.microscope, unit, self.path),
            "themes": [
                {**theme.to_dict(), "id": theme.id, "blind": data.to_dict() if data else None}
                for theme in said[-SHOWN:]
                for data in [scores.get(theme.id)]
            ],
            "earlier": max(0, len(said) - SHOWN),
            "agreement": {"same": same, "pairs": pairs},
            "findings": references(self.microscope).get(unit.address, []),
            "searched": searches.load_result(self.microscope, unit),
        }

    def compare(self, one: str, two: str) -> dict[str, Any]:
        """Two units beside each other, with their correlation over samples that both have.

        Without both, what was asked and nothing of them.

        Args:
            one: A unit's address, or "".
            two: Another's, or "".

        Returns:
            Ready for JSON; `r` is None where the units have different samples or never vary.

        Raises:
            SiteError: There is no such unit.
        """
        data: dict[str, Any] = {"model": self.microscope.model, "asked": [one, two]}
        if not one or not two:
            return {**data, "units": [], "r": None}
        units = [self.microscope.named(one), self.microscope.named(two)]
        found = [self.unit(unit) for unit in units]
        r = None
        if units[0].site.recording == units[1].site.recording:
            # Only units of one recording have values of the same samples.
            values = [np.asarray(unit.figure("values"), np.float64) for unit in units]
            if all(own.std() > 0 for own in values):
                r = float(np.corrcoef(values[0], values[1])[0, 1])
        return {**data, "units": found, "r": r}

    def search(self, words: str) -> dict[str, Any]:
        """Units by their themes and by the words that raise them, and samples by their prompts.

        Args:
            words: What is searched.

        Returns:
            Ready for JSON; at most 200 themes, 24 units and 24 samples.
        """
        # An empty question would match every theme and prompt.
        question = " ".join(words.split())
        if not question:
            return {
                "model": self.microscope.model,
                "asked": "",
                "themes": [],
                "units": [],
                "samples": [],
            }
        themes = [
            {**theme.to_dict(), "path": self.of(theme.unit)}
            for theme in self.themes.search(question)
        ]
        samples = [
            {"prompt": prompt, "picture": self.microscope.picture(number, row)}
            for number in range(len(self.microscope.plan["recordings"]))
            for row, prompt in enumerate(self.microscope.prompts(number))
            # Not those that are held out: who has seen them cannot take a blind test.
            if question.lower() in prompt.lower() and self.microscope.shown(number)[row]
        ]
        return {
            "model": self.microscope.model,
            "asked": question,
            "themes": themes,
            "units": self._raised(question.lower())[:24],
            "samples": samples[:24],
        }

    def _raised(self, word: str) -> list[dict[str, Any]]:
        """Units that a word raises, the strongest first."""
        found: list[tuple[float, Unit]] = []
        for site in self.microscope.sites.values():
            words = self.microscope.words(site.recording)
            if word in words:
                hits = np.argwhere(site.figure("up-word") == words.index(word))
                effects = site.figure("up-effect")
                found += [(float(effects[unit, at]), Unit(site, int(unit))) for unit, at in hits]
        found.sort(key=lambda pair: -pair[0])
        return [
            {
                "unit": unit.address,
                "path": self.path(unit.path),
                "effect": effect,
                "most": fragments.samples(self.microscope, unit, unit.figure("most")[:FEW]),
            }
            for effect, unit in found[:24]
        ]

    def studies(self) -> dict[str, Any]:
        """The reports that lie in the folder."""
        folder = self.microscope.folder / "studies"
        pages = sorted(folder.glob("*/*.html")) if folder.is_dir() else []
        return {
            "model": self.microscope.model,
            "studies": [
                {
                    "name": page.parent.name,
                    "path": page.relative_to(self.microscope.folder).as_posix(),
                }
                for page in pages
            ],
        }

    def blind(self, test: str) -> dict[str, Any]:
        """The next question of a blind test, or what came of it. ThemeError for no such test.

        Args:
            test: The name of the test.

        Returns:
            Ready for JSON; the score only once every question is answered.

        Raises:
            ThemeError: There is no such test.
        """
        question = blind.next_question(self.themes, test)
        data: dict[str, Any] = {"model": self.microscope.model, "test": test}
        if question is None:
            (theme, score), *_ = blind.scores(self.themes, test=test).items()
            said = self.themes.one(theme)
            data |= {"theme": said.text, "unit": said.unit, "path": self.of(said.unit)}
            return {**data, "question": None, "score": score.to_dict()}
        unit = self.microscope.named(question.theme.unit)
        rows = [
            [self.microscope.picture(unit.site.recording, sample) for sample in row]
            for row in question.rows
        ]
        data |= {"theme": question.theme.text, "score": None}
        own = {"key": question.key, "number": question.number, "of": question.of, "rows": rows}
        return {**data, "question": own}

    def path(self, rest: str) -> str:
        """A page's path under the root.

        Args:
            rest: A site's address, a unit's path, or "".

        Returns:
            A path without a slash at its beginning.
        """
        return f"{self.microscope.model}/{rest}"

    def of(self, unit: str) -> str:
        """The path of a unit's page, by its address.

        Args:
            unit: The unit's address.

        Returns:
            A path without a slash at its beginning.
        """
        return self.path(unit.rstrip("]").replace("[", "/"))


def best_scores(themes: Themes) -> Mapping[str, Score]:
    """The best score of each unit's themes."""
    return _proven(themes, themes.stamp())


# All tests are read for it, which every page of units would do again.
@lru_cache(maxsize=4)
def _proven(themes: Themes, stamp: tuple[int, ...]) -> Mapping[str, Score]:
    """Worked out anew once the stamp has changed."""
    found: dict[str, Score] = {}
    scores = blind.scores(themes)
    for theme in themes.every() if scores else []:
        score = scores.get(theme.id)
        if score is not None and _sure(score) > _sure(found.get(theme.unit)):
            found[theme.unit] = score
    return found


def _sure(score: Score | None) -> float:
    """The confidence in a unit's best theme; below 0 where nobody was tested."""
    p = None if score is None else score.p
    return -1.0 if p is None else 1 - p
