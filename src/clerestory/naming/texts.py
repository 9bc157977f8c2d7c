"""Scores names that people gave, by the same functions as those of machines."""

from __future__ import annotations

from collections.abc import Sequence

from clerestory.models import Model
from clerestory.naming.name_units import unit_column
from clerestory.naming.results import UnitName
from clerestory.naming.scoring import DrawingOptions, NameScorer, Test
from clerestory.recordings import Recording
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["score_texts"]


def score_texts(
    recording: Recording,
    texts: Sequence[tuple[str, str]],
    model: Model | None = None,
    *,
    vocabulary: Sequence[str] | None = None,
    drawing: bool = True,
    items: int = 12,
    others: int = 99,
    progress: ProgressOption = True,
) -> list[UnitName]:
    """Score names of units by detection and by drawing.

    A prompt fits a name if it has all of its words; where fewer than twelve held-out prompts do,
    the tenth of the samples fits that is closest in the model's own space of texts and pictures.

    Args:
        recording: The recording.
        texts: Addresses of units, each with a name.
        model: The recorded model; None leaves out drawing and that space.
        vocabulary: Words to hold names against beside those of the prompts; None for the model's.
        drawing: Whether to draw.
        items: Sentences that each word is put into.
        others: Other words that a name is held against.
        progress: True for progress bars, or a callback.

    Returns:
        The names in the same order; q is over all of them.

    Raises:
        EvidenceError: There are too few different prompts.
        SiteError: There is no such unit.
        RecordingError: The model is another one than was recorded.
    """
    tests = [Test(*unit_column(recording, unit), text) for unit, text in texts]
    # Those of each site together, which is then read once.
    order = sorted(range(len(tests)), key=lambda at: tests[at].site)
    options = DrawingOptions(items, others) if drawing else None
    with progress_bars(progress) as report:
        scorer = NameScorer(recording, model, vocabulary, options, report)
        scores = dict(zip(order, scorer.score([tests[at] for at in order]), strict=True))
    return [UnitName(unit, text, *scores[at]) for at, (unit, text) in enumerate(texts)]
