"""The data of every page, from which both the page and its `.json` twin are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np

from clerestory.errors import OptionError
from clerestory.microscope import blind, fragments, searches
from clerestory.microscope.blind import Score
from clerestory.microscope.folder import Microscope, SiteUnits, Unit
from clerestory.microscope.names import load_names, theme_scores
from clerestory.microscope.references import references
from clerestory.microscope.summaries import BINS
from clerestory.microscope.themes import Theme, Themes, agreement
from clerestory.naming import UnitName

__all__ = ["DEFAULT_SORT", "PAGE", "SORTS", "Views", "best_scores"]

PAGE = 60
"""Units on one page of a site."""
DEFAULT_SORT = "interest"
SORTS = {
    "interest": "most interesting first",
    "number": "number",
    "peak": "rare and strong first",
    "sd": "varies most",
    "themes": "most themes",
    "blind": "best proven",
}
ROW_PICTURES = 4
"""Pictures of a unit in a list of units."""
MAX_INTERESTING = 12
"""Units on the model's page."""
MAX_THEMES = 200
"""Themes on a unit's page, the newest."""
MAX_RESULTS = 24
"""Units and samples that a search returns."""


@dataclass(frozen=True, eq=False)
class Views:
    """The pages of a microscope and its themes.

    Attributes:
        microscope: The microscope.
        themes: Its themes and blind tests.
    """

    microscope: Microscope
    themes: Themes

    def model(self) -> dict[str, Any]:
        """Stages, sites and the number of units with themes."""
        counts = self.themes.counts()
        sites = [
            {
                "address": site.address,
                "stage": site.stage,
                "units": site.units,
                # Themes are stored by the unit's address, whose part before
                # the bracket is the site's.
                "named": sum(unit.rpartition("[")[0] == site.address for unit in counts),
                "path": self.path(site.address),
            }
            for site in self.microscope.sites.values()
        ]
        stages: dict[str, list[dict[str, Any]]] = {}
        for entry in sites:
            stages.setdefault(str(entry["stage"]), []).append(entry)
        plan = self.microscope.plan
        return {
            "model": self.microscope.model,
            "revision": plan.model.revision,
            "samples": [recording.samples for recording in plan.recordings],
            "units": sum(site.units for site in self.microscope.sites.values()),
            "named": len(counts),
            "latest": [
                {"text": theme.text, "unit": theme.unit, "path": self.path_of(theme.unit)}
                for theme in self.themes.latest(6)
            ],
            "interesting": self._interesting(),
            "stages": [{"stage": name, "sites": entries} for name, entries in stages.items()],
        }

    def site(self, address: str, sort: str = DEFAULT_SORT, page: int = 0) -> dict[str, Any]:
        """A page of a site's units.

        Args:
            address: The site's address.
            sort: The order, a key of `SORTS`.
            page: The number of the page, from 0; pages after the last are empty.

        Returns:
            Ready for JSON.

        Raises:
            OptionError: There is no such order.
            SiteError: There is no such site.
        """
        # By its first unit: an unknown site raises the error that lists those there are.
        site = self.microscope.unit(address, 0).site
        counts, best = self.themes.counts(), best_scores(self.themes)
        order = self._order(site, sort, counts, best)
        units = [Unit(site, int(number)) for number in order[page * PAGE : (page + 1) * PAGE]]
        themes = self.themes.of_units(unit.address for unit in units)
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
            # Rounded up: the last page may be shorter.
            "pages": -(-site.units // PAGE),
            "rows": [self._row(unit, themes.get(unit.address, []), best) for unit in units],
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
        if sort == "interest":
            # A microscope of an earlier version has no such figure.
            if not site.has("selectivity"):
                return range(site.units)
            sort = "selectivity"
        if sort in ("peak", "sd", "selectivity"):
            # Stable, so that ties keep their numbers' order on every page.
            return [int(number) for number in np.argsort(-site.figure(sort), kind="stable")]
        keys = {
            number: float(counts.get(address, 0))
            if sort == "themes"
            else _confidence(best.get(address))
            for number in range(site.units)
            for address in [f"{site.address}[{number}]"]
        }
        return sorted(keys, key=lambda number: -keys[number])

    def _row(
        self, unit: Unit, themes: Sequence[Theme], best: Mapping[str, Score]
    ) -> dict[str, Any]:
        """An entry of a list of units, with the samples of the highest activation."""
        score = best.get(unit.address)
        return {
            "unit": unit.address,
            "number": unit.number,
            "path": self.path(unit.path),
            "most": fragments.samples(self.microscope, unit, unit.figure("most")[:ROW_PICTURES]),
            "themes": [theme.text for theme in themes[-2:]],
            "name": next((name.to_dict() for name in self._names(unit)), None),
            "blind": None if score is None else score.to_dict(),
        }

    def _names(self, unit: Unit) -> Sequence[UnitName]:
        """The machine's names of a unit, in the order of their selection."""
        return load_names(self.microscope, unit.site).get(unit.address, ())

    def _interesting(self) -> list[dict[str, Any]]:
        """The units whose word tells their high from their low held-out prompts best."""
        sites = [site for site in self.microscope.sites.values() if site.has("selectivity")]
        if not sites:
            return []
        scores = np.concatenate([site.figure("selectivity") for site in sites])
        numbers = [(site, number) for site in sites for number in range(site.units)]
        first: dict[str, tuple[Unit, float]] = {}
        for at in np.argsort(-scores, kind="stable"):
            if len(first) == MAX_INTERESTING or scores[at] <= 0.5:
                break
            unit = Unit(*numbers[at])
            word = self.microscope.words(unit.site.recording)[unit.figure("up-word")[0]]
            # One for each word: a frequent one would have the whole list.
            first.setdefault(word, (unit, float(scores[at])))
        themes = self.themes.of_units(unit.address for unit, _ in first.values())
        return [
            {
                **self._row(unit, themes.get(unit.address, []), {}),
                "word": word,
                "score": score,
            }
            for word, (unit, score) in first.items()
        ]

    def unit(self, unit: Unit) -> dict[str, Any]:
        """All data of a unit.

        Args:
            unit: The unit.

        Returns:
            Ready for JSON.
        """
        site = unit.site
        themes, scores = self.themes.of(unit.address), blind.scores(self.themes, unit=unit.address)
        same, pairs = agreement(themes)
        measured = theme_scores(self.microscope)
        numbers = {name: float(unit.figure(name)) for name in ("mean", "sd", "low", "high", "peak")}
        return {
            "model": self.microscope.model,
            "unit": unit.address,
            "path": self.path(unit.path),
            "site": site.address,
            "stage": site.stage,
            "number": unit.number,
            "before": self.path(f"{site.address}/{unit.number - 1}") if unit.number else None,
            # None at the last unit, where the page shows no link.
            "after": self.path(f"{site.address}/{unit.number + 1}")
            if unit.number + 1 < site.units
            else None,
            **numbers,
            "histogram": {"bins": BINS, "counts": unit.figure("histogram").tolist()},
            "most": fragments.samples(self.microscope, unit, unit.figure("most"), maps=True),
            "spread": fragments.samples(self.microscope, unit, unit.figure("spread")),
            "least": fragments.samples(self.microscope, unit, unit.figure("least")),
            "words": {
                direction: fragments.words(self.microscope, unit, direction)
                for direction in ("up", "down")
            },
            "near": fragments.related(self.microscope, unit, self.path),
            "names": [name.to_dict() for name in self._names(unit)],
            "themes": [
                {
                    **theme.to_dict(),
                    "id": theme.id,
                    "blind": score.to_dict() if score else None,
                    "scores": measured[theme.key].to_dict() if theme.key in measured else None,
                }
                for theme in themes[-MAX_THEMES:]
                for score in [scores.get(theme.id)]
            ],
            "earlier": max(0, len(themes) - MAX_THEMES),
            "agreement": {"same": same, "pairs": pairs},
            "findings": references(self.microscope).get(unit.address, []),
            "searched": searches.load_result(self.microscope, unit),
        }

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Two units, with the correlation of their values over samples.

        Args:
            first: A unit's address, or "".
            second: Another unit's address, or "".

        Returns:
            Ready for JSON, without units if an address is missing; `r` is None if the units have
            different samples or one is constant.

        Raises:
            SiteError: There is no such unit.
        """
        data: dict[str, Any] = {"model": self.microscope.model, "query": [first, second]}
        if not first or not second:
            return {**data, "units": [], "r": None}
        units = [self.microscope.named(first), self.microscope.named(second)]
        r = None
        if units[0].site.recording == units[1].site.recording:
            # Only units of one recording have values of the same samples.
            values = [np.asarray(unit.figure("values"), np.float64) for unit in units]
            # A constant unit has no correlation.
            if all(each.std() > 0 for each in values):
                r = float(np.corrcoef(values[0], values[1])[0, 1])
        return {**data, "units": [self.unit(unit) for unit in units], "r": r}

    def search(self, words: str) -> dict[str, Any]:
        """Units by their themes and by the words that raise them, and samples by their prompts.

        Args:
            words: The query.

        Returns:
            Ready for JSON; at most 200 themes, 24 units and 24 samples.
        """
        query = " ".join(words.split())
        data: dict[str, Any] = {"model": self.microscope.model, "query": query}
        # An empty query would match every theme and prompt.
        if not query:
            return {**data, "themes": [], "names": [], "units": [], "samples": []}
        themes = [
            {**theme.to_dict(), "path": self.path_of(theme.unit)}
            for theme in self.themes.search(query)
        ]
        samples = (
            {"prompt": prompt, "picture": self.microscope.picture(number, row)}
            for number in range(len(self.microscope.plan.recordings))
            for row, prompt in enumerate(self.microscope.prompts(number))
            # Held-out samples stay unseen, since blind tests need them.
            if query.lower() in prompt.lower() and self.microscope.visible(number)[row]
        )
        units = self._raised_by(query.lower())
        return {
            **data,
            "themes": themes,
            "names": self._named(query.casefold()),
            "units": units,
            "samples": [*islice(samples, MAX_RESULTS)],
        }

    def _named(self, query: str) -> list[dict[str, Any]]:
        """Names by machine that have the query in them, found ones first."""
        hits = [
            name
            for site in self.microscope.sites.values()
            for names in load_names(self.microscope, site).values()
            for name in names
            if query in name.text.casefold()
        ]
        hits.sort(key=lambda name: name.detection.status != "found")
        return [{**name.to_dict(), "path": self.path_of(name.unit)} for name in hits[:MAX_RESULTS]]

    def _raised_by(self, word: str) -> list[dict[str, Any]]:
        """Units that a word raises, the largest effect first."""
        effects: list[tuple[float, Unit]] = []
        for site in self.microscope.sites.values():
            words = self.microscope.words(site.recording)
            if word in words:
                hits = np.argwhere(site.figure("up-word") == words.index(word))
                sizes = site.figure("up-effect")
                effects += [(float(sizes[unit, at]), Unit(site, int(unit))) for unit, at in hits]
        effects.sort(key=lambda pair: -pair[0])
        return [
            {
                "unit": unit.address,
                "path": self.path(unit.path),
                "effect": effect,
                "most": fragments.samples(
                    self.microscope, unit, unit.figure("most")[:ROW_PICTURES]
                ),
            }
            for effect, unit in effects[:MAX_RESULTS]
        ]

    def studies(self) -> dict[str, Any]:
        """The reports of studies in the folder."""
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
        """The next question of a blind test, or its score.

        Args:
            test: The name of the test.

        Returns:
            Ready for JSON; with the score only after the last question.

        Raises:
            ThemeError: There is no such test.
        """
        question = blind.next_question(self.themes, test)
        data: dict[str, Any] = {"model": self.microscope.model, "test": test}
        if question is None:
            (theme, score), *_ = blind.scores(self.themes, test=test).items()
            named = self.themes.get(theme)
            data |= {"theme": named.text, "unit": named.unit, "path": self.path_of(named.unit)}
            return {**data, "question": None, "score": score.to_dict()}
        unit = self.microscope.named(question.theme.unit)
        rows = [
            [self.microscope.picture(unit.site.recording, sample) for sample in row]
            for row in question.rows
        ]
        names = ("key", "number", "total")
        entry = {**{name: getattr(question, name) for name in names}, "rows": rows}
        return {**data, "theme": question.theme.text, "score": None, "question": entry}

    def path(self, page: str) -> str:
        """The path of a page under the root.

        Args:
            page: A site's address, or a unit's path.

        Returns:
            A path without a slash at its beginning.
        """
        return f"{self.microscope.model}/{page}"

    def path_of(self, unit: str) -> str:
        """The path of a unit's page under the root.

        Args:
            unit: The unit's address.

        Returns:
            A path without a slash at its beginning.
        """
        return self.path(unit.rstrip("]").replace("[", "/"))


def best_scores(themes: Themes) -> Mapping[str, Score]:
    """The score of each unit's best theme.

    Args:
        themes: The database.

    Returns:
        Scores by the unit's address.
    """
    return _best_scores(themes, themes.row_counts())


# Cached, since it reads all tests; rows are never changed, so their counts identify the content.
@lru_cache(maxsize=4)
def _best_scores(themes: Themes, row_counts: tuple[int, ...]) -> Mapping[str, Score]:
    best: dict[str, Score] = {}
    scores = blind.scores(themes)
    for theme in themes.all() if scores else []:
        score = scores.get(theme.id)
        if score is not None and _confidence(score) > _confidence(best.get(theme.unit)):
            best[theme.unit] = score
    return best


def _confidence(score: Score | None) -> float:
    """1 - p of a score; -1 without answers."""
    p = None if score is None else score.p
    # Below every score, so that untested units come last.
    return -1.0 if p is None else 1 - p
