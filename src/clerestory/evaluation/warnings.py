"""Limitations of evidence, as values: a kind that programs compare, and a sentence to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["EvidenceWarning", "WarningKind"]

WarningKind: TypeAlias = Literal[
    "bad-samples",
    "classifier",
    "confounded",
    "few-baselines",
    "few-items",
    "few-templates",
    "incomplete",
    "insufficient",
    "left-out",
    "one-phrase",
    "other",
    "removal",
    "repeated-items",
    "seed-decides",
    "seen-prompts",
    "shared-seeds",
    "shared-templates",
    "side-effects",
    "templates-not-varied",
]
"""
- `bad-samples`: samples were not finite or not recorded yet, and were left out.
- `classifier`: one classifier both selects and evaluates, or shares weights with the model.
- `confounded`: a column of the recording or another label (nearly) determines the arm, or has one
  level in all of one arm and seldom in the other.
- `few-baselines`: too few edits without the concept for any edit to be supported.
- `few-items`, `few-templates`: too few for a claim about others.
- `incomplete`: items or templates were dropped, since not all combinations were recorded.
- `insufficient`: nothing that was tried reaches what was asked for.
- `left-out`: a part of the comparison does not apply to this model or prompt.
- `one-phrase`: an arm has one phrase; the claim is about these two phrases.
- `other`: any other limitation.
- `removal`: figures depend on how pieces of a prompt are removed.
- `repeated-items`: prompts occur more than once, or in several items.
- `seed-decides`: the seed (nearly) determines the arm.
- `seen-prompts`: prompts are among those that a dictionary was trained on, or that is not known.
- `shared-seeds`: items share their seeds, so that one seed's noise is in all of them.
- `shared-templates`: both halves use the same sentence frame.
- `side-effects`: nothing measures them, or the design cannot show that they are small.
- `templates-not-varied`: there is no column of templates; the claim is about these wordings.
"""


@dataclass(frozen=True)
class EvidenceWarning:
    """A limitation of the evidence.

    Attributes:
        kind: What it is about.
        text: A sentence.
    """

    kind: WarningKind
    text: str

    def __str__(self) -> str:
        return self.text
