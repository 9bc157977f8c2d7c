"""A study's results: every figure, the verdict, and the sentence that the figures bear."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from clerestory.finding import Detects, Findings
from clerestory.study.controlling import Controls, Tuning
from clerestory.study.definition import Definition
from clerestory.study.judging import Known

__all__ = ["Results", "Verdict", "answer", "verdict"]

Verdict = Literal["found", "not found", "undecided"]

ALPHA = 0.05


@dataclass(frozen=True)
class Results:
    """All that a study has to say. `told` is what `results.json` holds."""

    study: Definition
    verdict: Verdict
    answer: str
    headline: Mapping[str, float | None]
    findings: Findings
    tuning: Tuning
    controls: Controls
    classifiers: Mapping[str, Known]
    about: Mapping[str, Any]

    def told(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "study": self.study.name,
            "question": self.study.question,
            "verdict": self.verdict,
            "answer": self.answer,
            "headline": dict(self.headline),
            "warnings": list(self.findings.warnings),
            "detects": self.findings.told(),
            "controls": asdict(self.controls),
            "tuning": asdict(self.tuning),
            "classifiers": {name: asdict(known) for name, known in self.classifiers.items()},
            "about": dict(self.about),
            "definition": self.study.model_dump(mode="json"),
        }

    def json(self) -> str:
        """The same as JSON text."""
        return json.dumps(self.told(), indent=1, allow_nan=False) + "\n"


def headline(detects: Detects, controls: Controls) -> dict[str, float | None]:
    """The figures that a study of a style is judged by."""
    return {
        "auroc": detects.auroc,
        "decoy_auroc": detects.decoy_auroc,
        "style_rate": controls.edited.style.rate,
        "subject_kept": controls.edited.subject_kept.rate,
        "windows_added": controls.edited.object_added.change,
        "words_style_rate": controls.words.style.rate,
        "words_windows_added": controls.words.object_added.change,
        "shuffled_style_rate": controls.shuffled.style.rate,
    }


def holds(detects: Detects) -> bool:
    """Whether the unit tells the concept from its absence, and from the decoy."""
    told_apart = detects.q <= ALPHA and detects.low > 0.5
    return told_apart and (detects.decoy_low is None or detects.decoy_low > 0.5)


def changes(controls: Controls) -> bool:
    """Whether the edit draws the style more often than no edit and than shuffled directions."""
    others = (controls.unedited.style.high, controls.shuffled.style.high)
    return controls.edited.style.low > max(others)


def verdict(detects: Detects, controls: Controls) -> Verdict:
    """Found where the direction detects and controls, not found where it does neither."""
    both = (holds(detects), changes(controls))
    return "found" if all(both) else "undecided" if any(both) else "not found"


def answer(study: Definition, said: Verdict, detects: Detects, controls: Controls) -> str:
    """One sentence, from the figures alone."""
    name, site = study.concept.name, controls.site
    edited, times = controls.edited, f"{controls.strength:g} times " * (controls.strength != 1)
    said_so, mixed = controls.words.style.rate, controls.shuffled.style.rate
    rates = (
        f"{edited.style.rate:.0%} of the pictures come out in the style (95% interval"
        f" {edited.style.low:.0%} to {edited.style.high:.0%}; {said_so:.0%} when the prompt says"
        f" so, {mixed:.0%} with shuffled directions)"
    )
    if said == "found":
        return (
            f"Yes: one direction at {site} stands for {name}. With {times}this direction added,"
            f" {rates}, {edited.subject_kept.rate:.0%} keep their subject"
            f" ({controls.words.subject_kept.rate:.0%} with the words),"
            f" and {study.concept.decoy} is drawn {_added(edited.object_added.change)}."
        )
    if said == "not found":
        return (
            f"Not found: on subjects that it was not made from, no direction at {site} told {name}"
            f" both from its absence and from {study.concept.decoy}, and adding it drew the style"
            f" no more clearly than the plain prompt and shuffled directions do: {rates}."
        )
    if holds(detects):
        return (
            f"Half an answer: a direction at {site} tells {name} from its absence"
            f" (AUROC {detects.auroc:.2f}), but adding it drew it no more clearly than the plain"
            f" prompt and shuffled directions do: {rates}."
        )
    return (
        f"Half an answer: adding the direction at {site} draws {name}: {rates}. But on subjects"
        f" that it was not made from it does not clearly tell {name} from {study.concept.decoy}"
        f" or from its absence."
    )


def _added(change: float) -> str:
    points = round(abs(change) * 100)
    if not points:
        return "no more often than without"
    return f"{points} points {'more' if change > 0 else 'less'} often than without"
