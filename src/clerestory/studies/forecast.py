"""What a study will take, before it runs: pictures, time, memory, disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clerestory.classifiers.base import trusted_names
from clerestory.studies.runner import check_study
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Cost

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Forecast", "forecast"]

PROMPTS = tuple(f"a picture of a cat, {number}" for number in range(8))
"""What is timed."""


@dataclass(frozen=True)
class Forecast:
    """What a study will take. Tasks that only some results let run are counted in full.

    Attributes:
        costs: The cost of each task.
        picture: Seconds that drawing a picture takes on this machine.
        read: Seconds that reading a prompt as far as the conditioning site takes.
        text: Seconds that reading a prompt in the text encoder takes.
        memory: Bytes that the process has held at most, the accelerator's included.
    """

    costs: Mapping[str, Cost]
    picture: float
    read: float
    text: float
    memory: int

    @property
    def total(self) -> Cost:
        """All tasks together."""
        return sum(self.costs.values(), Cost())

    def seconds(self, cost: Cost) -> float:
        """How long a cost takes on this machine.

        Args:
            cost: The cost of a task, or of several.

        Returns:
            Seconds.
        """
        # What was measured includes the pictures and prompts that are counted beside it.
        counted = 0.0 if cost.seconds else cost.pictures * self.picture + cost.read * self.read
        return cost.seconds + counted + cost.text * self.text

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "pictures": self.total.pictures,
            "prompts_read": self.total.read + self.total.text,
            "seconds": round(sum(map(self.seconds, self.costs.values())), 1),
            "memory": self.memory,
            "disk": self.total.disk,
            "tasks": {
                key: {**asdict(cost), "seconds": round(self.seconds(cost), 1)}
                for key, cost in self.costs.items()
            },
        }


def forecast(study: Study, model: Model, classifiers: Mapping[str, str] | None = None) -> Forecast:
    """Time a few prompts, and the first batch of each recording; nothing is kept.

    Args:
        study: The study, at a scale.
        model: The model that it asks about.
        classifiers: Classifiers in place of the study's, by name.

    Returns:
        What a run would take.

    Raises:
        ClerestoryError: The study cannot run on this model.
    """
    given = classifiers or {}
    with trusted_names(study.trusted_classifiers(given, model.profile)):
        context = check_study(study, model, Path(), given, lambda label, completed, total: None)
        picture = _seconds_a_prompt(lambda: model.run(list(PROMPTS), 0))
        # A model without such sites reads nothing faster than it draws.
        text = read = picture
        sites = [site for site in model.sites if model.sites[site].stage.startswith("text")]
        if sites:
            text = read = _time_reading(model, sites[0])
        if model.conditioning_site:
            read = _time_reading(model, model.conditioning_site)
        costs = {key: task.cost(context, study.plan) for key, task in study.plan.items()}
        return Forecast(costs, picture, read, text, _memory())


def _time_reading(model: Model, site: str) -> float:
    return _seconds_a_prompt(lambda: model.run(list(PROMPTS), 0, read=[site], pictures=False))


def _seconds_a_prompt(run: Callable[[], object]) -> float:
    """The second run is timed: the first one warms up."""
    run()
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / len(PROMPTS)


def _memory() -> int:
    import resource

    import torch

    # In units of 1,024 bytes on Linux.
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return most + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
