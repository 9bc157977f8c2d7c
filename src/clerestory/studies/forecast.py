"""What a study will take, before it is run: pictures, time, memory, disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.classifiers.base import only_given
from clerestory.studies.runner import check
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Cost

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Forecast", "forecast"]

SOME = 8
"""Prompts that are timed."""
PROMPTS = tuple(f"a picture of a cat, {number}" for number in range(SOME))


@dataclass(frozen=True)
class Forecast:
    """Each step's cost, the seconds that a picture and a prompt took here, the memory now held.

    Steps that only some outcomes let run are counted in full.
    """

    costs: Mapping[str, Cost]
    picture: float
    read: float
    text: float
    memory: int

    @property
    def total(self) -> Cost:
        """All steps together."""
        return sum(self.costs.values(), Cost())

    def seconds(self, cost: Cost) -> float:
        """What a cost comes to on this machine."""
        drawn = 0.0 if cost.seconds else cost.pictures * self.picture + cost.read * self.read
        return cost.seconds + drawn + cost.text * self.text

    @property
    def took(self) -> float:
        """Seconds of all steps."""
        return sum(map(self.seconds, self.costs.values()))

    def told(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "pictures": self.total.pictures,
            "prompts_read": self.total.read + self.total.text,
            "seconds": round(self.took, 1),
            "memory": self.memory,
            "disk": self.total.disk,
            "steps": {
                key: {**asdict(cost), "seconds": round(self.seconds(cost), 1)}
                for key, cost in self.costs.items()
            },
        }


def forecast(study: Study, model: Model, classifiers: Mapping[str, str] | None = None) -> Forecast:
    """Time a few prompts and the first batch of each recording; nothing of it is kept.

    TableError and SiteError where the study cannot be run on this model.
    """
    given = classifiers or {}
    with only_given(study.given(given)):
        return _forecast(study, model, given)


def _forecast(study: Study, model: Model, given: Mapping[str, str]) -> Forecast:
    work = check(study, model, Path(), given, lambda what, done, of: None)
    texts = [site.address for site in model.sites.values() if site.stage.startswith("text")]
    picture = _timed(lambda: model.run(list(PROMPTS), 0))
    text = picture
    if texts:
        text = _timed(lambda: model.run(list(PROMPTS), 0, read=texts[:1], pictures=False))
    read = text
    if model.conditioning_site:
        site = model.conditioning_site
        read = _timed(lambda: model.run(list(PROMPTS), 0, read=[site], pictures=False))
    costs = {key: step.cost(work, study.plan) for key, step in study.plan.items()}
    return Forecast(costs, picture, read, text, _memory())


def _timed(work: Callable[[], object]) -> float:
    """Seconds a prompt, the second time."""
    work()
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / SOME


def _memory() -> int:
    """Bytes that this process has held at most, and the accelerator's if there is one."""
    import resource

    import torch

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return most + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
