"""Checks of values and sites: what is finite, what is called, what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from torch import nn

from clerestory.diagnostics.examination import Examination, SkippedCheckError, Verdict
from clerestory.diagnostics.survey import Survey, survey
from clerestory.errors import describe_error
from clerestory.models import Site
from clerestory.models.core.pipeline_state import hold_pipeline, pipeline_parts

__all__ = ["finite", "opens", "sites"]

FEW = 3
"""Names that a detail lists."""


def opens(examination: Examination) -> Verdict:
    """The pipeline is opened; what it consists of."""
    model = examination.model
    # A part may have been replaced since the model was opened; and a pipeline of no known family is
    # watched now, under the progress of this examination.
    model.rebind()
    with hold_pipeline(model.pipeline):
        model.family.prepare(model.defaults, examination.progress)
    weights = [
        weight
        for part in pipeline_parts(model.pipeline).values()
        if isinstance(part, nn.Module)
        for weight in part.parameters()
    ]
    count = sum(weight.numel() for weight in weights)
    dtypes = dict.fromkeys(str(weight.dtype).removeprefix("torch.") for weight in weights)
    # Weights of a part that is offloaded module by module are on no device between calls.
    devices = dict.fromkeys(
        "offloaded" if weight.is_meta else weight.device.type for weight in weights
    )
    detail = f"{len(examination.sites)} sites in {_listed(examination.stages)}"
    # A generator that is no diffusers pipeline has no parts to count.
    if not weights:
        return True, detail
    where = f"{_listed(dtypes)} on {_listed(devices)}"
    return True, f"{detail}; {_amount(count)} parameters, {where}"


def finite(examination: Examination) -> Verdict:
    """The values at every site are finite in this precision."""
    result = _survey(examination)
    if result.problems:
        first, count = result.problems[0], len(result.problems)
        more = f" ({count} of {len(result.sites)} sites)" if count > FEW else ""
        advice = _advice(examination.sites[first], result.sites[first].dtype)
        problem = result.sites[first].problem
        return False, f"{problem} first at {_listed(result.problems[:FEW])}{more}: {advice}"
    if result.picture is None:
        # Without a first picture the check before says why.
        error = None if examination.picture is None else result.error
        reason = f": {describe_error(error)}" if error is not None else ""
        raise SkippedCheckError(f"the run ended before all sites were seen{reason}")
    dtypes = sorted({site.dtype for site in result.sites.values()})
    return True, f"values at {len(result.sites)} sites are finite in {_listed(dtypes)}"


def sites(examination: Examination) -> Verdict:
    """Every site is read; which are idle, and which cannot be reached."""
    result = examination.survey
    if result is None or result.picture is None:
        raise SkippedCheckError("no run with all sites ended")
    if not result.missing:
        return True, f"all {len(result.sites)} sites are called and read"
    promised = [address for address in result.missing if examination.is_promised(address)]
    detail = f"{len(result.sites)} of {len(examination.sites)} sites are read"
    if not promised:
        # The modules of a pipeline of no known family, some of which drawing needs not.
        return True, f"{detail}; the others are never called: {_groups(result.missing)}"
    reasons = list(dict.fromkeys(result.missing[site] for site in promised if result.missing[site]))
    return False, f"{detail}, and not {_groups(promised)}. {' '.join(reasons[:FEW])}".strip()


def _survey(examination: Examination) -> Survey:
    """The survey, made by the first check that needs it."""
    if examination.survey is None:
        error = examination.tiling_error(examination.options)
        silent = {address: "" for address, site in examination.sites.items() if site.idle}
        if error:
            tiles = [address for address, site in examination.sites.items() if site.stage == "vae"]
            silent |= dict.fromkeys(tiles, "See the check `tiled`.")
        examination.survey = survey(
            examination.model,
            lambda taps: examination.draw("every site, tapped", taps=taps).pictures,
            silent,
        )
    return examination.survey


def _advice(site: Site, dtype: str) -> str:
    """What to do about the first site with values that are not finite."""
    if _has_damaged_weights(site):
        return (
            f"the weights of {site.path} have NaN or infinities; the checkpoint is damaged, fetch "
            "it again"
        )
    if dtype == "float32":
        return "its weights are finite, so a part before it does not fit; fetch the parts again"
    wider = "bfloat16 or float32" if dtype == "float16" else "float32"
    return f"{dtype} cannot hold them; open it with --dtype {wider}"


def _has_damaged_weights(site: Site) -> bool:
    """Whether the module of a site has weights that are not finite."""
    return isinstance(site.module, nn.Module) and any(
        not bool(weight.isfinite().all())
        for weight in site.module.parameters()
        if not weight.is_meta and weight.is_floating_point()
    )


def _groups(addresses: Iterable[str]) -> str:
    """Addresses by their first two names, with the number of each group.

    >>> _groups(["vae.encoder.conv/out", "vae.encoder.mid/out", "text.blocks.0/q"])
    'vae.encoder (2) and text.blocks (1)'
    """
    counts = Counter(
        ".".join(address.partition("/")[0].split(".")[:2]) for address in addresses
    ).most_common()
    texts = [f"{name} ({count})" for name, count in counts[:FEW]]
    others = sum(count for _, count in counts[FEW:])
    return _listed([*texts, *([f"{others} others"] if others else [])])


def _listed(names: Iterable[str]) -> str:
    """Names in one phrase.

    >>> _listed(["text", "denoiser", "vae"])
    'text, denoiser and vae'
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _amount(count: int) -> str:
    """A number of parameters.

    >>> [_amount(count) for count in (831, 16_500_000, 6_900_000_000)]
    ['831', '16.5 million', '6.9 billion']
    """
    for size, word in ((1e9, "billion"), (1e6, "million")):
        if count >= size:
            return f"{count / size:.1f} {word}"
    return f"{count:,}"
