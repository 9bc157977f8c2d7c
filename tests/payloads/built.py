"""Every page but the microscope's, built with payloads wherever a text from outside may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from helpers import planted_cause
from studies.fakes import Fake, run_fake

from clerestory.attribution.results import (
    Attribution,
    Estimate,
    Interaction,
    PatchEffect,
    Share,
    Split,
)
from clerestory.attribution.synergy import SynergyTest, UnitSynergy
from clerestory.causal import EffectMap, GraphEdge, GraphNode, TraceResult
from clerestory.classifiers.check_page import render_page as check_page
from clerestory.contrasts import group
from clerestory.contrasts.group_page import page as group_page
from clerestory.evaluation import Rate
from clerestory.evaluation.side_effects import ClassChange, SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.maximization.gallery import write_gallery
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt, PoolScores
from clerestory.recognition import (
    ContextEffect,
    ContextResult,
    Controls,
    FamiliarityResult,
    Power,
)
from clerestory.recordings import record
from clerestory.reporting.results import Provenance
from clerestory.studies.report import render_report
from clerestory.studies.tasks import Claim, PictureRows, Table
from clerestory.suppression import MethodResult, Score, SuppressionResult
from payloads.payloads import ALL, PAYLOADS

__all__ = ["PAGES", "classes_of"]


WARNINGS = tuple(EvidenceWarning("other", text) for text in PAYLOADS)


def gallery(folder: Path) -> Path:
    """Of a search: prompts, words, the objective."""
    scores = np.linspace(0.0, 1.0, 8)
    best = tuple(
        MaximizedPrompt(text, text, 1.0, 1.0, 1.0, 99.0, 0.0, 1, ((text, 0.5), ("", 0.1)))
        for text in PAYLOADS
    )
    found = MaximizationResult(
        objective=ALL,
        search=ALL,
        evaluations=8,
        budget=8,
        stopped=False,
        status="undecided",
        p=1.0,
        q=1.0,
        units=1,
        best=best,
        front=(),
        pool=PoolScores(scores),
        trail=pd.DataFrame({"prompt": "a", "score": scores, "evaluations": range(1, 9)}),
        samples=pd.DataFrame(),
        diagnostics={},
        provenance=Provenance("0", ALL),
        pictures=np.zeros((len(best), 1, 4, 4, 3), np.uint8),
    )
    return write_gallery(found, folder)


def familiarity(folder: Path) -> Path:
    """Of a name: the phrase, contexts, controls, classifiers and their classes, the model."""
    familiarity_result().write(folder)
    return folder / "familiarity.html"


def familiarity_result() -> FamiliarityResult:
    """A measured name with payloads for every text."""
    pictures = np.zeros((len(PAYLOADS), 4, 4, 3), np.uint8)
    contexts = {
        text: ContextResult(
            1.0, (ContextEffect(text, text, Rate(0.5, 0.4, 0.6, 9), 0.1, 0.01, 0.2),)
        )
        for text in PAYLOADS
    }
    ones = (1.0,) * len(PAYLOADS)
    return FamiliarityResult(
        phrase=ALL,
        verdict="not shown to be familiar",
        p=0.5,
        distance=1.0,
        consistency=0.5,
        contexts=contexts,
        controls=Controls(PAYLOADS, ones, ones, 1),
        power=Power(PAYLOADS, ones, 0, 0.0, (0.0, 0.5)),
        classifiers=dict.fromkeys(PAYLOADS, 0.9),
        embedding=ALL,
        seeds=(0,),
        seeds_per_item=1,
        provenance=Provenance(ALL, ALL),
        pictures=dict.fromkeys((ALL, *PAYLOADS[:2]), pictures),
    )


def suppression(folder: Path) -> Path:
    """Of a comparison of methods: the prompt, classes, methods, settings, warnings, sites."""
    suppression_result().save(folder / "out")
    return folder / "out" / "suppression.html"


def suppression_result() -> SuppressionResult:
    """A comparison of suppression methods with payloads for every text."""
    effects: dict[str, Any] = {
        "preservation": 0.9,
        "reduction": 0.8,
        "reduction_low": 0.7,
        "reduction_high": 0.9,
        "named_preservation": 0.9,
        "changed": 0.1,
        "distance": 0.1,
        "rates": {ALL: 0.5},
    }
    score = Score(unwanted=0.5, preserved=0.5, objective=1.0, certainty=1.0, **effects)
    methods = tuple(
        MethodResult(
            name=text,
            setting=text,
            has_edits=True,
            status="undecided",
            side_effects=SideEffects(
                (ClassChange(text, text, 0.1, 0.0, 0.2, 0.2, 0.5),), 0.2, 0.11, 24, 96
            ),
            frechet=None,
            unwanted_before=1.0,
            unwanted_after=0.5,
            ua=0.5,
            ira=1.0,
            cra=1.0,
            selection=score,
            **effects,
        )
        for text in PAYLOADS
    )
    pictures = np.zeros((2, 1, 4, 4, 3), np.uint8)
    return SuppressionResult(
        prompt=ALL,
        unwanted=PAYLOADS,
        preserved=PAYLOADS,
        paraphrases=2,
        seeds=((0,), (1,)),
        before=score,
        control=score,
        methods=methods,
        recommended=PAYLOADS[0],
        steered_by=PAYLOADS[1],
        edited_site=ALL,
        other_sites=PAYLOADS,
        warnings=WARNINGS,
        provenance=Provenance(ALL, ALL),
        pictures=dict.fromkeys(("before", "control", *PAYLOADS), pictures),
    )


def attribution(folder: Path) -> Path:
    """Of a prompt: pieces, baselines, targets, tokens, layers, units."""
    attribution_result().write(folder)
    return folder / "attribution.html"


def attribution_result() -> Attribution:
    """An attribution with payloads for every text."""
    thirds = tuple(" ".join(PAYLOADS[at::3]) for at in range(3))
    split = _split(thirds)
    return Attribution(
        prompt=ALL,
        pieces=thirds,
        baselines=thirds,
        removal=("baseline", "delete"),
        paraphrases=20,
        seeds=((0,), (1,)),
        of={ALL: split, "of": split},
        activations=(ALL,),
        alternatives={"delete": {ALL: split, "of": split}},
        path={text: {"text.blocks.0/mlp": _split(PAYLOADS)} for text in (ALL, '\\"+(1)+"\n')},
        synergy=SynergyTest(
            9, 1, 0, 9, tuple(UnitSynergy(text, 1.0, 1.0, 0.1) for text in PAYLOADS)
        ),
        patching=tuple(
            PatchEffect(ALL, f"{stage}.blocks.0/resid", text, position, 0.5, 0.4, 0.6)
            for stage in ("text", ALL.replace(".", ""))
            for position, text in enumerate(PAYLOADS)
        ),
        warnings=WARNINGS,
        coalition_prompts=(ALL,) * 8,
        pictures={
            "coalitions": np.zeros((8, 1, 4, 4, 3), np.uint8),
            f"{ALL}/out": np.zeros((1, 4, 4, 3), np.uint8),
        },
    )


def _split(pieces: tuple[str, ...]) -> Split:
    single = tuple(Share(0.5, 0.4, 0.6, piece=piece, removal_sensitive=True) for piece in pieces)
    pair = (Interaction(0.5, 0.4, 0.6, pieces=pieces[:2]),)  # type: ignore[arg-type]
    total = Estimate(1.0, 0.9, 1.1)
    values = tuple(np.linspace(0, 1, 8))
    return Split(single, pair, 0.0, 0.0, single, total, total, values, 12, "binomial")


def causal_graph(folder: Path) -> Path:
    """Of a causal graph: prompts, addresses, the objective, maps, warnings."""
    causal_graph_result().save(folder / "out")
    return folder / "out" / "trace.html"


def causal_graph_result() -> TraceResult:
    """A traced path with payloads for every text."""
    figures = (0.5, 0.4, 0.6, 0.5, 0.01)
    ends = GraphNode("prompt", "prompt", *figures), GraphNode(ALL, "objective", *figures)
    parts = tuple(GraphNode(text, "head", *figures) for text in PAYLOADS)
    grid = ((0.5,) * len(PAYLOADS),)
    return TraceResult(
        objective=ALL,
        clean_prompts=PAYLOADS,
        corrupted_prompts=PAYLOADS,
        replicates="pairs",
        selection=12,
        evaluation=12,
        clean=0.0,
        total=1.0,
        total_interval=(0.9, 1.1),
        faithfulness=0.9,
        faithfulness_interval=(0.85, 0.95),
        completeness=0.1,
        completeness_interval=(0.0, 0.2),
        leak=0.0,
        selection_faithfulness=0.9,
        random_faithfulness=(0.0, 0.1),
        target=0.8,
        candidates=len(parts),
        nodes=(ends[0], *parts, ends[1]),
        edges=tuple(GraphEdge(text, ALL, *figures) for text in PAYLOADS),
        maps=(EffectMap(ALL, (ALL,), PAYLOADS, grid, grid, grid),),
        warnings=WARNINGS,
        provenance=Provenance(ALL, ALL),
    )


def groups(folder: Path) -> Path:
    """Of a recording: its prompts, the classifier, its classes, columns, warnings."""
    # A prompt with a NUL is refused before it can be recorded.
    texts = [text.replace("\0", "") for text in 2 * PAYLOADS]
    prompts = pd.DataFrame(
        [
            (f"{text} {at} a {words} day w{at}", f"{text} {at}")
            for at, text in enumerate(texts)
            for words in ("glass", "clay")
        ],
        columns=["prompt", "item"],
    )
    recording = record(
        planted_cause.model(), prompts, 0, sites=["text.blocks.0/mlp"], out=folder / "recording"
    )
    found = group(recording, classifier="python:helpers.planted_cause:light", control="item")
    named = {name: f"{name} {ALL}" for name in found.groups}
    parts = {
        named[name]: replace(
            one,
            units=tuple(
                replace(
                    unit,
                    auroc_against={named[n]: v for n, v in unit.auroc_against.items()},
                )
                for unit in one.units
            ),
        )
        for name, one in found.groups.items()
    }
    hostile = replace(
        found,
        classifier=ALL,
        groups=parts,
        controlled=PAYLOADS,
        warnings=WARNINGS,
        samples=found.samples.assign(
            group=found.samples["group"].map(lambda name: named.get(name, name))
        ),
    )
    path = folder / "report.html"
    path.write_text(group_page(hostile, recording), "utf-8")
    return path


def classes_of(folder: Path, classes: tuple[str, ...]) -> Path:
    """The page that marks a picture as one of these classes."""
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "a.png").write_bytes(b"")
    path = folder / "page.html"
    path.write_text(check_page(ALL, classes, "?", [(0, "pictures/a.png", "")]), "utf-8")
    return path


def check(folder: Path) -> Path:
    """Of a classifier: its name and its classes."""
    return classes_of(folder, PAYLOADS[:35])


def report(folder: Path) -> Path:
    """Of a study: question, prompts, captions, claims, tables, classifiers, warnings, model."""
    result = run_fake({"fake.a": Fake(pictures=3), "fake.b": Fake()}, folder / "study")
    files = tuple(f"pictures/{at}.png" for at in range(3))
    thirds = tuple(" ".join(PAYLOADS[at::3]) for at in range(3))
    one = replace(
        result.tasks["fake.a"].result,
        claims=tuple(Claim(text, text, "supported", text, 0.5, 0.25, 0.75) for text in PAYLOADS),
        tables=(Table(ALL, thirds, (thirds,), (0,)),),
        pictures=(
            PictureRows(ALL, (("", files),), thirds),
            PictureRows(ALL, ((thirds[0], files), (thirds[1], files)), thirds),
        ),
        warnings=WARNINGS,
    )
    runs = {
        "fake.a": replace(result.tasks["fake.a"], result=one),
        "fake.b": replace(result.tasks["fake.b"], skip_reason=ALL),
    }
    study = result.study.model_copy(update={"name": ALL, "question": ALL, "headline": ("fake.a",)})
    options = {**result.provenance.options, "revision": ALL}
    provenance = replace(result.provenance, model=ALL, options=options)
    classifiers = {"light": ALL, "tint": ALL}
    named = replace(result, study=study, provenance=provenance, classifiers=classifiers, tasks=runs)
    content = named.to_dict()
    for task in content["tasks"].values():
        task["method"] = ALL
    path = folder / "report.html"
    path.write_text(render_report(named, content), "utf-8")
    return path


Build = Callable[[Path], Path]
PAGES: dict[str, Build] = {
    "attribution/pages/attribution.html": attribution,
    "causal/pages/trace.html": causal_graph,
    "classifiers/pages/check.html": check,
    "maximization/pages/gallery.html": gallery,
    "contrasts/pages/groups.html": groups,
    "recognition/pages/familiarity.html": familiarity,
    "studies/pages/report.html": report,
    "suppression/pages/suppression.html": suppression,
}
"""By template, what builds its page with payloads in it; the page's path."""
