"""Matched prompts drawn with edits, and judged: what every check of causes is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from clerestory.classifiers import Classifier
from clerestory.contrasts.findings import Findings
from clerestory.errors import EvidenceError
from clerestory.models import Edit, Model

__all__ = ["Drawn", "Tell", "Trials", "matched_prompts"]

Tell = Callable[[str, int, int], None]
"""Told (what, done, of)."""
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pictures `[content, seed, height, width, 3]`, and which of them show the concept."""

    pictures: NDArray[np.uint8]
    shows: Flags

    def first(self, contents: int) -> Drawn:
        """Of the first contents."""
        return Drawn(self.pictures[:contents], self.shows[:contents])


@dataclass(frozen=True, eq=False)
class Trials:
    """Draws either side of matched prompts on the same seeds, and asks one classifier of them.

    `pairs` has a row a content: `shown` and `absent`, the two prompts, and `fits`, whether they
    have as many tokens, so that activations can be put from one into the other.
    """

    model: Model
    pairs: pd.DataFrame
    seeds: tuple[int, ...]
    judge: Classifier
    shows: str
    tell: Tell
    others: Mapping[str, Classifier] = field(default_factory=dict)

    def draw(
        self,
        what: str,
        side: str,
        sets: Sequence[Sequence[Edit]] = ((),),
        *,
        contents: int | None = None,
        fitting: bool = False,
    ) -> list[Drawn]:
        """One side's prompts with each set of edits; only pairs that fit, where `fitting`."""
        prompts = self.prompts(side, contents, fitting=fitting)
        runs = self.model.sweep(
            prompts, self.seeds, sets, progress=lambda done, of: self.tell(what, done, of)
        )
        shape = (len(prompts), len(self.seeds))
        drawn = [run.pictures for run in runs if run.pictures is not None]
        return [
            Drawn(one.reshape(*shape, *one.shape[1:]), self.sees(one).reshape(shape))
            for one in drawn
        ]

    def prompts(
        self, side: str, contents: int | None = None, *, fitting: bool = False
    ) -> list[str]:
        """The prompts of a side."""
        pairs = self.pairs[self.pairs["fits"]] if fitting else self.pairs
        return list(pairs[side][:contents])

    def sees(self, pictures: NDArray[np.uint8]) -> Flags:
        """Which pictures `[n, height, width, 3]` show the concept."""
        said = self.judge(pictures).argmax(1)
        return np.asarray(said == self.judge.classes.index(self.shows))

    def kept(self, after: Drawn, before: Drawn) -> dict[str, float]:
        """How often each other classifier sees the same in both, seeds within contents."""
        flat = [one.pictures.reshape(-1, *one.pictures.shape[2:]) for one in (after, before)]
        found = {}
        for name, judge in self.others.items():
            one, other = (judge(pictures).argmax(1) for pictures in flat)
            found[name] = float((one == other).mean())
        return found


def matched_prompts(findings: Findings, model: Model, half: str, contents: int) -> pd.DataFrame:
    """For each of some contents of a half, at random, one prompt a side.

    If possible the two have as many tokens.

    EvidenceError where the findings do not know their samples, or contrast seeds.
    """
    if findings.samples is None:
        raise EvidenceError("These findings do not say which prompts they are of: find them again.")
    own = findings.samples[findings.samples["half"] == half]
    if set(own.loc[own["arm"] == "shown", "prompt"]) & set(
        own.loc[own["arm"] == "absent", "prompt"]
    ):
        raise EvidenceError(
            "These findings contrast the seeds of one prompt: there are no two prompts to compare."
        )
    if contents < 2:
        raise EvidenceError(f"contents is {contents}; at least 2 are needed for any figure.")
    order = np.random.default_rng(0).permutation(findings.contents[half])
    rows = []
    for place, content in enumerate(order[:contents]):
        mine = own[own["content"] == content]
        sides = {
            arm: list(dict.fromkeys(mine.loc[mine["arm"] == arm, "prompt"]))
            for arm in ("shown", "absent")
        }
        rows.append({"content": content, **_alike(sides["shown"], sides["absent"], model, place)})
    return pd.DataFrame(rows)


def _alike(
    shown: Sequence[str], absent: Sequence[str], model: Model, place: int
) -> dict[str, object]:
    """Two prompts of one length if there are any; phrasings take turns from content to content."""
    lengths = {prompt: len(model.tokenize(prompt)) for prompt in (*shown, *absent)}
    pairs = [(one, other) for one in shown for other in absent]
    fitting = [(one, other) for one, other in pairs if lengths[one] == lengths[other]]
    one, other = (fitting or pairs)[place % len(fitting or pairs)]
    return {"shown": one, "absent": other, "fits": bool(fitting)}
