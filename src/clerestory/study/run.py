"""The thin line: read, find, choose a strength, draw, judge, write."""

from __future__ import annotations

import platform
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from clerestory.classifying import classifier
from clerestory.finding import Findings, contrast, halves
from clerestory.models import Model
from clerestory.outputs import whole_folder
from clerestory.steering import Add, SteeredModel
from clerestory.study import report
from clerestory.study.controlling import Controls, Gallery, Progress, Tuning, controls, tune
from clerestory.study.definition import Definition
from clerestory.study.judging import Known, Lookup, Panel, known
from clerestory.study.plan import plan, readings
from clerestory.study.results import Results, answer, headline, verdict

__all__ = ["run", "write"]

LIBRARIES = ("clerestory", "torch", "diffusers", "transformers", "numpy", "scipy")


def run(
    study: Definition,
    model: Model,
    folder: Path,
    *,
    progress: Progress | None = None,
    lookup: Lookup | None = None,
) -> Results:
    """Answer a study's question and write the folder; OutputError if it holds something already.

    `progress` is told (what, done, of). `lookup` finds classifiers by name and set, by default
    among the registered ones.
    """
    with whole_folder(folder) as part:
        return _answered(study, model, part, progress, lookup)


def _answered(
    study: Definition, model: Model, folder: Path, progress: Progress | None, lookup: Lookup | None
) -> Results:
    counted = plan(study, model)
    look = lookup or (lambda name, which: classifier(name, which=which))
    tuning_panel, panel = (Panel.open(study, which, look) for which in ("a", "b"))
    clock, tell = _Clock(), progress or (lambda what, done, of: None)
    samples = readings(study)
    with clock("reading"):
        activations = _read(study, model, samples, tell)
    with clock("finding"):
        found = contrast(activations, samples, progress=lambda n, of: tell("finding", n, of))
    edit = Add(study.edit.site, found.direction(study.edit.site))
    with clock("tuning"):
        tuning = tune(study, model, edit, tuning_panel, tell)
    chosen = edit.times(tuning.strength)
    differences = halves(samples).discovery.sides(activations[edit.site]).differences
    with clock("drawing"):
        came, gallery = controls(study, model, chosen, differences, found, panel, tell)
    about = {**_about(study, model), "plan": asdict(counted), "seconds": clock.seconds}
    results = _results(study, found, tuning, came, _known(panel), about)
    write(results, gallery, model, chosen, folder)
    return results


def _read(
    study: Definition, model: Model, samples: pd.DataFrame, tell: Progress
) -> dict[str, NDArray[np.float32]]:
    """Activations `[sample, unit]` by site: positions pooled, steps averaged."""
    prompts = list(dict.fromkeys(samples["prompt"]))
    came = model.run(
        prompts,
        study.read.seeds,
        read=study.read.sites,
        pool=study.read.pool,
        pictures=False,
        batch=32,
        progress=lambda done, of: tell("reading", done, of),
    )
    assert list(came.samples["prompt"]) == list(samples["prompt"])
    arrays = came.activations.items()
    return {site: array.mean("step").to_numpy().astype(np.float32) for site, array in arrays}


def _results(
    study: Definition,
    found: Findings,
    tuning: Tuning,
    came: Controls,
    classifiers: dict[str, Known],
    about: dict[str, Any],
) -> Results:
    detects = found.picked("direction", study.edit.site).detects
    said = verdict(detects, came)
    return Results(
        study=study,
        verdict=said,
        answer=answer(study, said, detects, came),
        headline=headline(detects, came),
        findings=found,
        tuning=tuning,
        controls=came,
        classifiers=classifiers,
        about=about,
    )


def write(results: Results, gallery: Gallery, model: Model, edit: Add, folder: Path) -> None:
    """Write the findings, the figures, the report and, unless nothing was found, the model."""
    results.findings.save(folder / "findings")
    if results.verdict != "not found":
        provenance = {
            "study": results.study.name,
            "finding": results.findings.picked("direction", edit.site).unit,
            "headline": dict(results.headline),
        }
        SteeredModel(model, [edit], provenance=provenance).save(folder / "steered")
    (folder / "results.json").write_text(results.json())
    (folder / "report.html").write_text(report.page(results, gallery), encoding="utf-8")


def _known(panel: Panel) -> dict[str, Known]:
    """What is known of the reporting classifiers' own error."""
    style = panel.study.classifiers.style.shows
    judges = {"style": panel.style, "subject": panel.subject, "object": panel.object}
    return {name: known(judge, style) for name, judge in judges.items()}


def _about(study: Definition, model: Model) -> dict[str, Any]:
    """What the figures depend on besides the study's file."""
    words = ["clerestory", "study", "run", study.file or study.name, "--model", model.name]
    return {
        "model": model.name,
        "revision": model.revision,
        "options": asdict(model.defaults),
        "versions": {name: metadata.version(name) for name in LIBRARIES},
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "command": shlex.join(words) + " --out DIR",
    }


class _Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[what] = round(time.perf_counter() - start, 1)
