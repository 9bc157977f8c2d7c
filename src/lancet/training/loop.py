"""The training loop of every stage: resumable, with a moving average of the weights and a log.

The rows of a step and its noise are functions of (seed, step) alone, so that a resumed run gives
the same weights as an uninterrupted one.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clerestory.errors import TrainingError
from lancet.training.settings import Plan

__all__ = [
    "Report",
    "Stage",
    "cached",
    "check_stages",
    "fit",
    "is_late",
    "mixed_precision",
    "report_progress",
    "rows_of_step",
    "trained",
]

Report = Callable[[str, int, int, float], None]
"""Called with (stage, steps done, steps in all, loss)."""
SAVE_SECONDS = 150.0
LOG_EVERY = 20


def mixed_precision() -> torch.autocast:
    """Autocast to bfloat16, on processors that multiply it in hardware.

    With AVX512-BF16 matrices multiplied about four times faster than in float32; on a processor
    without it, seventy times more slowly.
    """
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    fast = capabilities.get("avx512_bf16", False)
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast)


class Stage(ABC):
    """The training of one part of the model: its network, its rows and its loss."""

    name: str
    model: Any
    """An `nn.Module`, of another class in each stage."""
    plan: Plan
    rows: int

    @abstractmethod
    def loss(self, rows: Tensor, noise: torch.Generator) -> dict[str, Tensor]:
        """The terms of the loss on these rows; the loss is their sum.

        Args:
            rows: Indices of rows, `[n]`.
            noise: The step's generator, the only source of randomness besides torch's own seed.

        Returns:
            Scalar terms by name.
        """


def fit(
    stage: Stage, folder: Path, report: Report | None = None, *, deadline: float | None = None
) -> bool:
    """Train `stage` to the end of its plan, or until a deadline.

    The checkpoint in `folder` is written every few minutes, in one step.

    Args:
        stage: The stage; its model is changed.
        folder: Folder of the checkpoint and the log; created if missing.
        report: Called every 20 steps; None for silence.
        deadline: When to save and stop, by `time.monotonic`; None for never.

    Returns:
        Whether the plan is at its end.

    Raises:
        TrainingError: The loss is not finite, or the checkpoint is of another plan or network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = _State(stage)
    state.resume(folder / f"{stage.name}.pt")
    saved = time.monotonic()
    # Appended: a resumed run continues the same curve.
    log = (folder / f"{stage.name}.jsonl").open("a")
    running: list[float] = []
    with log, _training(stage.model):
        while state.step < stage.plan.steps:
            terms = _step(stage, state)
            running.append(terms["loss"])
            if state.step % LOG_EVERY == 0 or state.step == stage.plan.steps:
                log.write(json.dumps({"step": state.step, "time": time.time(), **terms}) + "\n")
                log.flush()
                if report is not None:
                    mean = sum(running) / len(running)
                    report(stage.name, state.step, stage.plan.steps, mean)
                running.clear()
            late = is_late(deadline)
            due = time.monotonic() - saved > SAVE_SECONDS
            if late or due or state.step == stage.plan.steps:
                state.save(folder / f"{stage.name}.pt")
                saved = time.monotonic()
            if late:
                break
    return state.step >= stage.plan.steps


def is_late(deadline: float | None) -> bool:
    """Whether a deadline has passed.

    Args:
        deadline: By `time.monotonic`; None for never.

    Returns:
        False where there is none.
    """
    return deadline is not None and time.monotonic() >= deadline


def check_stages(stages: Sequence[str], names: Sequence[str]) -> None:
    """Check that stages exist.

    Args:
        stages: Names of stages.
        names: The names that there are.

    Raises:
        TrainingError: There is no such stage.
    """
    unknown = sorted(set(stages) - set(names))
    if unknown:
        raise TrainingError(f"No stage is called {unknown[0]!r}. Known: {', '.join(names)}.")


def report_progress(report: Report | None, name: str) -> Callable[[int, int], None] | None:
    """A callback for work that has no loss.

    Args:
        report: Called with (stage, steps done, steps in all, loss); None for silence.
        name: What is done, in the place of the stage.

    Returns:
        A callback of (completed, total); None where there is no report.
    """
    if report is None:
        return None
    return lambda completed, total: report(name, completed, total, math.nan)


def trained(name: str, model: nn.Module, folder: Path, steps: int | None) -> nn.Module:
    """Load the weights of a trained stage.

    Args:
        name: The stage's name.
        model: A network of the stage's sizes; it is changed.
        folder: Folder of the checkpoint.
        steps: Smallest number of steps done; None accepts any checkpoint.

    Returns:
        The model, in evaluation mode and without gradients.

    Raises:
        TrainingError: There is no checkpoint, or fewer steps were done.
    """
    path = folder / f"{name}.pt"
    state = torch.load(path, weights_only=True) if path.exists() else None
    if state is None or (steps is not None and state["step"] < steps):
        raise TrainingError(f"Stage {name!r} is not trained yet: nothing finished in {path}.")
    # The average where there is one: it draws better than the last weights.
    model.load_state_dict(state["ema"] or state["model"])
    return model.eval().requires_grad_(False)


def cached(folder: Path, name: str, source: Path, make: Callable[[], Tensor]) -> Tensor:
    """The result of `make`, computed once for these bytes of `source` and stored in the folder.

    Args:
        folder: Where results are stored.
        name: The name of the result.
        source: The file that the result depends on.
        make: Computes the result.

    Returns:
        The result.
    """
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:12]
    path = folder / f"{name}-{digest}.safetensors"
    if not path.exists():
        for stale in folder.glob(f"{name}-*"):
            stale.unlink()
        # Renamed when it is whole, under a name that no other process uses.
        partial = path.with_suffix(f".{os.getpid()}")
        save_file({name: make()}, partial)
        partial.replace(path)
    return load_file(path)[name]


def rows_of_step(plan: Plan, step: int, rows: int) -> Tensor:
    """The rows of a step's batch: every row once per epoch, in another order each.

    Args:
        plan: Batch and seed.
        step: The step, from 0.
        rows: Number of rows.

    Returns:
        Indices of rows, `[batch]`; rows left over at the end of an epoch are skipped.

    Raises:
        TrainingError: There are fewer rows than a batch has.
    """
    if rows < plan.batch:
        raise TrainingError(f"{rows} pictures are fewer than one batch of {plan.batch}.")
    # The rest of an epoch is left out; the next one has another order.
    per_epoch = rows // plan.batch
    epoch, place = divmod(step, per_epoch)
    order = _epoch_order(plan.seed, epoch, rows)
    return order[place * plan.batch : (place + 1) * plan.batch]


@functools.lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, rows: int) -> Tensor:
    """The order of an epoch; cached, since every step of the epoch takes its part of it."""
    # A prime between seeds, so that epochs of one seed do not meet those of the next.
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    return torch.randperm(rows, generator=generator)


class _State:
    def __init__(self, stage: Stage) -> None:
        self.plan, self.model, self.step = stage.plan, stage.model, 0
        self.average = deepcopy(stage.model).requires_grad_(False) if stage.plan.ema else None
        self.optimiser = torch.optim.AdamW(
            [weight for weight in stage.model.parameters() if weight.requires_grad],
            lr=stage.plan.rate,
            # A shorter memory of squares than the default, as for
            # transformers (Vaswani et al. 2017).
            betas=(0.9, 0.98),
            weight_decay=stage.plan.weight_decay,
            fused=True,
        )

    def resume(self, path: Path) -> None:
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path, weights_only=True)
        plan = asdict(self.plan)
        # Steps and rate may change between runs; another batch or seed would repeat or skip rows.
        saved = state.get("plan", plan)
        if any(saved[part] != plan[part] for part in ("batch", "seed", "ema")):
            raise TrainingError(
                f"{path} was trained with another batch, seed or average; remove it."
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise TrainingError(f"{path} is of a network of other sizes: remove it.") from error
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = state["step"]
        if self.average is not None:
            self.average.load_state_dict(state["ema"])

    def save(self, path: Path) -> None:
        state = {
            "step": self.step,
            "plan": asdict(self.plan),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "ema": None if self.average is None else self.average.state_dict(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def update_average(self) -> None:
        if self.average is None:
            return
        # A short memory at first, so that random weights do not linger in the average.
        decay = min(self.plan.ema, (1 + self.step) / (10 + self.step))
        averages = list(self.average.state_dict().values())
        weights = list(self.model.state_dict().values())
        for mean, value in zip(averages, weights, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                # Counters of batches are whole numbers and have no average.
                mean.copy_(value)


def _step(stage: Stage, state: _State) -> dict[str, float]:
    rows = rows_of_step(stage.plan, state.step, stage.rows)
    # From the step alone: a resumed run draws the same noise as one that was not stopped.
    noise = torch.Generator().manual_seed(stage.plan.seed * 1_000_003 + state.step)
    # For dropout, which takes no generator.
    torch.manual_seed(stage.plan.seed * 1_000_003 + state.step)
    for group in state.optimiser.param_groups:
        group["lr"] = state.plan.rate_at(state.step)
    terms = stage.loss(rows, noise)
    # In float32: terms may come from mixed precision.
    total = torch.stack([term.float() for term in terms.values()]).sum()
    if not torch.isfinite(total):
        raise TrainingError(f"Stage {stage.name!r}: the loss is not finite at step {state.step}.")
    total.backward()
    # So that a single unusual batch does not ruin the weights.
    nn.utils.clip_grad_norm_(stage.model.parameters(), 1.0)
    state.optimiser.step()
    state.optimiser.zero_grad(set_to_none=True)
    state.step += 1
    state.update_average()
    return {name: float(term.detach()) for name, term in (("loss", total), *terms.items())}


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    previous = model.training
    model.train()
    try:
        yield
    finally:
        model.train(previous)
