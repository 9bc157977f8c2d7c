"""One half of the sentences, drawn as they are, as controls, and with every setting."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from clerestory.attribution import SegmentedPrompt
from clerestory.evaluation import Condition, Design, Drawing, Evaluator
from clerestory.suppression.case import Case, words_for
from clerestory.suppression.scoring import Judged, Judges, judged
from clerestory.types import Role

__all__ = ["Stage"]


class Stage:
    """Half of the sentences, with what they draw as they are and as controls.

    To tune, each sentence has its own seed; to report, each is drawn with all.
    """

    def __init__(
        self,
        case: Case,
        carriers: Sequence[SegmentedPrompt],
        seeds: Sequence[int],
        role: Role,
        evaluator: Evaluator,
    ) -> None:
        self.case, self.role, self.evaluator = case, role, evaluator
        self.judges = Judges.of(case, role)
        count = len(case.prompt.pieces)
        sentences, plain = (
            [one.text([here] * count) for one in carriers] for here in (True, False)
        )
        design = Design.paired if role == "selection" else Design.crossed
        self.design = design(sentences, seeds)
        (self.before,) = evaluator.draw([Condition("before")], self.design)
        (self.control,) = evaluator.draw([Condition("control")], design(plain, seeds))

    def draw(self, conditions: Sequence[Condition], label: str) -> list[Drawing]:
        """The half's sentences in some conditions."""
        return self.evaluator.draw(conditions, self.design, label=label)

    def judged(self, drawing: Drawing) -> Judged:
        """What classifiers see in a drawing, beside the half's own."""
        return judged(self.case, self.judges, drawing, self.before, self.control)

    def instead(self) -> tuple[str, ...]:
        """Words of what the control shows most often in the place of each that is unwanted."""
        away, found = set(self.case.unwanted), []
        pairs = zip(self.case.unwanted, self.judges.unwanted, strict=True)
        opened = {name: label.classifier for (name, _), label in pairs}
        for name, judge in opened.items():
            seen = Counter(judge.classes[at] for at in self.control.predictions(judge))
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
