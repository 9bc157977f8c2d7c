"""Scores names of one recording's units, whoever gave them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.maximization.vocabularies import default_words
from clerestory.models.provenance import check_dictionaries
from clerestory.naming.candidates import (
    Candidates,
    closest,
    fits_words,
    is_function_word,
    prompt_candidates,
)
from clerestory.naming.detection import Comparison, detection_scores
from clerestory.naming.drawing import Drawings, Words, draw, drawing_scores
from clerestory.naming.embeddings import JointSpace, can_take, text_site
from clerestory.naming.results import Basis, DetectionScore, DrawingScore
from clerestory.naming.samples import MIN_ITEMS, NamingSamples
from clerestory.naming.values import sample_values
from clerestory.recordings.plan import check_model
from clerestory.types import Bools, Floats, Progress

if TYPE_CHECKING:
    from clerestory.models import Model
    from clerestory.recordings import Recording

__all__ = ["NameScorer", "Test"]

MORE_ITEMS = 4
"""Candidates for each item, since some are too long for the model with a name."""


class Test(NamedTuple):
    """A unit, by its site and its column there, and a name of it."""

    site: str
    column: int
    name: str


@dataclass(frozen=True)
class DrawingOptions:
    """How names are drawn: with how many items, beside how many other words."""

    items: int
    others: int


class NameScorer:
    """Scores names of one recording's units by detection, and by drawing with a model.

    Args:
        recording: The recording.
        model: The recorded model; None scores by detection alone, and by words alone.
        vocabulary: Further words, for candidates and to hold names against; None for the model's.
        drawing: How names are drawn; None to draw none.
        progress: A callback of (label, completed, total).

    Raises:
        EvidenceError: There are too few different prompts.
        RecordingError: The model is another one than was recorded.
        DictionaryError: It lacks a dictionary of the recording, or has another one of its name.
    """

    def __init__(
        self,
        recording: Recording,
        model: Model | None,
        vocabulary: Sequence[str] | None,
        drawing: DrawingOptions | None,
        progress: Progress,
    ) -> None:
        if model is not None:
            check_dictionaries(model, recording.dictionaries, "The recording")
            check_model(model, recording.store.plan.model, any_dtype=True)
        self.recording, self.model, self.progress = recording, model, progress
        table = recording.samples.loc[recording.rows].reset_index(drop=True)
        self.samples = NamingSamples.of(table)
        self.drawing = drawing if model is not None else None
        self.warnings = list(self.samples.warnings)
        self._words = prompt_candidates(self.samples)
        self._prompt_names = frozenset(self._words.names)
        own = default_words(model) if model is not None and vocabulary is None else vocabulary or ()
        # Only words that the prompts lack: those that they have are known exactly.
        self._further = [
            word
            for word in dict.fromkeys(own)
            if word not in self._prompt_names and not is_function_word(word)
        ]
        if model is not None:
            self._further = [word for word in self._further if can_take(model, word)]
        count = 0 if drawing is None else drawing.others
        self._others = Words([*self._words.names, *self._further], count)
        self._closeness: dict[str, NDArray[np.float64]] = {}
        self._values: tuple[str, NDArray[np.float64]] | None = None
        self._fits: dict[str, tuple[Bools, Basis]] = {}

    @cached_property
    def space(self) -> JointSpace | None:
        """The model's own space of texts and pictures; None where it has none."""
        if self.model is None or not text_site(self.model):
            return None
        text = (
            "Which samples fit a word that few prompts have is decided by the model's own "
            "encoders: such names are not independent of it."
        )
        self.warnings.append(EvidenceWarning("classifier", text))
        return JointSpace(self.recording, self.model, self.samples, self.progress)

    @cached_property
    def candidates(self) -> Candidates:
        """Words and pairs of the prompts, and where the model has the space the other words."""
        if not self._further or self.space is None:
            return self._words
        self._embed(self._further)
        columns = np.stack([self._closeness[word] for word in self._further], 1)
        fits = closest(columns[self.samples.selection])
        return self._words + Candidates(tuple(self._further), fits)

    def values(self, site: str) -> Floats:
        """Values of a site's units, means over the samples of each prompt, `[prompt, unit]`.

        Args:
            site: The site's address.

        Returns:
            Those of the last site are kept.
        """
        if self._values is None or self._values[0] != site:
            self._values = site, self.samples.average(sample_values(self.recording, site))
        return self._values[1]

    def score(self, tests: Sequence[Test]) -> list[tuple[DetectionScore, DrawingScore | None]]:
        """Score names; q is over all of them.

        Args:
            tests: The names, those of each site together.

        Returns:
            Both scores of each, in the same order.
        """
        self._embed_missing({test.name for test in tests})
        comparisons = []
        for number, (site, column, name) in enumerate(tests, 1):
            fits, basis = self._fits_of(name)
            # Single precision: as many comparisons are in memory as there are names.
            values = self.values(site)[:, column].astype(np.float32)
            comparisons.append(Comparison(self.samples, values, fits, basis))
            self.progress("scoring names", number, len(tests))
        detections = detection_scores(comparisons)
        drawings: list[DrawingScore | None] = [None] * len(tests)
        if self.drawing is not None and self.model is not None and tests:
            drawn = self._draw(self.model, self.drawing, tests)
            drawings = drawing_scores(drawn, tests, self._others)
        return list(zip(detections, drawings, strict=True))

    def _draw(self, model: Model, options: DrawingOptions, tests: Sequence[Test]) -> Drawings:
        names = dict.fromkeys(test.name for test in tests)
        words = [*names, *(other for name in names for other in self._others.of(name))]
        sites = list(dict.fromkeys(test.site for test in tests))
        items = self._items(model, MORE_ITEMS * options.items, list(names))
        return draw(
            self.recording,
            model,
            sites,
            words,
            items,
            count=options.items,
            progress=self.progress,
        )

    def _items(self, model: Model, count: int, names: Sequence[str]) -> list[str]:
        """Sentences for names: the profile's, or prompts of the evaluation half.

        Those that say the fewest of the names come first: where a sentence says a name already, the
        name adds nothing to it.
        """
        items = list(model.profile.items(count))
        if not items:
            held_out = np.flatnonzero(self.samples.evaluation)
            order = np.random.default_rng(0).permutation(held_out)
            items = [self.samples.prompts[number] for number in order[:count]]
        said = np.sum([fits_words(name, items) for name in names], axis=0)
        return [items[at] for at in np.argsort(said, kind="stable")]

    def _fits_of(self, name: str) -> tuple[Bools, Basis]:
        """Which prompts fit a name: those with its words, or where few have them the closest."""
        if name not in self._fits:
            fits: Bools = fits_words(name, self.samples.prompts)
            basis: Basis = "words"
            if not self._has_words(name, fits) and name in self._closeness:
                fits, basis = np.zeros(len(fits), bool), "embedding"
                for half in (self.samples.selection, self.samples.evaluation):
                    # A tenth of each half: no half sets the threshold of the other.
                    fits[half] = closest(self._closeness[name][half][:, None])[:, 0]
            self._fits[name] = fits, basis
        return self._fits[name]

    def _has_words(self, name: str, fits: Bools) -> bool:
        """Whether a name's words decide which prompts fit it."""
        inside = fits[self.samples.evaluation]
        enough = min(inside.sum(), (~inside).sum()) >= MIN_ITEMS
        # A candidate was chosen by its words, and is scored by them.
        return name in self._prompt_names or bool(enough)

    def _embed_missing(self, names: Iterable[str]) -> None:
        missing = [
            name
            for name in sorted(names)
            if name not in self._closeness
            and not self._has_words(name, fits_words(name, self.samples.prompts))
        ]
        if missing and self.space is not None:
            self._embed(missing)

    def _embed(self, texts: Sequence[str]) -> None:
        assert self.space is not None and self.model is not None
        fitting = [text for text in texts if can_take(self.model, text)]
        columns = self.space.closeness(fitting)
        self._closeness |= dict(zip(fitting, columns.T, strict=True))
