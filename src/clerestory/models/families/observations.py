"""What short runs show of a pipeline of no known family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from torch import nn

from clerestory.models.core.family import SiteHook
from clerestory.models.core.probe import (
    ModuleTrace,
    StagePattern,
    Trace,
    call_patterns,
    has_batch_of,
    record_trace,
)
from clerestory.models.core.types import Options, Sample
from clerestory.types import Floats, Pictures, Progress

__all__ = [
    "Mode",
    "Observations",
    "Observer",
    "observed_hook",
]

PROMPTS = ("a cat", "two old houses")
"""Of different lengths: texts whose tokens are not padded have different shapes."""
STEPS = {"steps": 2, "prior_steps": 2}
LABEL = "probing"

Mode: TypeAlias = tuple[bool, ...]
"""What decides on the branches of guidance: which scales are above 1, and a negative prompt."""
_Run: TypeAlias = tuple[Trace, Pictures | Floats]


@dataclass
class Observations:
    """What runs of a pipeline have shown.

    Attributes:
        options: Size and steps of these runs.
        modules: What is known of modules that are called, by path.
        inputs: The shapes of what each stage's network is given, by argument.
        patterns: By mode, the calls of each stage.
        batch_modes: The modes in which several samples can be drawn at once.
        failure: Why nothing could be learned; "" where it could.
    """

    options: dict[str, int] = field(default_factory=dict)
    modules: Mapping[str, ModuleTrace] = field(default_factory=dict)
    inputs: dict[str, Mapping[str | int, tuple[int, ...]]] = field(default_factory=dict)
    patterns: dict[Mode, dict[str, StagePattern]] = field(default_factory=dict)
    batch_modes: set[Mode] = field(default_factory=set)
    failure: str = ""


def observed_hook(
    hook: SiteHook,
    trace: ModuleTrace | None,
    inputs: Mapping[str | int, tuple[int, ...]],
    *,
    tall: bool,
) -> SiteHook:
    """A hook with what was seen of its module: layout, units, rows, whether it is called at all.

    Args:
        hook: The hook.
        trace: What is known of its module; None if it was not called.
        inputs: The shapes of what its stage's network is given, by argument.
        tall: Whether pictures were twice as high as wide.

    Returns:
        The hook; its site is idle where its module was not called.
    """
    if trace is None:
        return replace(hook, site=replace(hook.site, affects_output=False, idle=True))
    shape = trace.shape
    if hook.is_input:
        shape = inputs.get(hook.argument_name, inputs.get(hook.argument_index, ()))
    last, units = hook.channels_last, hook.site.shape[1]
    # Of a block without a width, its layers tell the axis by guess only.
    if (last is None or units is None) and len(shape) > 3 and tall:
        # The axes of height and width follow one another, the first twice as long.
        is_first, is_last = shape[-2] == 2 * shape[-1], shape[-3] == 2 * shape[-2]
        last = is_last if is_first != is_last else last
    if units is None and shape:
        # As it will be read: of a map the second axis, where nothing tells.
        is_last = len(shape) < 4 if last is None else last
        units = shape[-1] if is_last or len(shape) < 3 else shape[1]
    return replace(
        hook,
        site=replace(hook.site, shape=(hook.site.shape[0], units)),
        channels_last=last,
        mixes_branches=not (hook.is_input or trace.follows_rows),
    )


@dataclass(frozen=True)
class Observer:
    """Draws short pictures with a pipeline and notes what it calls.

    Attributes:
        components: By stage, the name and the module of a component.
        networks: The module of each stage whose calls are the stage's.
        schedulers: Schedulers by name.
        draw: Draws samples; gives pictures from 0 to 1, or None where the pipeline was left early.
        sizes: Options of a size, the smallest first; the first that can be drawn is taken.
    """

    components: Mapping[str, tuple[str, nn.Module]]
    networks: Mapping[str, nn.Module]
    schedulers: Mapping[str, Any]
    draw: Callable[[Sequence[Sample]], Pictures | Floats | None]
    sizes: Sequence[dict[str, int]]

    def observe(
        self, observations: Observations, mode: Mode, options: Options, progress: Progress
    ) -> None:
        """Learn how the pipeline runs in a mode of guidance: two prompts, alone and together.

        Args:
            observations: Where it is written; a failure as well, unless another mode succeeded.
            mode: The mode.
            options: Options of that mode.
            progress: Called with a label, what is done and how much there is.
        """
        total = len(PROMPTS) + 1
        progress(LABEL, 0, total)
        runs: list[_Run] = []
        for prompt in PROMPTS:
            run = self._first_run(observations, prompt, options)
            if run is None:
                if observations.patterns:
                    # Other modes of guidance are what they are; of this one nothing is known.
                    observations.patterns[mode] = {}
                return
            runs.append(run)
            progress(LABEL, len(runs), total)
        traces = [trace for trace, _ in runs]
        patterns = call_patterns(*traces)
        if not observations.modules:
            observations.modules = traces[0].modules
            observations.inputs = {
                stage: calls[0].shapes for stage, calls in traces[0].calls.items()
            }
        observations.patterns[mode] = patterns
        if self._draws_batches(
            observations, runs, options.replace(**observations.options), patterns
        ):
            observations.batch_modes.add(mode)
        progress(LABEL, total, total)

    def _first_run(self, observations: Observations, prompt: str, options: Options) -> _Run | None:
        """A run at the smallest size that the pipeline draws; None where it draws at none."""
        reason = ""
        known = [observations.options] if observations.options else []
        for size in known or [{**STEPS, **size} for size in self.sizes]:
            try:
                run = self._run([prompt], options.replace(**size))
            except Exception as error:
                # Pipelines refuse sizes with errors of any class, most of them deep inside.
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                continue
            observations.options = size
            return run
        observations.failure = "" if observations.patterns else reason
        return None

    def _draws_batches(
        self,
        observations: Observations,
        runs: Sequence[_Run],
        options: Options,
        patterns: Mapping[str, StagePattern],
    ) -> bool:
        """Whether samples that are drawn together are what they are alone, row by row.

        Modules that have other rows in a batch are noted.
        """
        try:
            batch, pictures = self._run(PROMPTS, options)
        except Exception:
            # Any pipeline may refuse a list of prompts or of generators in its own way.
            return False
        for path in observations.modules.keys() & batch.modules.keys():
            # Such as an embedding of positions, which has one row for all samples.
            observations.modules[path].follows_rows &= batch.modules[path].follows_rows
        alone = np.concatenate([drawn for _, drawn in runs])
        return (
            pictures.shape == alone.shape
            and bool(np.abs(pictures - alone).max() < 2 / 255)
            and has_batch_of(batch, [trace for trace, _ in runs], patterns)
        )

    def _run(self, prompts: Sequence[str], options: Options) -> _Run:
        modules = {
            f"{name}.{path}".rstrip("."): (stage, module)
            for stage, (name, part) in self.components.items()
            for path, module in part.named_modules()
        }
        with record_trace(modules, self.networks, self.schedulers) as trace:
            # All have the same noise, so that runs differ in their prompts alone.
            pictures = self.draw([Sample(prompt, 0, options) for prompt in prompts])
        if pictures is None or not np.isfinite(pictures).all():
            raise ValueError("it drew no pictures with finite values")
        return trace, pictures
