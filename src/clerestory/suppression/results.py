"""What climbing the ladder came to: every rung's figures, and the one that is recommended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.steering import SteeredModel
from clerestory.suppression.case import Case
from clerestory.suppression.methods import Setting
from clerestory.suppression.scoring import Judged

__all__ = ["Rung", "Suppressed"]

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Rung:
    """The best setting of a rung: how set a saw it (`tuned`), how set b does, what it costs.

    `ua` is how often the prompt itself does not draw the unwanted; `ira` is how often, on other
    prompts, its classifiers see the same as without the way, `cra` how often the rest do
    (UnlearnCanvas' three). The last two are None where no other prompt fits the text window with
    the way's words, and `cra` where there are no such classifiers.
    """

    way: Setting
    tuned: Judged
    came: Judged
    ua: float
    ira: float | None
    cra: float | None
    pictures: Pictures = field(repr=False)

    @property
    def name(self) -> str:
        """What the rung is called."""
        return self.way.rung

    def told(self, before: float) -> dict[str, Any]:
        """Ready for JSON; `before` is the rate of the unwanted without it."""
        came = asdict(self.came)
        return {
            "name": self.name,
            "setting": self.way.setting,
            "unwanted_before": before,
            "unwanted_after": came.pop("unwanted"),
            "kept": came.pop("kept_share"),
            "collateral": None if self.came.rest is None else 1 - self.came.rest,
            **{name: came[name] for name in ("drop", "drop_low", "drop_high", "distance")},
            "ua": self.ua,
            "ira": self.ira,
            "cra": self.cra,
            "by_class": came["by_class"],
        }


@dataclass(frozen=True, eq=False)
class Suppressed:
    """The ladder's rungs beside the prompt as it is and its control, all seen by set b.

    `chosen` is taken by what set a saw; `steered` is the model with its edits, or with the best
    rung's that has some, where what was chosen is words; None where no rung has any.
    """

    case: Case
    before: Judged
    control: Judged
    rungs: tuple[Rung, ...]
    chosen: Rung
    steered: SteeredModel | None
    steered_by: str | None
    contents: int
    seeds: int
    warnings: tuple[str, ...]
    pictures: Mapping[str, Pictures] = field(repr=False)
    """Of the prompt as it is (`before`) and of the control."""

    def told(self) -> dict[str, Any]:
        """Every figure, ready for JSON."""
        return {
            "prompt": self.case.prompt.full_text,
            "unwanted": ["=".join(one) for one in self.case.unwanted],
            "keep": ["=".join(one) for one in self.case.kept],
            "contents": self.contents,
            "seeds": self.seeds,
            "control": self.control.unwanted,
            "rungs": [one.told(self.before.unwanted) for one in self.rungs],
            "chosen": self.chosen.name,
            "setting": self.chosen.way.setting,
            "steered": self.steered_by,
            "warnings": list(self.warnings),
        }
