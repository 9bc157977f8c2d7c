"""One run with a tap at every site: which are called, their widths, sizes and finite values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from clerestory.errors import SiteError
from clerestory.models import Model, Step
from clerestory.types import Pictures

__all__ = ["SiteRecord", "Survey", "survey"]

RunWithTaps = Callable[[Mapping[str, Callable[[Tensor, Step], None]]], Pictures | None]
"""Draws the sample with these taps, and returns its picture."""


@dataclass
class SiteRecord:
    """What the taps saw at one site, over all steps of the conditional branch.

    Attributes:
        units: The site's width.
        size: Root mean square of its values, the largest of all calls.
        dtype: Of the values, such as `float16`.
        problem: `NaN` or `infinite` at the first call with such values; "" where all are finite.
    """

    units: int
    size: float
    dtype: str
    problem: str = ""


@dataclass
class Survey:
    """What is known of every site after the run.

    Attributes:
        sites: Records by address, in the order of the first calls.
        problems: Addresses with values that are not finite, in the order in which these occurred.
        missing: Why a site was not read, by address; "" for one whose module was never called.
        picture: What the run with all taps drew; None where it did not end.
        error: Why it did not end.
    """

    sites: dict[str, SiteRecord] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    picture: Pictures | None = None
    error: Exception | None = None


def survey(model: Model, run: RunWithTaps, refused: Mapping[str, str]) -> Survey:
    """Tap every site while a sample is drawn.

    Args:
        model: The model.
        run: Draws the sample.
        refused: Sites that cannot be tapped in this run, with the reason.

    Returns:
        The survey; of a run that ends with an error what was seen until then.
    """
    result = Survey(missing=dict(refused))
    addresses = [address for address in model.sites if address not in refused]
    # A run with a tap that was never called is an error at the end of its phase, of which there are
    # two: the sites in question are left out, and it is repeated.
    for _ in range(3):
        try:
            result.picture = run({address: _tap(result, address) for address in addresses})
            result.error = None
            return result
        except SiteError as error:
            silent = _silent_sites(model, addresses, result.sites)
            if not silent:
                result.error = error
                return result
            first, *_ = str(error).split()
            result.missing |= {
                address: str(error) if address == first else "" for address in silent
            }
            addresses = [address for address in addresses if address not in silent]
            result.error = error
        except Exception as error:  # whatever a checkpoint raises is what the survey is for
            result.error = error
            return result
    return result


def _silent_sites(
    model: Model, addresses: Sequence[str], called: Mapping[str, SiteRecord]
) -> set[str]:
    """The sites that were not called although the phase that they belong to has run."""
    # Conditioning sites are handed over after the text side, whatever stage they are of.
    encoders = set(model.family.encoder_stages)
    text_side = {
        address
        for address, site in model.sites.items()
        if site.stage in encoders and address not in model.conditioning_sites
    }.intersection(addresses)
    # Without a call of any other site the run ended with the text side.
    phase = text_side if text_side.issuperset(called) else set(addresses)
    return phase.difference(called)


def _tap(result: Survey, address: str) -> Callable[[Tensor, Step], None]:
    def tap(value: Tensor, step: Step) -> None:
        record = _measure(value)
        before = result.sites.setdefault(address, record)
        if record.problem and not before.problem:
            before.problem = record.problem
        if record.problem and address not in result.problems:
            result.problems.append(address)
        if math.isfinite(record.size):
            before.size = max(before.size, record.size)

    return tap


def _measure(value: Tensor) -> SiteRecord:
    value = value.detach()
    dtype = str(value.dtype).removeprefix("torch.")
    if not value.is_floating_point() or not value.numel():
        return SiteRecord(value.shape[-1], 0.0, dtype)
    # One pass, and one number to wait for; only a norm that is not finite needs a closer look.
    norm = float(torch.linalg.vector_norm(value, dtype=torch.float32))
    size, problem = norm / math.sqrt(value.numel()), ""
    if not math.isfinite(norm) and not bool(value.isfinite().all()):
        size, problem = 0.0, "infinite" if bool(value.isinf().any()) else "NaN"
    return SiteRecord(value.shape[-1], size, dtype, problem)
