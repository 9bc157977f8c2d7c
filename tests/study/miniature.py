"""A study small enough for a tiny pipeline, and classifiers whose answers are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.study import Definition

HOSTILE = "<script>"
"""A content that must come out of the report as text."""
SUBJECTS = ("ant", "owl", "fox", "bee", "none", "cat", "dog", "hat", "cup")


def told(**changed: Any) -> dict[str, Any]:
    """A study as its file tells it: prompts of a few letters, for a window of 16 tokens."""
    plain: dict[str, Any] = {
        "name": "miniature",
        "question": f"Where is {HOSTILE}alert(1)</script> glass?",
        "concept": {"name": "glass", "decoy": "a pane"},
        "phrasings": {
            "discovery": {
                "shown": ["gg {x}", "{x} gg"],
                "absent": ["p {x}", "{x} p"],
                "decoy": ["w {x}", "{x} w"],
            },
            "report": {
                "shown": ["g {x}", "{x} g"],
                "absent": ["q {x}", "{x} q"],
                "decoy": ["v {x}", "{x} v"],
            },
        },
        "contents": {
            "discovery": {name: name for name in SUBJECTS[5:]},
            "report": {name: name for name in (HOSTILE, *SUBJECTS[:4])},
        },
        "read": {"sites": ["prior/embedding", "text.*/mlp", "prior.*/resid"], "seeds": [0, 1]},
        "edit": {"site": "prior/embedding", "strengths": [0.5, 1.0, 2.0], "shuffled": 20},
        "pictures": {"seeds": [0, 1], "tune": 3, "curve": 3, "shuffled": 2, "probes": 2},
        "classifiers": {
            "style": {"name": "stub:style", "shows": "glass"},
            "object": {"name": "stub:object", "shows": "present"},
            "subject": {"name": "stub:subject"},
        },
    }
    return {**plain, **changed}


def definition(**changed: Any) -> Definition:
    return Definition(**told(**changed))


@dataclass(frozen=True)
class Stub:
    """Says the first class where the mean of a picture's channel is above 128, else the second."""

    classes: tuple[str, ...]
    channel: int = 0
    source: str = "stub"

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        first = pictures[..., self.channel].mean((1, 2)) > 128
        found = np.zeros((len(pictures), len(self.classes)), np.float32)
        found[np.arange(len(found)), np.where(first, 0, 1)] = 1
        return found


def stubs(name: str, which: str) -> Stub:
    """Classifiers by name, as a study asks for them."""
    assert which in ("a", "b")
    kinds = {
        "stub:style": Stub(("glass", "plain"), 0),
        "stub:object": Stub(("present", "absent"), 1),
        "stub:subject": Stub((*SUBJECTS, HOSTILE), 2),
    }
    return kinds[name]
