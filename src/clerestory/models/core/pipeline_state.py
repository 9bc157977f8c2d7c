"""The state of a diffusers pipeline during a run: its progress bars, its parts, its noise level."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["hide_progress_bars", "prepare_pipeline", "scheduler_sigma"]


@contextmanager
def hide_progress_bars(*pipelines: Any) -> Iterator[None]:
    """Hide the progress bars of diffusers pipelines; their settings are restored on exit.

    Args:
        *pipelines: diffusers pipelines.

    Yields:
        Nothing; the bars are hidden while this is open.
    """
    # diffusers reads this private attribute in `progress_bar` and sets it in
    # `set_progress_bar_config`; it has no public way to read it back.
    before = [getattr(pipeline, "_progress_bar_config", None) for pipeline in pipelines]
    try:
        for pipeline, config in zip(pipelines, before, strict=True):
            pipeline._progress_bar_config = {**(config or {}), "disable": True}
        yield
    finally:
        for pipeline, config in zip(pipelines, before, strict=True):
            pipeline._progress_bar_config = {} if config is None else config


@contextmanager
def prepare_pipeline(pipeline: Any, *, whole_vae: bool) -> Iterator[None]:
    """Disable the safety checker and, with `whole_vae`, slicing and tiling, until exit.

    The safety checker replaces pictures by black ones, which would be measured as if the model had
    drawn them. On exit, also after an error, offloaded parts leave the accelerator.

    Args:
        pipeline: A diffusers pipeline.
        whole_vae: Whether the autoencoder decodes a batch at once, neither sliced nor tiled.

    Yields:
        Nothing; the pipeline is prepared while this is open.
    """
    changed: list[tuple[Any, str, Any]] = []
    # Kandinsky 2.2 calls its autoencoder `movq`.
    vae = getattr(pipeline, "vae", None) or getattr(pipeline, "movq", None)
    for owner, name, disabled in (
        (pipeline, "safety_checker", None),
        *((vae, name, False) for name in ("use_slicing", "use_tiling") if whole_vae),
    ):
        before = getattr(owner, name, None)
        if before:
            changed.append((owner, name, before))
            setattr(owner, name, disabled)
    try:
        yield
    finally:
        for owner, name, before in changed:
            setattr(owner, name, before)
        # diffusers calls this at the end of a pipeline, which an early stop or an error never
        # reaches; the last part would stay on the accelerator.
        if getattr(pipeline, "_all_hooks", None):
            pipeline.maybe_free_model_hooks()


def scheduler_sigma(scheduler: Any, index: int) -> float | None:
    """The noise level of a step.

    Args:
        scheduler: A diffusers scheduler whose timesteps are set.
        index: Into its timesteps.

    Returns:
        The scheduler's sigma (with flow matching: the fraction of noise), else sqrt((1 − ᾱ) / ᾱ)
        from its cumulative alphas ᾱ, inf at ᾱ = 0; None if it has neither.
    """
    # Second-order schedulers alternate: odd indices are the interpolated sigmas.
    interpolated = getattr(scheduler, "sigmas_interpol", None)
    if interpolated is not None and index % 2:
        return float(interpolated[index])
    # A shorter list cannot be one sigma for each timestep, so it is not indexed as they are.
    sigmas = getattr(scheduler, "sigmas", None)
    if sigmas is not None and len(sigmas) >= len(scheduler.timesteps):
        return float(sigmas[index])
    alphas = getattr(scheduler, "alphas_cumprod", None)
    if alphas is None:
        return None
    signal = float(alphas[int(scheduler.timesteps[index])])
    return float(np.sqrt((1 - signal) / signal)) if signal > 0 else float("inf")
