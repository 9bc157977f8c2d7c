"""The verb `attribute`: split values over the pieces of a prompt.

Every coalition of pieces is measured in many paraphrases, which are the replicates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Literal

from clerestory.arguments import checked
from clerestory.attribution.drawing import draw_attribution
from clerestory.attribution.games import MIN_TEMPLATES, Games
from clerestory.attribution.measurement import BATCH, Measurer, unit_sites
from clerestory.attribution.paraphrases import (
    DEFAULT_COUNT,
    MIN_COUNT,
    SHARED_SEEDS,
    paraphrase,
    parse_paraphrases,
)
from clerestory.attribution.patching import patch_tokens
from clerestory.attribution.pieces import (
    Removal,
    SegmentedPrompt,
    check_pieces,
    check_removals,
    parse_pieces,
)
from clerestory.attribution.results import Attribution, PatchEffect, Split
from clerestory.attribution.shapley import MAX_EXACT
from clerestory.attribution.synergy import find_synergy
from clerestory.attribution.targets import Target, parse_targets, path_targets
from clerestory.contrasts import Findings
from clerestory.errors import EvidenceError
from clerestory.evaluation import CacheOption, Evaluator
from clerestory.evaluation.terms import is_seed_independent
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.models import Model
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.types import Pictures, ProgressOption

__all__ = ["attribute"]

DEFAULT_BUDGET = 128


@checked()
def attribute(
    model: Model,
    prompt: str | SegmentedPrompt,
    of: Sequence[str | Path | Target],
    *,
    removal: Removal | Literal["both"] = "baseline",
    seeds: int | Sequence[int] | None = None,
    seeds_per_paraphrase: int = 4,
    seed: int = 0,
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
    paraphrase. Each paraphrase has seeds of its own, which its coalitions share and which are
    averaged first. Intervals are over templates, for other templates and seeds; the words between
    the pieces are taken as given.

    Args:
        model: The model.
        prompt: A prompt with pieces in brackets, `[a name] with a [raven]`.
        of: What is split: units, folders that `find` wrote, `CLASSIFIER=LABEL`, or targets.
        removal: Whether a removed piece is replaced by its `baseline` or deleted (`delete`); with
            `both`, shares that depend on it are flagged.
        seeds: The same seeds for all paraphrases, which intervals then do not account for; by
            default each paraphrase has others.
        seeds_per_paraphrase: Number of seeds of each paraphrase.
        seed: Gives other seeds for the same paraphrases.
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
        ModelError: A value is not finite.
        PromptError: The prompt has no readable pieces, is too long, or a piece is its own baseline.
        OptionError: There is no such pool.
        SiteError, RegistryError: There is no such unit, classifier or class.
    """
    if isinstance(prompt, str):
        prompt = parse_pieces(prompt)
    # Before any paraphrase is made: the prompt's own error names the piece that is too long.
    check_pieces(model, prompt)
    removals: tuple[Removal, ...] = ("baseline", "delete") if removal == "both" else (removal,)
    main = removals[0]
    check_removals(model, [prompt], removals)
    replicates = _replicates(model, prompt, paraphrases, sentences, removals)
    check_removals(model, replicates, removals)
    # After the paraphrases, which cost nothing to refuse; classifiers are opened here.
    targets = parse_targets(model, of, pool)
    paths = _finding_paths(model, of, pool) if path else {}
    common = None if seeds is None else check_seeds(seeds)
    # Sites along the path are measured with the targets, in the same runs of the model.
    along = list(chain.from_iterable(paths.values()))
    measured_targets = [*targets, *along]
    # The test needs the values of single pieces alone, without which there is no sum to exceed.
    test_units = synergy and 1 < len(prompt.pieces) <= MAX_EXACT
    sites = unit_sites(model, targets) if test_units else ()
    terms = [target.term for target in measured_targets]
    shared_seeds = common is not None
    if is_seed_independent(model, terms, sites):
        # One seed for all is enough, and prompts that paraphrases share are measured once.
        common, shared_seeds = common[:1] if common else (0,), False

    def seeds_of(text: str) -> tuple[int, ...]:
        # Common seeds come first: the caller asked for them.
        return common or item_seeds(text, seeds_per_paraphrase, seed)

    games = Games.plan(prompt, replicates, seeds_of, removals, budget)
    # Every text that will be measured, before the first is drawn.
    model.family.check_prompts([sample.text for sample in games.samples()])
    with progress_bars(progress) as report:
        evaluator = Evaluator(model, cache, progress=report, batch=BATCH)
        measurer = Measurer(evaluator, measured_targets, sites)
        # Units are read for the few coalitions that the test needs, not for all 2ⁿ.
        unit_samples = games.single_samples() if sites else ()
        measured = measurer.measure(games.samples(), unit_samples, out, report)
        splits = [
            # Rates lie in 0 … 1, so their shares have bounds; activations have none.
            games.split(measured.values, index, bounded=not target.is_activation)
            for index, target in enumerate(measured_targets)
        ]
        test = find_synergy(model, sites, games.activations(measured.units)) if sites else None
        effects: tuple[PatchEffect, ...] = ()
        if path:
            # Patching is by one way of removal only: a second one would double the longest part.
            effects = patch_tokens(
                model,
                games.paraphrases,
                targets,
                removal=main,
                seeds=[own[0] for own in games.seeds],
                progress=report,
            )
        coalition_prompts: tuple[str, ...] = ()
        coalition_pictures: dict[str, Pictures] = {}
        if out is not None and pictures:
            coalition_prompts, coalition_pictures = draw_attribution(
                evaluator, prompt, main, seed=seed, layers=path, progress=report
            )
    # Splits are in the order of the targets: those in `of` first, then those of the paths.
    of_targets, of_sites = splits[: len(targets)], iter(splits[len(targets) :])
    alternatives = {
        each: {target.name: split[each] for target, split in zip(targets, of_targets, strict=True)}
        for each in removals
    }
    # The first way of removal is the result; the other one only shows how much it depends on it.
    main_splits = alternatives.pop(main)
    result = Attribution(
        prompt=prompt.full_text,
        pieces=prompt.labels,
        baselines=tuple(each.baseline if main == "baseline" else "" for each in prompt.pieces),
        removal=removals,
        paraphrases=len(games.paraphrases),
        seeds=games.seeds,
        of=main_splits,
        activations=tuple(target.name for target in targets if target.is_activation),
        alternatives=alternatives,
        path={
            name: {site.name: next(of_sites)[main] for site in sites_of_path}
            for name, sites_of_path in paths.items()
        },
        synergy=test,
        patching=effects,
        warnings=(
            *_design_warnings(games, shared_seeds),
            *_removal_warnings(main_splits),
        ),
        provenance=provenance_of(model, {"pool": pool, "budget": budget} | vars(model.defaults)),
        coalition_prompts=coalition_prompts,
        pictures=coalition_pictures,
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
        # Shares are averaged by piece over all sentences.
        if sentence.pieces != prompt.pieces:
            raise EvidenceError(
                f"{sentence.full_text!r} has other pieces than {prompt.full_text!r}."
            )
    return paraphrases


def _finding_paths(
    model: Model, of: Sequence[str | Path | Target], pool: str
) -> dict[str, list[Target]]:
    """The direction at every site, by the folder's name of each finding."""
    folders = [Path(each) for each in of if not isinstance(each, Target) and Path(each).is_dir()]
    return {
        folder.name: path_targets(model, Findings.load(folder), folder.name, pool)
        for folder in folders
    }


def _design_warnings(games: Games, shared_seeds: bool) -> Iterator[EvidenceWarning]:
    """What the paraphrases and seeds leave open."""
    templates = len(set(games.groups.tolist()))
    if templates < MIN_TEMPLATES:
        yield EvidenceWarning(
            "few-templates",
            f"The paraphrases have {templates} templates; {MIN_TEMPLATES} are needed for a claim "
            "about others: the shares are undecided.",
        )
    if shared_seeds:
        yield SHARED_SEEDS


def _removal_warnings(splits: Mapping[str, Split]) -> Iterator[EvidenceWarning]:
    """Targets whose shares depend on how pieces are removed, with those pieces."""
    for name, split in splits.items():
        pieces = [each.label for each in split.indices if each.removal_sensitive]
        if pieces:
            text = f"{name} depends on how pieces are removed: {', '.join(pieces)}."
            yield EvidenceWarning("removal", text)
