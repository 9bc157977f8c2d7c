"""What is compiled, fused, quantized, offloaded, tiled, sliced or replaced in a pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import nn

from clerestory.diagnostics.diagnosis import Check
from clerestory.diagnostics.examination import Examination
from clerestory.models.core.module_states import is_compiled, is_offloaded, is_quantized
from clerestory.models.core.pipeline_state import pipeline_parts

__all__ = ["states"]


@dataclass(frozen=True)
class _State:
    """A state that a module of a part may be in.

    Attributes:
        name: The check's name.
        applies: Whether a module is in it.
        problem: Why it is a failure, and what to do; "" where it is none as long as sites are read.
    """

    name: str
    applies: Callable[[nn.Module], bool]
    problem: str = ""


def _is_sliced(module: nn.Module) -> bool:
    processor = type(getattr(module, "processor", None)).__name__
    return bool(getattr(module, "use_slicing", False)) or processor.startswith("Sliced")


STATES = (
    _State(
        "compiled",
        is_compiled,
        "runs here call it uncompiled, since compiled code calls no hooks; they are as slow as "
        "that, and round otherwise than the pipeline alone: open the model without compiling it",
    ),
    _State(
        "fused",
        lambda module: bool(getattr(module, "fused_projections", False)),
        "q, k and v are no modules of their own there: call unfuse_qkv_projections()",
    ),
    _State("quantized", is_quantized),
    _State("offloaded", is_offloaded),
    _State("sliced", _is_sliced),
)


def states(examination: Examination) -> Iterator[Check]:
    """A check for each state that a part is in, and one for all others together.

    Args:
        examination: The examination, after its survey.

    Yields:
        The checks.
    """
    others = []
    for state in STATES:
        parts = _parts_in(examination, state)
        if parts:
            yield _check(examination, state, parts)
        else:
            others.append(state.name)
    for name, special in (("tiled", _tiled), ("replaced", _replaced)):
        check = special(examination)
        if check is not None:
            yield check
        else:
            others.append(name)
    if others:
        text = f"{', '.join(others[:-1])} or {others[-1]}" if others[1:] else others[0]
        yield Check("as-opened", True, f"no part is {text}")


def _parts_in(examination: Examination, state: _State) -> dict[str, str]:
    """The parts with modules in a state, each with a text that says which."""
    parts = {}
    for name, part in pipeline_parts(examination.model.pipeline).items():
        modules = part.named_modules() if isinstance(part, nn.Module) else ()
        paths = [path for path, module in modules if state.applies(module)]
        if paths:
            inside = f"{len(paths)} module{'s' * (len(paths) > 1)}, {paths[0]} first"
            parts[name] = name if "" in paths else f"{name} ({inside})"
    return parts


def _check(examination: Examination, state: _State, parts: dict[str, str]) -> Check:
    survey = examination.survey
    where = ", ".join(parts.values())
    if state.problem:
        return Check(state.name, False, f"{where}: {state.problem}")
    if survey is None or survey.picture is None:
        return Check(state.name, None, f"{where}: whether it can be read was not tried")
    sites = [site for site in examination.sites.values() if _part(site.path) in parts]
    read = sum(site.address in survey.sites for site in sites)
    # Of a pipeline of no known family some modules are never called, see the check `sites`.
    gaps = [
        site.address
        for site in sites
        if site.address in survey.missing and examination.is_promised(site.address)
    ]
    detail = f"{where}: {read} of {len(sites)} sites there are read"
    return Check(state.name, not gaps, detail)


def _part(path: str) -> str:
    return path.partition(".")[0]


def _tiled(examination: Examination) -> Check | None:
    parts = pipeline_parts(examination.model.pipeline).items()
    names = [name for name, part in parts if getattr(part, "use_tiling", False)]
    if not names:
        return None
    # Small pictures are one tile, and read: what counts is the size that users draw.
    for options in ({}, examination.options):
        error = examination.tiling_error(options)
        if error:
            return Check("tiled", False, error)
    return Check("tiled", True, f"{', '.join(names)}, but pictures of this size are one tile")


def _replaced(examination: Examination) -> Check | None:
    # What `torch.compile` wraps around a part is no other part; `compiled` tells of it.
    parts = examination.model.replaced_parts
    if not parts:
        return None
    return Check(
        "replaced",
        False,
        f"{', '.join(parts)}: other modules than when the model was opened. They are read and "
        "edited, but results carry no revision and cannot open the model again: save the pipeline "
        "with save_pretrained() and open that folder (a LoRA: open the model with it)",
    )
