"""The verb `attribute`: split values over the pieces of a prompt.

Every coalition of pieces is measured in many paraphrases, which are the replicates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from clerestory.attribution.drawing import draw_attribution
from clerestory.attribution.games import Games
from clerestory.attribution.measurement import BATCH, Measurer, unit_sites
from clerestory.attribution.paraphrases import (
    DEFAULT_COUNT,
    MIN_COUNT,
    paraphrase,
    parse_paraphrases,
)
from clerestory.attribution.patching import patch_tokens
from clerestory.attribution.pieces import Removal, SegmentedPrompt, check_pieces, parse_pieces
from clerestory.attribution.results import Attribution, PatchEffect, Split
from clerestory.attribution.synergy import find_synergy
from clerestory.attribution.targets import Target, parse_targets, path_targets
from clerestory.contrasts import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation import CacheOption, Evaluator
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Pictures, ProgressOption

__all__ = ["attribute"]

DEFAULT_BUDGET = 128


def attribute(
    model: Model,
    prompt: str | SegmentedPrompt,
    of: Sequence[str | Path | Target],
    *,
    removal: Removal | Literal["both"] = "baseline",
    seeds: int | Sequence[int] = range(4),
    paraphrases: int | Sequence[SegmentedPrompt] | None = None,
    sentences: Sequence[str] | None = None,
    pool: str = "mean",
    budget: int = DEFAULT_BUDGET,
    synergy: bool = True,
    path: bool = True,
    pictures: bool = True,
    out: Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
) -> Attribution:
    """Split values over the pieces of a prompt, by Shapley values and pairwise interactions.

    Up to ten pieces every coalition is measured; beyond that coalitions are sampled, twice per
    paraphrase. Seeds are averaged first. Intervals are over the templates of the paraphrases, taken
    as independent; the words between the pieces are taken as given.

    Args:
        model: The model.
        prompt: A prompt with pieces in brackets, `[a name] with a [raven]`.
        of: What is split: units, folders that `find` wrote, `CLASSIFIER=LABEL`, or targets.
        removal: Whether a removed piece is replaced by its `baseline` or deleted (`delete`); with
            `both`, shares that depend on it are flagged.
        seeds: Seeds of the samples per prompt; a number is a single seed.
        paraphrases: How many sentences around the pieces, or the sentences; by default 48, or all
            there are.
        sentences: Sentences of your own instead, with the same pieces in brackets.
        pool: How positions are pooled: mean, max or last.
        budget: Coalitions per sample, beyond ten pieces.
        synergy: Whether to test for neurons that the pieces activate jointly (at most ten).
        path: Whether to split findings site by site and to patch single tokens.
        pictures: Whether to draw what the page shows, if `out` is given.
        out: Folder for the result and its page. Measurements are stored there part by part, and the
            same call resumes.
        cache: Whether to keep samples, or where.
        progress: True for progress bars, or a callback.

    Returns:
        The split of every target.

    Raises:
        EvidenceError: There are too few paraphrases, they are of another prompt, or `out` has
            another attribution.
        PromptError: The prompt has no readable pieces, or is too long.
        OptionError: There is no such pool.
        SiteError, RegistryError: There is no such unit, classifier or class.
    """
    if isinstance(prompt, str):
        prompt = parse_pieces(prompt)
    check_pieces(model, prompt)
    removals: tuple[Removal, ...] = ("baseline", "delete") if removal == "both" else (removal,)
    main = removals[0]
    replicates = _replicates(model, prompt, paraphrases, sentences, removals)
    targets = parse_targets(model, of, pool)
    paths = _paths(model, of, pool) if path else {}
    games = Games.plan(prompt, replicates, removals, budget)
    # Every text that will be measured, before the first is drawn.
    model.family.check_prompts(games.texts())
    # The test needs the values of single pieces alone, without which there is no sum to exceed.
    test_units = synergy and len(prompt.pieces) > 1 and games.exact
    # Sites along the path are measured with the targets, in the same runs of the model.
    along = list(chain.from_iterable(paths.values()))
    sites = unit_sites(model, targets) if test_units else ()
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report, batch=BATCH)
        measurer = Measurer(evaluator, [*targets, *along], check_seeds(seeds), sites)
        unit_texts = games.single_texts() if test_units else ()
        measured = measurer.measure(games.texts(), unit_texts, out, report)
        splits = list(games.splits(measured.values))
        test = find_synergy(model, sites, games.activations(measured.units)) if sites else None
        effects: tuple[PatchEffect, ...] = ()
        if path:
            # Patching is by one way of removal only: a second one would double the longest part.
            effects = patch_tokens(model, replicates, targets, removal=main, progress=report)
        coalition_prompts: tuple[str, ...] = ()
        drawn: dict[str, Pictures] = {}
        if out is not None and pictures:
            coalition_prompts, drawn = draw_attribution(
                evaluator, prompt, main, layers=path, progress=report
            )
    # Splits are in the order of the targets: those in `of` first, then those of the paths.
    of_targets, of_sites = splits[: len(targets)], iter(splits[len(targets) :])
    alternatives = {
        each: {target.name: split[each] for target, split in zip(targets, of_targets, strict=True)}
        for each in removals
    }
    main_splits = alternatives.pop(main)
    result = Attribution(
        prompt=prompt.full_text,
        pieces=prompt.labels,
        baselines=tuple(each.baseline if main == "baseline" else "" for each in prompt.pieces),
        removal=removals,
        paraphrases=len(games.paraphrases),
        seeds=tuple(measurer.seeds),
        of=main_splits,
        activations=tuple(target.name for target in targets if target.is_activation),
        alternatives=alternatives,
        path={
            name: {site.name: next(of_sites)[main] for site in sites_of_path}
            for name, sites_of_path in paths.items()
        },
        synergy=test,
        patching=effects,
        warnings=_warnings(main_splits),
        provenance=provenance_of(model, {"pool": pool, "budget": budget} | vars(model.defaults)),
        coalition_prompts=coalition_prompts,
        pictures=drawn,
    )
    if out is not None:
        result.write(out)
    return result


def _replicates(
    model: Model,
    prompt: SegmentedPrompt,
    paraphrases: int | Sequence[SegmentedPrompt] | None,
    sentences: Sequence[str] | None,
    removal: Sequence[Removal],
) -> Sequence[SegmentedPrompt]:
    """The sentences to measure: those of the caller, or paraphrases."""
    if sentences is not None:
        return parse_paraphrases(prompt, sentences)
    if paraphrases is None:
        return paraphrase(prompt, DEFAULT_COUNT, at_least=MIN_COUNT, model=model, removal=removal)
    if isinstance(paraphrases, int):
        return paraphrase(prompt, paraphrases, model=model, removal=removal)
    for sentence in paraphrases:
        if sentence.pieces != prompt.pieces:
            raise EvidenceError(
                f"{sentence.full_text!r} has other pieces than {prompt.full_text!r}."
            )
    return paraphrases


def _paths(model: Model, of: Sequence[str | Path | Target], pool: str) -> dict[str, list[Target]]:
    """The direction at every site, by the folder's name of each finding."""
    folders = [Path(each) for each in of if not isinstance(each, Target) and Path(each).is_dir()]
    return {
        folder.name: path_targets(model, Findings.load(folder), folder.name, pool)
        for folder in folders
    }


def _warnings(splits: dict[str, Split]) -> tuple[str, ...]:
    """Targets whose shares depend on how pieces are removed, with those pieces."""
    warnings = []
    for name, split in splits.items():
        pieces = [each.label for each in split.indices if each.removal_sensitive]
        if pieces:
            warnings.append(f"{name} depends on how pieces are removed: {', '.join(pieces)}.")
    return tuple(warnings)
