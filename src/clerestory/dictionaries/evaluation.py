"""How well a dictionary stands for the values of its site: in activations, and in pictures.

result = evaluate(model, dictionary, ["a cat", "a ship"], seeds=(0, 1))
result.activations.explained_variance
result.condition("reconstruction").recovered

The same samples are drawn with the site's values as they are, replaced by the dictionary's
reconstruction, by that of a random dictionary, and by their mean.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from clerestory.arguments import checked
from clerestory.causal.parts import Parts
from clerestory.classifiers import Classifier, factor_of, load_classifier
from clerestory.classifiers.base import classifier_name
from clerestory.contrasts.limitations import FEWEST_ITEMS, RECOMMENDED_ITEMS
from clerestory.contrasts.sample_warnings import ONE_POSITION
from clerestory.dictionaries.baselines import (
    constant_dictionary,
    matched_random,
    some_values,
    with_fitted_length,
)
from clerestory.dictionaries.dictionary import Dictionary
from clerestory.dictionaries.evaluation_results import (
    MEAN,
    RANDOM,
    RECONSTRUCTION,
    UNEDITED,
    ActivationFigures,
    DictionaryEvaluation,
    PictureFigures,
)
from clerestory.dictionaries.figures import measure
from clerestory.dictionaries.reconstruct import Reconstruct
from clerestory.dictionaries.site_activations import read_activations
from clerestory.dictionaries.training_prompts import prompts_trained_on
from clerestory.errors import DictionaryError, OptionError, SiteError
from clerestory.evaluation import CacheOption, Condition, Design, Drawing, Evaluator, SampleCache
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.digests import digest
from clerestory.io.validation import to_jsonable, validate
from clerestory.models import Edit, Model
from clerestory.models.core.latents import base_of, check_site
from clerestory.models.core.types import OPTION_NAMES, Branch
from clerestory.models.provenance import model_identity, provenance_of
from clerestory.recordings.prompts import prompt_table
from clerestory.registry import suggest
from clerestory.reporting.progress import progress_bars
from clerestory.types import Pictures, Progress, ProgressOption

__all__ = ["evaluate"]

COLUMNS = 12
"""Prompts of the grid of pictures."""
SAMPLES, BASELINE, PART = "samples", "random", "result.part"
"""Folders in that of the result: the cache of drawn samples, the random dictionary, and the files
of the result while they are written."""


@checked(options=OPTION_NAMES)
def evaluate(
    model: Model,
    dictionary: Dictionary | str,
    prompts: str | Path | Sequence[str] | pd.DataFrame,
    seeds: int | Sequence[int] | None = None,
    *,
    seeds_per_item: int = 2,
    classifiers: Sequence[str | Classifier | Callable[..., Any]] | None = None,
    site: str | None = None,
    branch: Branch = "cond",
    batch: int = 16,
    seed: int = 0,
    out: str | Path | None = None,
    cache: CacheOption = True,
    progress: ProgressOption = True,
    **options: Any,
) -> DictionaryEvaluation:
    """Measure a dictionary on prompts that it was not trained on.

    Args:
        model: The model.
        dictionary: A sparse autoencoder, or the name of one that is attached to the model.
        prompts: As in `record`; each distinct prompt is an item.
        seeds: Seeds of every prompt; the figures are then of these seeds.
        seeds_per_item: Without `seeds`, the number of seeds of each prompt, which no other has.
        classifiers: Classifiers or their names, whose predictions should stay; by default the
            model's own.
        site: Address of the site, for a dictionary that does not know it.
        branch: The branch of guidance that is read and edited.
        batch: Samples that go through the model together.
        seed: Seed of the random dictionary.
        out: Folder for the result. Activations and samples are kept there as they are measured: the
            same call goes on after them.
        cache: Whether samples are cached, or a cache that several calls share.
        progress: True for a bar, False for silence, or a callable of (label, completed, total).
        **options: Options of the model's pipeline, as in `run`.

    Returns:
        Figures of the activations, by step as well, at text sites also of the prompts' own tokens
        alone, and of the pictures: their distance from the
        unedited ones and the agreement of classifiers, beside a random dictionary of the same size,
        kind and number of active latents, and the mean of the activations at each step.

    Raises:
        DictionaryError: The dictionary is a transcoder, is for another number of units, has no
            site, or none of this name is attached.
        SiteError: The model has no such site, or nothing reads its value.
        PromptError: There is no prompt, or the model cannot take one.
        RegistryError: There is no such classifier.
    """
    if batch < 1:
        raise OptionError(f"batch is {batch}; it must be 1 or more.")
    found, address = _find_dictionary(model, dictionary, site)
    items = list(dict.fromkeys(prompt_table(prompts)["prompt"]))
    for prompt in items:
        model.check_prompt(prompt)
    if seeds is None:
        design = Design.for_items(items, seeds_per_item)
    else:
        design = Design.crossed(items, seeds)
    loaded = _load_classifiers(model, classifiers)
    given = {name: value for name, value in options.items() if value is not None}
    model.options(**given)  # unknown ones are told before anything is drawn
    task = _Task(model, found, address, design, branch, batch, seed, loaded, given)
    folder = None if out is None else Path(out)
    kept = Parts.open(folder, task.plan())
    if folder is not None and (folder / DictionaryEvaluation.figures_file).exists():
        _remove_remains(folder)
        return DictionaryEvaluation.load(folder)
    with progress_bars(progress) as report:
        result = _evaluate(task, kept, cache, report, shared_seeds=seeds is not None)
    if folder is not None:
        _publish(result, folder)
    return result


def _evaluate(
    task: _Task, kept: Parts, cache: CacheOption, report: Progress, *, shared_seeds: bool
) -> DictionaryEvaluation:
    if cache is True and kept.folder is not None:
        cache = SampleCache(kept.folder / SAMPLES)
    evaluator = Evaluator(task.model, cache, progress=report, batch=task.batch)
    measured, random = _measure_activations(task, kept, report)
    drawings = evaluator.draw(_conditions(task, measured, random), task.design)
    figures, pictures = _compare(drawings, task.classifiers)
    return DictionaryEvaluation(
        site=task.site,
        branch=task.branch,
        kind=task.dictionary.kind,
        latents=task.dictionary.latents,
        dictionary=task.dictionary.digest,
        prompts=task.design.items,
        seeds=task.design.seeds,
        activations=measured.activations,
        random=measured.random,
        tokens=measured.tokens,
        conditions=figures,
        warnings=tuple(_warnings(task, figures, shared_seeds=shared_seeds)),
        provenance=provenance_of(task.model, task.settings()),
        pictures=pictures,
    )


def _publish(result: DictionaryEvaluation, folder: Path) -> None:
    """Write the result into the folder of its parts."""
    _remove_remains(folder, SAMPLES)  # of a process that was killed here
    part = folder / PART
    result.write(part)
    # Last the file by which a finished evaluation is known.
    names = sorted(
        (path.name for path in part.iterdir()), key=lambda name: name == result.figures_file
    )
    for name in names:
        (part / name).replace(folder / name)
    _remove_remains(folder)


def _remove_remains(folder: Path, keep: str = "") -> None:
    for name in {SAMPLES, PART} - {keep}:
        shutil.rmtree(folder / name, ignore_errors=True)


@dataclass(frozen=True)
class _StepMean:
    """The mean of the activations at one step."""

    step: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class _Measured:
    """What is kept of the activations."""

    activations: ActivationFigures
    random: ActivationFigures
    means: tuple[_StepMean, ...]
    tokens: ActivationFigures | None


@dataclass(frozen=True, eq=False)
class _Task:
    """What is evaluated, and on what."""

    model: Model
    dictionary: Dictionary
    site: str
    design: Design
    branch: Branch
    batch: int
    seed: int
    classifiers: Mapping[str, Classifier]
    given: Mapping[str, Any]

    def settings(self) -> dict[str, Any]:
        """What the figures depend on besides the model, the dictionary and the samples."""
        return {
            "batch": self.batch,
            "seed": self.seed,
            "options": to_jsonable(self.model.options(**self.given)),
            "classifiers": {
                name: f"{each.source} {getattr(each, 'digest', '')}".strip()
                for name, each in self.classifiers.items()
            },
        }

    def plan(self) -> dict[str, Any]:
        """Everything that the figures depend on."""
        return {
            **model_identity(self.model),
            "dictionary": self.dictionary.digest,
            "site": self.site,
            "branch": self.branch,
            "prompts": digest("\n".join(self.design.items).encode()),
            "seeds": digest(repr(self.design.seeds).encode()),
            **self.settings(),
        }


def _find_dictionary(
    model: Model, dictionary: Dictionary | str, site: str | None
) -> tuple[Dictionary, str]:
    """The dictionary and the address of its site; DictionaryError where it cannot be evaluated."""
    if isinstance(dictionary, str):
        attached = model.dictionaries.get(dictionary)
        if attached is None:
            raise DictionaryError(
                f"No dictionary called {dictionary!r} is attached."
                f"{suggest(dictionary, model.dictionaries)}"
            )
        found = attached.dictionary
        if site is not None and model.sites[site].address != attached.base:
            raise DictionaryError(
                f"{dictionary} is attached to {attached.base}: leave the site out."
            )
        site = attached.base
    else:
        found = dictionary
    if not isinstance(found, Dictionary):
        raise DictionaryError(
            f"A {type(found).__name__} has no reconstruction: evaluate a "
            "clerestory.dictionaries.Dictionary."
        )
    if found.output_site is not None:
        raise DictionaryError(
            "The dictionary is a transcoder: it predicts the values of another site, and has no "
            "reconstruction of the one that it encodes."
        )
    base = base_of(found, "", site, model.sites.units)
    return found, _check_site(model, found, base)


def _check_site(model: Model, dictionary: Dictionary, base: str) -> str:
    """The address of the site; an error where the dictionary cannot be of its values."""
    found = model.sites[base]
    check_site(dictionary, "", found.address, model.sites.units)
    if found.affects_output is False:
        raise SiteError(f"Nothing reads the value of {found.address}: no picture depends on it.")
    return found.address


def _load_classifiers(
    model: Model, classifiers: Sequence[str | Classifier | Callable[..., Any]] | None
) -> dict[str, Classifier]:
    """Classifiers by short name."""
    chosen = tuple(model.profile.classifiers.values()) if classifiers is None else classifiers
    loaded: dict[str, Classifier] = {}
    for each in chosen:
        if isinstance(each, Classifier):
            loaded[factor_of(each.source, each)] = each
            continue
        classifier = load_classifier(each)
        loaded[factor_of(classifier_name(each), classifier)] = classifier
    return loaded


def _measure_activations(
    task: _Task, parts: Parts, report: Progress
) -> tuple[_Measured, Dictionary]:
    """Figures and means of the activations, and the random dictionary that fits them."""
    baselines: list[Dictionary] = []

    def take() -> _Measured:
        activations = read_activations(
            task.model,
            task.design,
            task.site,
            branch=task.branch,
            batch=task.batch,
            options=task.given,
            progress=report,
        )
        figures = _figures(task.dictionary, activations.rows)
        values = some_values(activations.rows, task.dictionary.latents, task.seed)
        random = matched_random(task.dictionary.to("cpu"), values, task.seed)
        random = with_fitted_length(random, values)
        baselines.append(random)
        if parts.folder is not None:
            folder = parts.folder / BASELINE
            shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed here
            random.save(folder)
        own = activations.tokens
        tokens = None if own is None else _figures(task.dictionary, own)
        means = (_StepMean(step, tuple(mean.tolist())) for step, mean in activations.means.items())
        return _Measured(figures, _figures(random, activations.rows), tuple(means), tokens)

    measured = parts.get("activations", _Measured, take)
    if not baselines:
        assert parts.folder is not None
        baselines.append(Dictionary.load(parts.folder / BASELINE))
    return measured, baselines[0]


def _figures(dictionary: Dictionary, rows: Any) -> ActivationFigures:
    return validate(ActivationFigures, measure(dictionary, rows), "figures", DictionaryError)


def _conditions(task: _Task, measured: _Measured, random: Dictionary) -> list[Condition]:
    """The conditions, with the edits that replace the values of the site."""

    def reconstruct(dictionary: Dictionary, site: str = task.site) -> Edit:
        return Reconstruct(site, dictionary, branch=task.branch)

    several = len(measured.means) > 1
    means = tuple(
        reconstruct(
            constant_dictionary(np.array(each.values)),
            f"{task.site}@{each.step}" if several else task.site,
        )
        for each in measured.means
    )
    edits = {
        UNEDITED: (),
        RECONSTRUCTION: (reconstruct(task.dictionary),),
        RANDOM: (reconstruct(random),),
        MEAN: means,
    }
    return [Condition(name, edits=each, options=task.given) for name, each in edits.items()]


def _compare(
    drawings: Sequence[Drawing], classifiers: Mapping[str, Classifier]
) -> tuple[tuple[PictureFigures, ...], dict[str, Pictures]]:
    """Figures of each condition, and the pictures of the grid."""
    unedited, mean = drawings[0], drawings[-1]
    lower = mean.distance(unedited)
    figures = []
    for drawing in drawings:
        rms = drawing.distance(unedited)
        figures.append(
            PictureFigures(
                condition=drawing.condition.name,
                rms=rms,
                # As the share of a loss that is recovered, with the mean square distance from the
                # unedited pictures as the loss, which is 0 for these.
                recovered=1 - rms**2 / lower**2 if lower > 0 else None,
                agreement={
                    name: drawing.preservation(unedited, classifier)
                    for name, classifier in classifiers.items()
                },
            )
        )
    pictures = {
        drawing.condition.name: drawing.pictures_by_item[:COLUMNS, 0] for drawing in drawings
    }
    return tuple(figures), pictures


def _warnings(
    task: _Task, figures: Sequence[PictureFigures], *, shared_seeds: bool
) -> list[EvidenceWarning]:
    warnings, design = [], task.design
    seen = prompts_trained_on(task.dictionary.metadata, design.items)
    if seen is None:
        text = (
            "The dictionary does not say which prompts it was trained on: these may be among them."
        )
        warnings.append(EvidenceWarning("seen-prompts", text))
    elif seen:
        text = (
            f"{len(seen)} of {len(design.items)} prompts are among those that the dictionary was "
            f"trained on, such as {seen[0]!r:.80}: take others."
        )
        warnings.append(EvidenceWarning("seen-prompts", text))
    pool = task.dictionary.metadata.get("pool", "none")
    if pool != "none" and not task.site.endswith(ONE_POSITION):
        text = (
            f"The dictionary was trained on the {pool} over positions, and encodes each position "
            "here: train it on a recording with pool none."
        )
        warnings.append(EvidenceWarning("other", text))
    if len(design.items) < FEWEST_ITEMS:
        text = f"Only {len(design.items)} prompts; {RECOMMENDED_ITEMS} are recommended."
        warnings.append(EvidenceWarning("few-items", text))
    if shared_seeds and len(design.items) > 1:
        text = "All prompts share their seeds: the figures are of these seeds."
        warnings.append(EvidenceWarning("shared-seeds", text))
    if figures[-1].rms == 0:
        text = "The mean ablation changes no picture, so that nothing can be recovered there."
        warnings.append(EvidenceWarning("insufficient", text))
    return warnings
