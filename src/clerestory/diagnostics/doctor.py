"""Examine a model: try every promise on it with a few small pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from clerestory.arguments import checked
from clerestory.diagnostics.branches import branches
from clerestory.diagnostics.diagnosis import Check, Diagnosis
from clerestory.diagnostics.drawing import batch, cost, draws, repeats, seed
from clerestory.diagnostics.editing import edits, identity, reading
from clerestory.diagnostics.examination import Examination, SkippedCheckError, Verdict
from clerestory.diagnostics.states import states
from clerestory.diagnostics.values import finite, opens, sites
from clerestory.errors import ClerestoryError, PromptError, describe_error
from clerestory.models import Model
from clerestory.models.core.types import OPTION_NAMES
from clerestory.reporting.progress import progress_bars
from clerestory.types import ProgressOption

__all__ = ["PROMPTS", "doctor"]

PROMPTS = ("a cat in a garden", "a ship at night")
"""The prompt that is drawn, and another one."""
CHECKS: tuple[Callable[[Examination], Verdict], ...] = (
    opens,
    draws,
    finite,
    repeats,
    seed,
    batch,
    reading,
    identity,
    edits,
    branches,
    sites,
    cost,
)
"""In the order in which they are run and listed; later ones use what earlier ones drew."""


@checked(options=OPTION_NAMES)
def doctor(
    model: Model,
    prompts: str | Sequence[str] = PROMPTS,
    *,
    progress: ProgressOption = True,
    **options: Any,
) -> Diagnosis:
    """Try on a model what Clerestory promises of every model.

    Small pictures of few steps are drawn, about ten and one for each stage: bare, again, in a
    batch, with every site read, with edits that change nothing, and with one that changes a stage.

    Args:
        model: The model.
        prompts: The prompt that is drawn, and one that it is compared with.
        progress: As in `Model.run`; the labels have the time that is left.
        options: Those of `Options`: height, width, steps, guidance, …; by default 2 steps, and a
            quarter of the model's own size, at least 256.

    Returns:
        The checks with what was measured. A check that raises an error fails with its message, and
        the others are run all the same.

    Raises:
        PromptError: A prompt is empty or too long.
        OptionError: An option is unknown, or out of range.
    """
    texts = [prompts] if isinstance(prompts, str) else list(prompts)
    first, second, *others = dict.fromkeys((*texts, *PROMPTS))
    if set(others) - set(PROMPTS):
        raise PromptError(f"{len(texts)} prompts; write one, and perhaps one to compare it with.")
    for prompt in (first, second):
        model.check_prompt(prompt)
    model.options(**options)
    with progress_bars(progress) as report:
        examination = Examination(model, (first, second), dict(options), report)
        checks = [_run(check, examination) for check in CHECKS]
        checks += _check_states(examination)
    kind = type(model.family).__name__.removesuffix("Family")
    return Diagnosis(model.name, type(model.pipeline).__name__, kind, tuple(checks))


def _run(check: Callable[[Examination], Verdict], examination: Examination) -> Check:
    name = check.__name__
    try:
        ok, detail = check(examination)
    except SkippedCheckError as reason:
        return Check(name, None, f"skipped: {_one_line(reason)}")
    except (MemoryError, torch.OutOfMemoryError) as error:
        advice = "try a smaller --size, or --offload"
        return Check(name, None, f"skipped: memory ran out ({_one_line(error)}); {advice}")
    except Exception as error:  # a part that fails in its own way must not end the other checks
        return Check(name, False, _one_line(error))
    return Check(name, ok, detail)


def _check_states(examination: Examination) -> Iterable[Check]:
    try:
        return list(states(examination))
    except Exception as error:  # as above
        return [Check("as-opened", None, f"skipped: {_one_line(error)}")]


def _one_line(error: Exception) -> str:
    """An error's message, with the class of one that is not Clerestory's."""
    text = describe_error(error, 400)
    plain = isinstance(error, ClerestoryError | SkippedCheckError)
    return text if plain else f"{type(error).__name__}: {text}"
