"""Schedulers of diffusers in a run: the noise level of a call, and noise that a seed determines."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Generator
from torch.overrides import TorchFunctionMode

from clerestory.errors import ModelError

__all__ = ["scheduler_sigma", "seeded_draws", "seeded_scheduler"]

DRAWS = {
    torch.bernoulli,
    torch.multinomial,
    torch.normal,
    torch.poisson,
    torch.rand,
    torch.rand_like,
    torch.randint,
    torch.randint_like,
    torch.randn,
    torch.randn_like,
    torch.randperm,
    *(
        getattr(torch.Tensor, name)
        for name in (
            "bernoulli",
            "bernoulli_",
            "cauchy_",
            "exponential_",
            "geometric_",
            "log_normal_",
            "multinomial",
            "normal_",
            "random_",
            "uniform_",
        )
    ),
}
"""What draws random numbers from torch's global generator if it is given no other one."""
LIKE = {torch.randn_like: torch.randn, torch.rand_like: torch.rand}
SALT = 0x5DEECE66D
"""Makes the noise that a pipeline forgets to seed another one than the noise that it seeds."""


def scheduler_sigma(scheduler: Any, index: int) -> float | None:
    """The noise level of the step whose denoiser call is about to be made.

    Args:
        scheduler: A diffusers scheduler whose timesteps are set, in its state at that call.
        index: Into its timesteps.

    Returns:
        The scheduler's sigma (with flow matching: the fraction of noise), else sqrt((1 − ᾱ) / ᾱ)
        from its cumulative alphas ᾱ, inf at ᾱ = 0; None if it has neither.
    """
    sigmas = getattr(scheduler, "sigmas", None)
    # A shorter list cannot be one sigma for each timestep, so it is not indexed as they are.
    if sigmas is not None and len(sigmas) >= len(scheduler.timesteps):
        # Second-order schedulers call the denoiser between two sigmas as well, and differ in where
        # they keep those. All that do so scale the latent by the sigma that they use.
        between = getattr(scheduler, "state_in_first_order", True) is False
        if between and hasattr(scheduler, "scale_model_input"):
            return _scaling_sigma(scheduler, index)
        return float(sigmas[_sigma_index(scheduler, index)])
    timestep, alphas = scheduler.timesteps[index], getattr(scheduler, "alphas_cumprod", None)
    if alphas is not None:
        signal = float(alphas[int(timestep)])
    elif hasattr(scheduler, "_alpha_cumprod"):
        # Stable Cascade's timesteps are fractions, and its ᾱ a function of them.
        signal = float(scheduler._alpha_cumprod(timestep, timestep.device))
    else:
        return None
    return math.sqrt((1 - signal) / signal) if signal > 0 else math.inf


def _sigma_index(scheduler: Any, index: int) -> int:
    """The scheduler's own count, which differs from the call's where timesteps are not unique."""
    own = getattr(scheduler, "step_index", None)
    if own is None and hasattr(scheduler, "index_for_timestep"):
        # It is set by the first step only in schedulers that do not scale the latent.
        start = getattr(scheduler, "begin_index", None)
        own = scheduler.index_for_timestep(scheduler.timesteps[0]) if start is None else start
        own += index
    return index if own is None else min(int(own), len(scheduler.sigmas) - 1)


def _scaling_sigma(scheduler: Any, index: int) -> float:
    """The sigma by which the scheduler scales its input now: of the scale 1 / sqrt(sigma² + 1)."""
    candidates = [
        *getattr(scheduler, "sigmas_interpol", ()),
        *scheduler.sigmas,
        getattr(scheduler, "mid_point_sigma", None),
    ]
    one = torch.ones(1, dtype=torch.float64)
    scale = float(scheduler.scale_model_input(one, scheduler.timesteps[index]))
    used = math.sqrt(max(scale**-2 - 1, 0.0))
    # The scale is computed in float32, in which a small sigma is lost beside 1: the scheduler's own
    # number is the nearest one.
    numbers = [float(sigma) for sigma in candidates if sigma is not None]
    nearest = min(numbers, key=lambda sigma: abs(sigma - used))
    return nearest if math.isclose(nearest, used, rel_tol=1e-2, abs_tol=1e-3) else used


def seeded_draws(
    owner: str, seeds: Sequence[int], *, alone: bool = False
) -> AbstractContextManager[None]:
    """Draw from the seeds of samples where code draws from torch's global generator.

    Args:
        owner: Whose code it is, for error messages.
        seeds: The seed of each sample; of several samples each has a row of what is drawn.
        alone: Whether samples are always drawn one by one, so that no numbers need rows.

    Returns:
        A context manager. In it ModelError is raised where numbers are drawn that cannot be
        assigned to samples.
    """
    return _SeededDraws(owner, seeds, alone)


class _SeededDraws(TorchFunctionMode, AbstractContextManager[None]):
    """Replaces unseeded draws, in this thread only."""

    def __init__(self, owner: str, seeds: Sequence[int], alone: bool) -> None:
        super().__init__()
        self.owner, self.alone = owner, alone
        self.generators = [Generator().manual_seed(seed ^ SALT) for seed in seeds]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func not in DRAWS or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        kwargs.pop("generator", None)
        if func in LIKE:
            template = args[0]
            kwargs = {"dtype": template.dtype, "device": template.device, **kwargs}
            kwargs.pop("memory_format", None)
            func, shape = LIKE[func], tuple(template.shape)
        elif func in LIKE.values():
            size = kwargs.pop("size", args)
            shape = tuple(size[0] if size and not isinstance(size[0], int) else size)
        elif self.alone:
            return func(*args, generator=self.generators[0], **kwargs)
        else:
            raise self._error(func)
        return self._draw(func, shape, kwargs)

    def _draw(self, func: Callable[..., Any], shape: tuple[int, ...], options: Any) -> Any:
        """A row for each sample, drawn on the CPU as all noise is here."""
        device = options.pop("device", None)
        if len(self.generators) == 1:
            drawn = func(*shape, generator=self.generators[0], **options)
        elif shape and shape[0] == len(self.generators):
            rows = [func(1, *shape[1:], generator=each, **options) for each in self.generators]
            drawn = torch.cat(rows)
        else:
            raise self._error(func)
        return drawn if device is None else drawn.to(device)

    def _error(self, func: Any) -> ModelError:
        name = getattr(func, "__name__", str(func))
        return ModelError(
            f"{self.owner} draws random numbers ({name}) that no seed determines, so that the same "
            "prompt and seed would not give the same picture: choose another scheduler."
        )


@contextmanager
def seeded_scheduler(
    scheduler: Any, generators: Generator | Sequence[Generator], seeds: Sequence[int]
) -> Iterator[None]:
    """Make a scheduler's noise that of the samples' seeds, also where the pipeline does not.

    Args:
        scheduler: A diffusers scheduler.
        generators: The generators of the samples, which some pipelines keep from the scheduler; one
            alone where samples are always drawn one by one.
        seeds: The seeds of the samples.

    Yields:
        Nothing. While this is open, `step` raises ModelError where it draws numbers that cannot be
        assigned to samples.
    """
    step, alone = scheduler.step, isinstance(generators, Generator)
    takes_generator = "generator" in inspect.signature(step).parameters

    # diffusers looks at the signature of `step` to see what it takes.
    @functools.wraps(step)
    def seeded_step(*args: Any, **kwargs: Any) -> Any:
        if takes_generator and kwargs.get("generator") is None:
            kwargs["generator"] = generators
        with seeded_draws(type(scheduler).__name__, seeds, alone=alone):
            return step(*args, **kwargs)

    with ExitStack() as restored:
        # A class attribute of the same name comes back once the instance's is gone.
        restored.callback(scheduler.__dict__.pop, "step", None)
        scheduler.__dict__["step"] = seeded_step
        if hasattr(scheduler, "noise_sampler_seed"):
            # A Brownian tree for each sample; by default one of a random seed for the whole batch.
            restored.callback(
                setattr, scheduler, "noise_sampler_seed", scheduler.noise_sampler_seed
            )
            scheduler.noise_sampler_seed = list(seeds)
        yield
