"""What a study will take, before it runs: pictures, time, memory, disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from clerestory.arguments import checked
from clerestory.classifiers.base import trusted_names
from clerestory.models import Model
from clerestory.studies.runner import check_study, find_unavailable_tasks
from clerestory.studies.schema import Study
from clerestory.studies.tasks import Cost

__all__ = ["Forecast", "forecast"]

PROMPTS = tuple(f"a picture of a cat, {number}" for number in range(8))
"""The prompts that are timed."""


@dataclass(frozen=True)
class Forecast:
    """What a study will take. Tasks that only some results let run are counted in full.

    Attributes:
        costs: The cost of each task.
        seconds_per_picture: Time to draw a picture on this machine.
        seconds_per_read: Time to read a prompt as far as the conditioning site.
        seconds_per_text: Time to read a prompt in the text encoder.
        memory: Bytes that the process has held at most, the accelerator's included.
        unavailable_tasks: Tasks that cannot run with these classifiers, with the reasons.
    """

    costs: Mapping[str, Cost]
    seconds_per_picture: float
    seconds_per_read: float
    seconds_per_text: float
    memory: int
    unavailable_tasks: Mapping[str, str] = field(default_factory=dict)

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
        text = cost.text * self.seconds_per_text
        if cost.seconds:
            # A measured time includes the pictures and prompts that are counted beside it.
            return cost.seconds + text
        pictures = cost.pictures * self.seconds_per_picture
        return pictures + cost.read * self.seconds_per_read + text

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "pictures": self.total.pictures,
            "prompts_read": self.total.read + self.total.text,
            "seconds": round(sum(map(self.seconds, self.costs.values())), 1),
            "memory": self.memory,
            "left_out": dict(self.unavailable_tasks),
            "disk": self.total.disk,
            "tasks": {
                key: {**asdict(cost), "seconds": round(self.seconds(cost), 1)}
                for key, cost in self.costs.items()
            },
        }


@checked()
def forecast(study: Study, model: Model, classifiers: Mapping[str, str] | None = None) -> Forecast:
    """Time a few prompts, and the first batch of each recording; nothing is saved.

    Args:
        study: The study, at a scale.
        model: The model that it asks about.
        classifiers: Classifiers in place of the study's, by name.

    Returns:
        What a run would take.

    Raises:
        ClerestoryError: The study cannot run on this model.
    """
    overrides = classifiers or {}
    # The same trust as in a run: a forecast must not open what the run would refuse.
    with trusted_names(study.trusted_classifiers(overrides, model.profile)):
        context = check_study(study, model, Path(), overrides, lambda label, completed, total: None)
        # As one batch, as most tasks draw.
        picture = _seconds_per_prompt(lambda: model.run(list(PROMPTS), 0))
        # Without sites of text encoders a prompt takes as long to read as to draw.
        text = read = picture
        sites = [site for site in model.sites if model.sites[site].stage.startswith("text")]
        if sites:
            text = read = _time_reading(model, sites[0])
        if model.conditioning_site:
            read = _time_reading(model, model.conditioning_site)
        missing = find_unavailable_tasks(study, context)
        costs = {key: task.cost(context) for key, task in study.plan.items() if key not in missing}
        return Forecast(costs, picture, read, text, _memory(), missing)


def _time_reading(model: Model, site: str) -> float:
    return _seconds_per_prompt(lambda: model.run(list(PROMPTS), 0, read=[site], pictures=False))


def _seconds_per_prompt(run: Callable[[], object]) -> float:
    """The second run is timed: the first one warms up."""
    run()
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / len(PROMPTS)


def _memory() -> int:
    import resource

    import torch

    # In units of 1,024 bytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Of this process so far, which has drawn a batch by now.
    return peak + (torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0)
