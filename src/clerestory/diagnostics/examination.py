"""The model under examination: how it is drawn, and what the runs gave so far."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from clerestory.diagnostics.memory import Peak, measure_peak, reset_peak
from clerestory.diagnostics.survey import Survey
from clerestory.errors import SiteError
from clerestory.models import Edit, Model, Run, Site
from clerestory.models.core.pipeline_state import check_tiling
from clerestory.reporting.quantities import byte_size, duration
from clerestory.types import Pictures, Progress

__all__ = [
    "Cost",
    "Examination",
    "SkippedCheckError",
    "Verdict",
    "level_difference",
    "picture_difference",
]

Verdict = tuple[bool | None, str]
"""Whether a check passes, and the detail; None if it is undecided, with the reason."""

RUNS = 10
"""Pictures that are drawn besides one for each stage: see `doctor.CHECKS`."""


class SkippedCheckError(Exception):
    """Raised by a check that cannot be run; its argument is the reason."""


@dataclass(frozen=True)
class Cost:
    """What one picture took.

    Attributes:
        seconds: Time.
        peak: Largest memory; None where the system does not tell.
    """

    seconds: float
    peak: Peak | None

    def __str__(self) -> str:
        memory = f" and {byte_size(self.peak.bytes)}" if self.peak else ""
        return f"{duration(self.seconds)}{memory}"


class Examination:
    """Draws samples of a model, and keeps what several checks share.

    Args:
        model: The model.
        prompts: The prompt of nearly all pictures, and another one.
        options: Options of the samples; `draws` settles those that are not given.
        progress: Called before and after each run.

    Attributes:
        picture: The first picture, with which others are compared; None where none was drawn.
        is_repeatable: Whether the same sample gave the same picture twice.
        survey: What a run with taps at every site saw; None before that run.
        batch: Three samples drawn at once: the first picture's, one of another seed, one of the
            other prompt; None where that run failed.
        progress: As it was given.
        costs: Time and memory of a picture by the kind of run: `bare`, `read`.
    """

    def __init__(
        self, model: Model, prompts: tuple[str, str], options: dict[str, Any], progress: Progress
    ) -> None:
        self.model, self.options = model, options
        self.prompt, self.other_prompt = prompts
        self.picture: Pictures | None = None
        self.is_repeatable = True
        self.survey: Survey | None = None
        self.batch: Run | None = None
        self.costs: dict[str, Cost] = {}
        self.progress = progress
        self._drawn, self._seconds = 0, 0.0

    @property
    def is_half(self) -> bool:
        """Whether any site has values in half precision, as the survey saw them."""
        sites = {} if self.survey is None else self.survey.sites
        return any(site.dtype in ("float16", "bfloat16") for site in sites.values())

    @cached_property
    def sites(self) -> dict[str, Site]:
        """The model's sites by address, looked up once: a model may have thousands."""
        return dict(self.model.sites)

    def is_promised(self, address: str) -> bool:
        """Whether a site must be read; modules of a pipeline of no known family may be idle."""
        site = self.sites[address]
        return site.affects_output is not None and not site.idle

    @cached_property
    def stages(self) -> list[str]:
        """The stages with sites, in the order of running."""
        return list(dict.fromkeys(site.stage for site in self.sites.values()))

    def draw(
        self,
        label: str,
        *,
        prompts: Sequence[str] = (),
        seeds: Sequence[int] = (0,),
        edits: Sequence[Edit] = (),
        cost: str = "",
        **arguments: Any,
    ) -> Run:
        """Draw samples in one batch.

        Args:
            label: What for, as progress shows it.
            prompts: One for each seed; by default the first prompt.
            seeds: One for each prompt.
            edits: Edits of the run.
            cost: The kind of run in `costs`; "" to measure nothing.
            **arguments: Further arguments of `Model.sweep`.

        Returns:
            The run.

        Raises:
            Exception: Whatever the pipeline raises.
        """
        label += self._time_left()
        self.progress(label, 0, 1)
        reset_peak()
        start = time.perf_counter()
        try:
            (run,) = self.model.sweep(
                prompts or [self.prompt],
                seeds,
                [edits],
                paired=True,
                progress=False,
                **{**self.options, **arguments},
            )
        finally:
            self.progress(label, 1, 1)
        seconds = time.perf_counter() - start
        self._drawn += len(seeds)
        self._seconds += seconds
        if cost:
            self.costs[cost] = Cost(seconds, measure_peak())
        return run

    def first_picture(self) -> Pictures:
        """The first picture.

        Raises:
            SkippedCheckError: None was drawn.
        """
        if self.picture is None:
            raise SkippedCheckError("no picture was drawn")
        return self.picture

    def comparable_picture(self) -> Pictures:
        """The first picture, with which others of the same sample are compared.

        Raises:
            SkippedCheckError: None was drawn, or the same sample gives another one each time.
        """
        if not self.is_repeatable:
            raise SkippedCheckError("the same sample gives another picture each time")
        return self.first_picture()

    def read_sites(self) -> list[str]:
        """The sites that the survey could read, in the model's order.

        Raises:
            SkippedCheckError: The survey did not end.
        """
        if self.survey is None or self.survey.picture is None:
            raise SkippedCheckError("no run with all sites ended")
        return [address for address in self.sites if address in self.survey.sites]

    def tiling_error(self, options: Mapping[str, Any]) -> str:
        """Why sites of the autoencoder are refused with these options; "" where they are not."""
        drawn = self.model.options(**options)
        try:
            check_tiling(self.model.pipeline, drawn.height, drawn.width)
        except SiteError as error:
            return str(error)
        return ""

    def _time_left(self) -> str:
        total = RUNS + len(self.stages)
        if not self._drawn or total <= self._drawn:
            return ""
        left = self._seconds / self._drawn * (total - self._drawn)
        return f" (about {duration(left)} left)"


def level_difference(first: Pictures, second: Pictures) -> Any:
    """Differences of two pictures in levels, 0 to 255, without regard to their signs."""
    # As signed numbers: the difference of bytes would wrap around.
    return np.abs(first.astype(np.int16) - second.astype(np.int16))


def picture_difference(first: Pictures, second: Pictures) -> str:
    """How two pictures differ; "" where they are the same to the byte."""
    if np.array_equal(first, second):
        return ""
    if first.shape != second.shape:
        return f"{second.shape[2]}×{second.shape[1]} in place of {first.shape[2]}×{first.shape[1]}"
    levels = level_difference(first, second)
    return f"{(levels > 0).mean():.0%} of values, up to {levels.max()} of 255 levels"
