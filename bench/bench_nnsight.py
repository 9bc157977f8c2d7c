"""Our overhead against nnsight's, on Lancet: the same sites of the text encoder, of the denoiser.

(ours − bare) / (nnsight − bare), each the median of runs that take turns. All keep every position.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import torch
from beside import drawn, encoded, quiet, seconds, usual

import clerestory
from lancet import checkpoint

PROMPTS = ["a stained glass of a cat", "a ship at night", "a sad woman in a library", "a rose"]


def compare_overhead(
    name: str,
    bare: Callable[[], object],
    ours: Callable[[], object],
    theirs: Callable[[], object],
    times: int = 15,
) -> None:
    for work in (bare, ours, theirs):
        work()
    rounds = [[seconds(work) for work in (bare, ours, theirs)] for _ in range(times)]
    plain, mine, other = (statistics.median(times) for times in zip(*rounds, strict=True))
    ratio = (mine - plain) / (other - plain)
    print(
        f"{name}: overhead {ratio:.2f} × nnsight's (aim: 0.5); over bare {mine / plain:.2f} ×, "
        f"nnsight {other / plain:.2f} ×"
    )


def _envoy(root: Any, path: str) -> Any:
    """nnsight's name for the module at this path."""
    for part in path.split("."):
        root = root[int(part)] if part.isdigit() else getattr(root, part)
    return root


def text(model: clerestory.Model) -> None:
    from nnsight import NNsight

    pipeline = model.pipeline
    encoder, tokenizer = pipeline.prior_text_encoder, pipeline.prior_tokenizer
    traced = NNsight(encoder)
    sites = model.sites.match("text.*/mlp,text.*/resid,text.*/self_attn")
    envoys = [_envoy(traced, site.path.partition(".")[2]) for site in sites]

    def ids() -> torch.Tensor:
        tokens = tokenizer(PROMPTS, padding="max_length", return_tensors="pt")
        return torch.as_tensor(tokens.input_ids)

    def bare() -> object:
        return encoded(model, PROMPTS)

    def theirs() -> object:
        with torch.no_grad(), traced.trace(ids()) as tracer:
            cache = tracer.cache(modules=envoys).save()
        return cache

    def hooked() -> object:
        kept: list[Any] = []
        handles = [
            site.module.register_forward_hook(lambda _, __, out: kept.append(out)) for site in sites
        ]
        bare()
        for handle in handles:
            handle.remove()
        return kept

    read = [site.address for site in sites]
    compare_overhead(
        f"{len(read)} text sites",
        bare,
        lambda: model.run(PROMPTS, 0, read=read, pool="none", pictures=False),
        theirs,
    )
    compare_overhead("the same by plain torch hooks, which is the least", bare, hooked, theirs)


def pictures(model: clerestory.Model) -> None:
    """The whole pipeline, drawn by nnsight's `DiffusionModel` from the same folder."""
    from nnsight.modeling.diffusion import DiffusionModel

    quiet(model)
    traced = DiffusionModel(str(checkpoint.SHIPPED / "model"), dispatch=True)
    for part in (traced.pipeline.prior_pipe, traced.pipeline.decoder_pipe):
        part.set_progress_bar_config(disable=True)
    sites = model.sites.match("denoiser.*.res.*/out")
    envoys = [_envoy(traced, site.path) for site in sites]

    def theirs() -> object:
        with torch.no_grad(), traced.generate(PROMPTS, seed=0, **usual(model)) as tracer:
            cache = tracer.cache(modules=envoys).save()
        return cache

    read = [site.address for site in sites]
    compare_overhead(
        f"{len(read)} denoiser sites at {model.defaults.steps} steps, and the pictures",
        lambda: drawn(model, PROMPTS),
        lambda: model.run(PROMPTS, 0, read=read, pool="none"),
        theirs,
        times=7,
    )


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    text(clerestory.load("lancet"))
    pictures(clerestory.load("lancet"))
