"""The state of a diffusers pipeline during a run: its owner, its progress bars, its parts."""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from clerestory.errors import SiteError

__all__ = [
    "check_tiling",
    "hide_progress_bars",
    "hold_pipeline",
    "pipeline_parts",
    "prepare_pipeline",
    "prompt_templates",
]

TEMPLATES = ("prompt_template", "system_message", "system_prompt")
"""How attributes begin that diffusers' pipelines put around a prompt."""

_LOCKS: WeakKeyDictionary[Any, tuple[int, threading.RLock]] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()
_ORDER = itertools.count()
_STANCE = ExitStack()
_runs = 0


def pipeline_parts(pipeline: Any) -> dict[str, Any]:
    """The parts of a pipeline by name.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        Its components; empty for a generator without any.
    """
    return dict(getattr(pipeline, "components", None) or {})


def prompt_templates(pipeline: Any) -> dict[str, str]:
    """The templates of prompts and the system messages among the attributes of a pipeline.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Returns:
        Texts by name; empty for most pipelines.
    """
    attributes = getattr(pipeline, "__dict__", {}).items()
    return {
        name: value
        for name, value in attributes
        # By name: a pipeline of one's own may keep its last prompt as well.
        if isinstance(value, str) and name.startswith(TEMPLATES)
    }


@contextmanager
def hold_pipeline(pipeline: Any) -> Iterator[None]:
    """Keep other threads from running this pipeline, or another one that shares a part with it.

    Hooks, schedulers and the settings that a run changes belong to the parts, so that two runs at
    once would read and edit each other's values.

    Args:
        pipeline: A diffusers pipeline, or another generator.

    Yields:
        Nothing; the thread may hold the same pipeline again.
    """
    with ExitStack() as held:
        # In one order for all threads, so that none waits for another in a circle.
        for _, lock in sorted(_locks(pipeline), key=lambda pair: pair[0]):
            held.enter_context(lock)
        yield


def _locks(pipeline: Any) -> list[tuple[int, threading.RLock]]:
    locks = []
    with _LOCKS_GUARD:
        for part in (pipeline, *pipeline_parts(pipeline).values()):
            # Settings and tokenizers may be neither hashable nor referenced weakly; networks and
            # schedulers are.
            try:
                locks.append(_LOCKS.setdefault(part, (next(_ORDER), threading.RLock())))
            except TypeError:
                continue
    return locks


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
def replace_attributes(pipeline: Any, **values: Any) -> Iterator[None]:
    """Put values in the place of a pipeline's methods or parts, until exit.

    Args:
        pipeline: A diffusers pipeline, whose configuration does not change.
        **values: The values by the attributes' names.

    Yields:
        Nothing; they are in place while this is open.
    """
    # Not by `setattr`, at which diffusers registers the class of a new part.
    own = vars(pipeline)
    before = {name: own[name] for name in values if name in own}
    own.update(values)
    try:
        yield
    finally:
        for name in values:
            own.pop(name, None)
        own.update(before)


@contextmanager
def prepare_pipeline(pipeline: Any, *, whole_vae: bool) -> Iterator[None]:
    """Disable safety checker, dropout, compiled code and, with `whole_vae`, slicing, until exit.

    The safety checker replaces pictures by black ones, which would be measured as if the model had
    drawn them. Dropout, in parts that are left in training mode, draws noise that no seed
    determines. Compiled code calls no hooks that came after it was compiled, and rounds otherwise:
    all runs are uncompiled, so that edited and unedited ones can be compared. On exit, also after
    an error, offloaded parts leave the accelerator.

    Args:
        pipeline: A diffusers pipeline.
        whole_vae: Whether the autoencoder decodes a batch at once rather than in slices, which are
            the same pictures one by one.

    Yields:
        Nothing; the pipeline is prepared while this is open.
    """
    changed: list[tuple[Any, str, Any]] = []
    for owner, name, disabled in (
        (pipeline, "safety_checker", None),
        *((_autoencoder(pipeline), "use_slicing", False) for _ in range(whole_vae)),
    ):
        before = getattr(owner, name, None)
        if before:
            changed.append((owner, name, before))
            setattr(owner, name, disabled)
    for part in (pipeline, *pipeline_parts(pipeline).values()):
        for module in part.modules() if isinstance(part, nn.Module) else ():
            if module.training:
                changed.append((module, "training", True))
                module.training = False
    try:
        with _uncompiled():
            yield
    finally:
        for owner, name, before in changed:
            setattr(owner, name, before)
        # diffusers calls this at the end of a pipeline, which an early stop or an error never
        # reaches; the last part would stay on the accelerator.
        if getattr(pipeline, "_all_hooks", None):
            pipeline.maybe_free_model_hooks()


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Run compiled code as it was written, for as long as a run of any thread is open."""
    global _runs
    # Whoever compiled anything has imported dynamo, which takes seconds.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with _LOCKS_GUARD:
        _runs += 1
        if _runs == 1:
            _STANCE.enter_context(torch.compiler.set_stance("force_eager"))
    try:
        yield
    finally:
        with _LOCKS_GUARD:
            _runs -= 1
            if _runs == 0:
                _STANCE.close()


def check_tiling(pipeline: Any, height: int, width: int) -> None:
    """Check that the autoencoder decodes whole pictures, so that its sites can be read.

    Whole and tiled pictures differ, so that tiling is not switched off for a run that reads.

    Args:
        pipeline: A diffusers pipeline.
        height: Of the pictures.
        width: Of the pictures.

    Raises:
        SiteError: It decodes pictures of this size tile by tile.
    """
    vae = _autoencoder(pipeline)
    if not getattr(vae, "use_tiling", False):
        return
    size = getattr(vae, "tile_sample_min_size", 0)
    limits = [getattr(vae, f"tile_sample_min_{side}", size) for side in ("height", "width")]
    if height > limits[0] or width > limits[1]:
        raise SiteError(
            f"The autoencoder decodes pictures of {width}×{height} tile by tile, so its sites have "
            "no whole picture to read or edit: call pipeline.vae.disable_tiling(), which changes "
            "the pictures a little."
        )


def _autoencoder(pipeline: Any) -> Any:
    # Kandinsky 2.2 calls its autoencoder `movq`.
    return getattr(pipeline, "vae", None) or getattr(pipeline, "movq", None)
