"""Checks of pictures: they are drawn, the seed decides, a batch does not."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import torch

from clerestory.diagnostics.branches import branch_sites
from clerestory.diagnostics.examination import (
    Examination,
    SkippedCheckError,
    Verdict,
    level_difference,
    picture_difference,
)
from clerestory.errors import ModelError, describe_error

__all__ = ["batch", "cost", "draws", "repeats", "seed"]

STEPS, SIDE = 2, 256
"""Steps, and pixels of a side, that are few and yet exercise every part."""
HALF_TOLERANCE = 0.02
"""Of the full range: the mean difference in a batch that rounding in half precision explains."""


def draws(examination: Examination) -> Verdict:
    """A picture is drawn, and is not one colour."""
    failures: list[str] = []
    picture = None
    for options in _option_sets(examination):
        examination.options = options
        size = _size_text(examination)
        try:
            # How long this takes is not known before, so the line says how much it is.
            picture = examination.draw(f"a first picture, {size}").pictures
            break
        except (ModelError, MemoryError, torch.OutOfMemoryError):
            # Other options, which ask for more, would not help.
            raise
        except Exception as error:  # of any library
            failures.append(f"{size} failed ({type(error).__name__}: {describe_error(error)})")
    if picture is None:
        # Options that differ in what this pipeline does not take fail alike.
        return False, f"{'; '.join(dict.fromkeys(failures))}: try other --steps, --size or --dtype"
    if picture.min() == picture.max():
        return False, (
            f"every pixel is {picture.min()}: try other --steps and --size, or another --dtype; a "
            "picture of one colour tells nothing about the model"
        )
    examination.picture = picture
    height, width = picture.shape[1:3]
    steps = _step_text(examination.model.options(**examination.options).steps)
    scheduler = getattr(examination.model.pipeline, "scheduler", None)
    by = f" with {type(scheduler).__name__}" if scheduler is not None else ""
    return True, "; ".join([f"{width}×{height} in {steps}{by}", *failures])


def repeats(examination: Examination) -> Verdict:
    """The same prompt and seed give the same picture, to the byte."""
    first = examination.first_picture()
    again = examination.draw("the same sample again", cost="bare").pictures
    assert again is not None
    detail = picture_difference(first, again)
    examination.is_repeatable = not detail
    if not detail:
        return True, "the same prompt and seed give the same picture, to the byte"
    return False, (
        f"the same prompt and seed give another picture ({detail}): the scheduler or a part draws "
        "noise that no seed determines, or kernels are not deterministic; try another scheduler, "
        "then torch.use_deterministic_algorithms(True)"
    )


def seed(examination: Examination) -> Verdict:
    """Another seed gives another picture."""
    examination.first_picture()
    examination.batch = examination.draw(
        "three samples at once",
        prompts=[examination.prompt, examination.prompt, examination.other_prompt],
        seeds=[0, 1, 0],
        read=branch_sites(examination),
    )
    pictures = examination.batch.pictures
    assert pictures is not None
    mean = float(level_difference(pictures[0], pictures[1]).mean())
    if not mean:
        return False, "two seeds give the same picture: the noise does not depend on the seed"
    return True, f"another seed gives another picture (mean difference {mean:.1f} of 255 levels)"


def batch(examination: Examination) -> Verdict:
    """A sample is the same alone and in a batch."""
    first = examination.comparable_picture()
    options = examination.model.options(**examination.options)
    if examination.model.family.batch_limit(branch_sites(examination), options) == 1:
        return True, "this pipeline draws one sample at a time, whatever the batch"
    if examination.batch is None or examination.batch.pictures is None:
        raise SkippedCheckError("no batch was drawn")
    levels = level_difference(first[0], examination.batch.pictures[0])
    # 1e-3 of the range may move a byte to the next one.
    if levels.max() <= 1:
        precision = "within one level of 255" if levels.max() else "to the byte"
        return True, f"a sample is the same picture alone and in a batch of 3, {precision}"
    mean = float(levels.mean()) / 255
    difference = f"up to {levels.max()} of 255 levels, {mean:.4f} of the range on average"
    if examination.is_half and mean <= HALF_TOLERANCE:
        return None, (
            f"in a batch of 3 a sample differs by {difference}: half precision rounds "
            "otherwise in batches: compare pictures of equal batches, or open it with dtype float32"
        )
    return False, f"a sample is another picture in a batch of 3 ({difference}): run it with batch=1"


def cost(examination: Examination) -> Verdict:
    """Seconds and memory of a picture, bare and with every site read."""
    costs = examination.costs
    if "bare" not in costs:
        raise SkippedCheckError("no second picture was drawn")
    detail = f"a picture takes {costs['bare']}"
    if costs["bare"].peak is not None:
        detail += f" of {costs['bare'].peak.place}"
    return True, f"{detail}; with every site read {costs['read']}" if "read" in costs else detail


def _option_sets(examination: Examination) -> Iterator[dict[str, Any]]:
    """Options to try, the cheapest first; what the caller asked for is in all of them."""
    request, default = examination.options, examination.model.defaults
    few: dict[str, Any] = {
        name: min(STEPS, getattr(default, name))
        for name in ("steps", "prior_steps")
        # An option that the pipeline does not take is refused.
        if name in examination.model.family.option_names
    }
    option_sets: list[dict[str, Any]] = []
    for options in (
        {**few, **_small_size(examination), **request},
        {**few, **request},
        dict(request),
    ):
        if options not in option_sets:
            option_sets.append(options)
            yield options


def _small_size(examination: Examination) -> dict[str, int]:
    """Sides of a quarter, but not below `SIDE`; none where the pipeline takes no sizes."""
    model, pipeline = examination.model, examination.model.pipeline
    takes = inspect.signature(pipeline.__call__).parameters if callable(pipeline) else {}
    if not {"height", "width"} <= takes.keys():
        return {}
    multiple = model.family.size_multiple
    sides = {}
    for name in ("height", "width"):
        side = getattr(model.defaults, name)
        smaller = min(side, max(SIDE, side // 4))
        sides[name] = -(-smaller // multiple) * multiple
    return sides


def _size_text(examination: Examination) -> str:
    options = examination.model.options(**examination.options)
    steps = _step_text(options.steps)
    # Without a height the pipeline chooses its own size.
    has_size = "height" in examination.options
    return f"{options.width}×{options.height} in {steps}" if has_size else steps


def _step_text(steps: int) -> str:
    return f"{steps} step{'s' * (steps != 1)}"
