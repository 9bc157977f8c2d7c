"""One half of the sentences, drawn as they are, as controls, and by every way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clerestory.attribution import SegmentedPrompt
from clerestory.classifiers import classifier
from clerestory.suppression.case import Case, words_for
from clerestory.suppression.scoring import Judged, Looks, Way, judged, likeliest
from clerestory.types import Role

__all__ = ["Stage"]

Pictures = NDArray[np.uint8]


class Stage:
    """Half of the sentences, with what they draw as they are and as controls.

    To tune, each sentence has its own seed; to report, each is drawn with all.
    """

    def __init__(
        self, case: Case, carriers: Sequence[SegmentedPrompt], seeds: Sequence[int], role: Role
    ) -> None:
        self.case, self.seeds, self.role = case, tuple(seeds), role
        count = len(case.prompt.pieces)
        self.prompts, plain = (
            [one.text([here] * count) for one in carriers] for here in (True, False)
        )
        self.before = Looks(case, self.draw(Way("before")), role)
        self.control = Looks(case, self.draw(Way("control"), plain), role)

    def draw(self, way: Way, prompts: Sequence[str] = ()) -> Pictures:
        """`[sentence, seed, height, width, 3]`, of the stage's sentences if of no others."""
        texts = prompts or self.prompts
        if self.role == "evaluation":
            return way.draw(self.case.model, texts, self.seeds)
        rows = {
            seed: [at for at, own in enumerate(self.seeds) if own == seed] for seed in self.seeds
        }
        drawn = {
            at: pictures
            for seed, own in rows.items()
            for at, pictures in zip(
                own, way.draw(self.case.model, [texts[at] for at in own], [seed]), strict=True
            )
        }
        return np.stack([drawn[at] for at in range(len(texts))])

    def judged(self, looks: Looks) -> Judged:
        """Looks at pictures, held to the half's own."""
        return judged(looks, self.before, self.control)

    def tried(self, way: Way) -> tuple[Pictures, Judged]:
        """What a way draws, and how that came out."""
        pictures = self.draw(way)
        return pictures, self.judged(Looks(self.case, pictures, self.role))

    def instead(self) -> tuple[str, ...]:
        """Words of what the control shows most often in the place of each that is unwanted."""
        away, found = set(self.case.unwanted), []
        for name in dict.fromkeys(name for name, _ in self.case.unwanted):
            classes = classifier(name, role=self.role).classes
            shown = likeliest([name], self.control.pictures, self.role)[name]
            seen = Counter(classes[at] for at in shown.ravel())
            usual = [one for one, _ in seen.most_common() if (name, one) not in away]
            found += [words_for(self.case.model, name, one) for one in usual if one != "none"][:1]
        return tuple(found)

    def problems(self) -> list[str]:
        """Why there is nothing to counteract, or which class to keep is never drawn."""
        own, usual = self.judged(self.before), self.judged(self.control)
        found = []
        if own.drop is None:
            found.append(
                f"By the {self.role} classifiers the prompt shows the unwanted in "
                f"{own.unwanted:.0%} of its pictures and the control in {usual.unwanted:.0%}: "
                "there is nothing to counteract."
            )
        names = ["=".join(one) for one in self.case.kept]
        return found + [
            f"By the {self.role} classifiers the prompt never draws {name}, so nothing tells how "
            "well it is kept."
            for name in names
            if own.by_class[name] == 0
        ]
