"""Where and when a concept gets into the picture: activations of one run patched into another.

    map_effects(model, cats, moose, classifier="lancet:style", label="stained glass").sentences()

A positive prompt and its negative one are drawn with one seed. What some blocks make in the first
run replaces what they make in the second: if the concept then appears, it passed those blocks.
Activations of another negative prompt, patched in the same way, are the baseline.
Source: causal tracing (Meng et al. 2022), for diffusion Basu et al. 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from clerestory.causal.parts import Parts
from clerestory.causal.results import EffectMaps, RangeEffect, SwapShares
from clerestory.causal.seed_patching import swap_noise
from clerestory.causal.trials import Trials, with_seeds
from clerestory.classifiers import Classifier
from clerestory.edits import Patch
from clerestory.errors import EvidenceError
from clerestory.evaluation import (
    CacheOption,
    Design,
    Drawing,
    Effect,
    Evaluator,
    effect_of,
    load_preserved,
    load_target,
)
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Bools, ProgressOption

__all__ = [
    "MAP_ITEMS",
    "MIN_SAME_LENGTH",
    "activation_bytes",
    "map_blocks",
    "map_effects",
    "map_steps",
    "measure_maps",
    "patch_sites",
    "patchable_blocks",
    "prompting_fields",
]

Ranges = tuple[RangeEffect, ...]
Swaps = tuple[SwapShares, ...]
MAP_ITEMS = 12
"""Number of items that each range of a map is drawn with."""
CHUNK, MAX_BYTES = 4, 4 << 30
"""Maximum number of items, and of bytes, whose activations are in memory at a time."""
MAX_PARTS = 6
"""Maximum number of parts that the blocks of a stage, or the steps, are divided into."""
MIN_SAME_LENGTH = 8
"""Number of pairs of equal length below which no text activations are patched."""
RESIDUAL_TAPS = ("mlp", "self_attn", "cross_attn")
"""What the blocks of a transformer add to the residual stream. UNet blocks have a whole output."""
DECODER = "vae"
"""The stage that only decodes the latent."""


def map_effects(
    model: Model,
    positive: Sequence[str],
    negative: Sequence[str],
    *,
    classifier: str | Classifier | Callable[..., Any],
    label: str,
    seeds_per_item: int = 1,
    seeds: int | Sequence[int] | None = None,
    others: Sequence[str] | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> EffectMaps:
    """Map what makes a classifier predict a label with one list of prompts and not with another.

    Args:
        model: The model.
        positive: Prompts with the concept.
        negative: As many prompts without it, matched by their place in the list.
        classifier: A classifier, its name, or a function with an attribute `classes`.
        label: Its class that stands for the concept.
        seeds_per_item: Number of seeds of each pair of prompts, which no other pair has.
        seeds: Seeds of every prompt instead; the maps are then about these seeds.
        others: Classifiers of side effects; by default the other heads of the classifier's
            network, if it has any.
        cache: Whether to cache samples, so that none is drawn twice, or a cache.
        progress: Show a progress bar, or a callback; see `ProgressOption`.

    Returns:
        The maps: in which blocks and at which steps the concept enters, and which sample decides.

    Raises:
        EvidenceError: The lists differ in length, or have fewer than two prompts.
        RegistryError: There is no such classifier or label.
    """
    if len(positive) != len(negative) or len(positive) < 2:
        raise EvidenceError(
            f"{len(positive)} positive prompts and {len(negative)} negative ones: give as many of "
            "each, at least 2."
        )
    target = load_target(classifier, label)
    pairs = pd.DataFrame({"positive": list(positive), "negative": list(negative)})
    # Positions of texts can only be exchanged between prompts with as many tokens.
    lengths = pairs.map(lambda prompt: len(model.tokenize(prompt)))
    pairs["same_length"] = lengths["positive"] == lengths["negative"]
    explicit = None if seeds is None else check_seeds(seeds)
    # By the negative prompt, which both arms of a pair then share.
    chosen_seeds = [explicit or item_seeds(prompt, seeds_per_item) for prompt in negative]
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report)
        preserved = load_preserved(target.classifier, others)
        trials = Trials(evaluator, with_seeds(pairs, chosen_seeds), target, preserved)
        # These are drawn for all items; the maps take the first `MAP_ITEMS` of them.
        unedited, prompted = trials.draw_arms()
        maps = measure_maps(trials)
    return EffectMaps(
        **prompting_fields(trials, unedited, prompted),
        **maps,
        provenance=provenance_of(
            model,
            {
                "positive": list(positive),
                "negative": list(negative),
                "seeds_per_item": seeds_per_item,
                "seeds": explicit,
                "others": list(trials.others),
            },
        ),
    )


def prompting_fields(trials: Trials, unedited: Drawing, prompted: Drawing) -> dict[str, Any]:
    """What was drawn, and the effect of the positive prompts, as fields of a result.

    Args:
        trials: The pairs and classifiers.
        unedited: The drawing of the negative prompts.
        prompted: The drawing of the positive prompts, of the same items.

    Returns:
        The first fields of `EffectMaps`, which a `VerificationResult` has too.
    """
    return {
        "classifier": trials.target.classifier.source,
        "label": trials.target.label,
        "items": len(trials.pairs),
        "negative_rate": trials.rate(unedited).rate,
        "prompting": trials.effect(prompted, unedited),
        "prompting_preservation": trials.preservation(prompted, unedited),
    }


def measure_maps(trials: Trials, parts: Parts | None = None) -> dict[str, Any]:
    """The three maps and their warnings, as fields of a result.

    Args:
        trials: The pairs and classifiers.
        parts: Where each map is written as soon as it is measured; by default nowhere.

    Returns:
        `where`, `when`, `swaps` and `warnings` of `EffectMaps`.
    """
    parts = parts or Parts()
    where, warnings = map_blocks(trials, MAP_ITEMS, parts)
    return {
        "where": tuple(where),
        "when": parts.get("when", Ranges, lambda: tuple(map_steps(trials, MAP_ITEMS))),
        "swaps": parts.get("swaps", Swaps, lambda: tuple(swap_noise(trials, MAP_ITEMS))),
        "warnings": tuple(warnings),
    }


def patchable_blocks(model: Model) -> dict[str, dict[str, list[str]]]:
    """Sites to patch, by stage and block: what a transformer block adds, or a UNet block's output.

    Args:
        model: The model.

    Returns:
        Addresses `[stage][block]` in the order of the model's sites, without the decoder and
        without sites that nothing reads.
    """
    stages: dict[str, dict[str, list[str]]] = {}
    for address, site in model.sites.items():
        # The decoder only renders the latent, and patching a site that nothing reads has no effect.
        if site.stage == DECODER or site.affects_output is False:
            continue
        block = address.split("/")[0]
        if site.tap == "out" or (site.tap in RESIDUAL_TAPS and block != site.stage):
            stages.setdefault(site.stage, {}).setdefault(block, []).append(address)
    return {stage: _outputs_or_all(blocks) for stage, blocks in stages.items()}


def map_blocks(
    trials: Trials, items: int, parts: Parts | None = None
) -> tuple[list[RangeEffect], list[EvidenceWarning]]:
    """Patch every contiguous range of each stage's parts.

    Args:
        trials: The pairs and the classifier.
        items: Number of items.
        parts: Where each stage's effects are written; by default nowhere.

    Returns:
        The effects, and warnings about stages that are left out. A stage has at most `MAX_PARTS`
        parts, each with one or more blocks in the order of their sites.
    """
    effects: list[RangeEffect] = []
    warnings: list[EvidenceWarning] = []
    parts = parts or Parts()
    for stage, blocks in patchable_blocks(trials.model).items():
        sites = [site for block_sites in blocks.values() for site in block_sites]
        # Text positions can be patched only between prompts with equally many tokens.
        same_length = any(_has_tokens(trials, site) for site in sites)
        if same_length and trials.pairs["same_length"].sum() < MIN_SAME_LENGTH:
            text = f"Too few matched prompts have as many tokens to trace the {stage}."
            warnings.append(EvidenceWarning("incomplete", text))
            continue
        needed = activation_bytes(trials, sites)
        if needed > MAX_BYTES:
            text = (
                f"The {stage} is not traced: its activations take {needed / 2**30:.0f} GiB a "
                f"prompt, more than {MAX_BYTES / 2**30:.0f}. Fewer steps, or smaller pictures, "
                "need less."
            )
            warnings.append(EvidenceWarning("incomplete", text))
            continue
        # The whole output of a block includes all earlier blocks, unlike what the block adds.
        cumulative = any(site.endswith("/out") for site in sites)
        measure = partial(
            _range_effects,
            trials,
            f"where: {stage}",
            stage,
            blocks,
            items,
            same_length,
            cumulative,
        )
        effects += parts.get(f"where-{stage}", Ranges, measure)
    return effects, warnings


def map_steps(trials: Trials, items: int) -> list[RangeEffect]:
    """Patch the denoiser's predictions of every contiguous range of steps.

    A prediction belongs to the latent of its own run, so patching it has an effect without any
    concept. That effect, measured with another negative prompt's predictions, is subtracted.

    Args:
        trials: The pairs and the classifier.
        items: Number of items.

    Returns:
        The effects; none for a model without predictions.
    """
    site = "denoiser/prediction"
    if site not in trials.model.sites:
        return []
    design = trials.design("positive", 1)
    seed = design.seeds[0][0]
    run = trials.model.run(design.items, seed, read=[site], pool="none", pictures=False)
    # Read from a run, since schedulers differ in the steps that they take.
    steps = [step.index for step in run.site_values[site].steps]
    sites = {str(step): [f"{site}@{step}"] for step in steps}
    return list(_range_effects(trials, "when", "denoiser", sites, items))


def patch_sites(
    trials: Trials,
    task: str,
    site_sets: Sequence[Sequence[str]],
    *,
    into: str = "negative",
    items: int | None = None,
    same_length: bool = False,
    sources: Sequence[str] = (),
) -> list[Bools]:
    """Patch sets of sites from some prompts into others.

    Args:
        trials: The pairs and the classifier.
        task: Label of the progress.
        site_sets: Sets of addresses, with steps (`@5`) or without.
        into: The arm whose prompts are patched.
        items: Number of items; by default all.
        same_length: Whether to take only pairs with equally many tokens.
        sources: Prompts that the activations come from; by default those of the other arm.

    Returns:
        Hits of the target for each set, in the cells of the design of `into`.
    """
    other_arm = "positive" if into == "negative" else "negative"
    sources = sources or trials.design(other_arm, items, same_length=same_length).items
    design = trials.design(into, items, same_length=same_length)
    hits: list[list[Bools]] = [[] for _ in site_sets]
    sites = _sites(site_sets)
    # At least one prompt, even if its activations exceed the limit.
    size = max(1, min(CHUNK, int(MAX_BYTES // max(activation_bytes(trials, sites), 1))))
    count = len(design.items)
    for start in range(0, count, size):
        trials.report(task, start, count)
        part = design.select(range(count)[start : start + size])
        edits = _patches(trials, sources[start : start + size], part, site_sets)
        drawings = trials.draw_patched(part, edits)
        for set_hits, drawing in zip(hits, drawings, strict=True):
            set_hits.append(drawing.hits(*trials.target))
    trials.report(task, count, count)
    return [np.concatenate(set_hits) for set_hits in hits]


def activation_bytes(trials: Trials, sites: Sequence[str]) -> int:
    """Size of the activations of one prompt at some sites, extrapolated from two steps.

    Args:
        trials: The pairs; the first is read.
        sites: Addresses of sites, without steps.

    Returns:
        Bytes for one prompt with all seeds, steps and positions.
    """
    model = trials.model
    design = trials.design("positive", 1)
    # Two steps are enough, since all steps of a site have arrays of the same size.
    read = model.run(
        design.items, 0, read=list(sites), pool="none", steps=2, pictures=False
    ).site_values
    needed = 0.0
    for site in sites:
        values = read[site]
        # At a site with steps, half of the bytes belong to one step.
        stepped = model.sites[site].stage == "denoiser" and len(values.steps) > 1
        needed += values.array().nbytes * (model.defaults.steps / 2 if stepped else 1)
    return int(needed * len(design.seeds[0]))


def _range_effects(
    trials: Trials,
    task: str,
    stage: str,
    sites: Mapping[str, Sequence[str]],
    items: int,
    same_length: bool = False,
    cumulative: bool = False,
) -> tuple[RangeEffect, ...]:
    """Patch every contiguous range of at most `MAX_PARTS` parts; `sites` are by block or step."""
    # At most six parts give 21 ranges; all blocks of a large model would give hundreds.
    parts = [[str(name) for name in part] for part in np.array_split(list(sites), MAX_PARTS)]
    # `np.array_split` makes empty parts where there are fewer blocks than parts.
    parts = [part for part in parts if part]
    ranges = [(first, last) for first in range(len(parts)) for last in range(first, len(parts))]
    site_sets = [
        [site for part in parts[first : last + 1] for name in part for site in sites[name]]
        for first, last in ranges
    ]
    effects = _effects(trials, task, site_sets, items, same_length)
    return tuple(
        RangeEffect(stage, parts[first][0], parts[last][-1], effect, cumulative)
        for (first, last), effect in zip(ranges, effects, strict=True)
    )


def _effects(
    trials: Trials, task: str, site_sets: list[list[str]], items: int, same_length: bool
) -> list[Effect]:
    """Effects of the positive prompts' activations, minus those of another negative prompt.

    Another prompt may have another number of tokens, so text is compared with the unpatched prompt.
    """
    after = patch_sites(trials, task, site_sets, items=items, same_length=same_length)
    if same_length:
        # Texts are patched from prompts of equal length, of which another
        # negative one may not exist.
        (unpatched,) = trials.draw(task, "negative", items=items, same_length=True)
        before = unpatched.hits(*trials.target)
        return [effect_of(hits, before, unpatched.design) for hits in after]
    design = trials.design("negative", items)
    prompts = design.items
    # Shifted by one, so that each prompt is patched with another negative prompt's activations.
    others = patch_sites(trials, task, site_sets, items=items, sources=[*prompts[1:], prompts[0]])
    return [effect_of(*pair, design) for pair in zip(after, others, strict=True)]


def _patches(
    trials: Trials, sources: Sequence[str], design: Design, site_sets: Sequence[Sequence[str]]
) -> list[list[Patch]]:
    """Patches of each set, from prompts that are read with the seeds of those they replace."""
    sites = _sites(site_sets)
    prompts = [prompt for prompt in sources for _ in design.seeds[0]]
    (run,) = trials.model.sweep(
        prompts, design.cell_seeds, [()], paired=True, read=sites, pool="none", pictures=False
    )
    values = {site: run.site_values[site].by_step() for site in sites}
    return [
        [
            Patch(f"{address.site}@{step}", values[address.site][step])
            for address in map(parse, site_set)
            # An address without steps means all steps at which the site was read.
            for step in (address.steps or tuple(values[address.site]))
        ]
        for site_set in site_sets
    ]


def _sites(site_sets: Sequence[Sequence[str]]) -> list[str]:
    """The sites of all sets, without steps."""
    return list(dict.fromkeys(parse(address).site for sites in site_sets for address in sites))


def _outputs_or_all(blocks: dict[str, list[str]]) -> dict[str, list[str]]:
    """Only the whole outputs, if any block has one; otherwise all sites."""
    outputs = {
        block: [f"{block}/out"] for block, sites in blocks.items() if f"{block}/out" in sites
    }
    return outputs or blocks


def _has_tokens(trials: Trials, site: str) -> bool:
    return bool(trials.model.hooks_by_address[site].text_window)
