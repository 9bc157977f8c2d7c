"""The built-in studies on tiny random pipelines run to their end, and find nothing.

CI has all of them on Stable Diffusion and two each on the others; `CLERESTORY_STUDIES=all` runs
every one on every pipeline.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from studies.pipelines import PIPELINES, clip, judges, pipeline, shrunk

from clerestory.studies import Study, StudyResult, built_in_studies, run_study, write_report

BUILT_IN = [
    study.name
    for study in built_in_studies()
    if all(entry.default for entry in study.classifiers.values())
]
"""Those that can be asked of any model."""
TWO = ("mood", "stained-glass")
EVERY = [(of, name) for of in PIPELINES for name in BUILT_IN]
SOME = [(of, name) for of, name in EVERY if of == "sd" or name in TWO]
TRUE_OF_ANY = {("unknown-name", "familiarity.name")}
"""A model that knows nobody does not know this name either."""


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("eye") / "clip")


def found_nothing(result: StudyResult, out: Path) -> None:
    """No claim is supported that is not true of any model, and nothing is steered."""
    supported = {
        (result.study.name, key)
        for key in result.study.headline
        for claim in result.tasks[key].result.claims
        if claim.status == "supported"
    }
    assert supported <= TRUE_OF_ANY, result.answer()
    assert result.status != "supported"
    assert not (out / "steered").exists()
    assert write_report(result).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("of", "name"), EVERY if os.environ.get("CLERESTORY_STUDIES") else SOME)
def test_a_study_of_a_random_pipeline_runs_to_its_end_and_finds_nothing(
    of: str, name: str, eye: Path, tmp_path: Path
) -> None:
    study = shrunk(Study.load(name, "quick"))
    out = tmp_path / "out"
    result = run_study(study, pipeline(of), out, classifiers=judges(study, eye))
    found_nothing(result, out)
    again = run_study(study, pipeline(of), out, classifiers=judges(study, eye))
    assert all(run.reused or run.skip_reason for run in again.tasks.values())
    assert again.answer() == result.answer()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("of", PIPELINES)
def test_a_steered_model_is_built_on_every_pipeline_where_nothing_is_required_before(
    of: str, eye: Path, tmp_path: Path
) -> None:
    study = shrunk(Study.load("stained-glass", "quick"))
    keys = ("record.styles", "find.glass", "build.glass", "show.glass")
    plan = {key: study.plan[key] for key in keys}
    plan["record.styles"] = plan["record.styles"].model_copy(update={"sites": ("text.*/mlp",)})
    for key in ("build.glass", "show.glass"):
        plan[key] = plan[key].model_copy(update={"requires_support": ()})
    opened = study.model_copy(update={"plan": plan, "headline": ("find.glass", "build.glass")})
    result = run_study(opened, pipeline(of), tmp_path / "out", classifiers=judges(study, eye))
    found_nothing(result, tmp_path / "out")
    built = result.tasks["build.glass"].result
    assert built.steered_model and not built.failure and built.claims[0].status != "supported"
    (block,) = result.tasks["show.glass"].result.pictures
    assert len(block.rows) >= 2 and all(len(files) == 2 for _, files in block.rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["mood", pytest.param("perspective", marks=pytest.mark.exhaustive)]
)
def test_classifiers_that_guess_sort_the_pictures_into_groups_that_share_nothing(
    name: str, tmp_path: Path
) -> None:
    study = shrunk(Study.load(name, "quick"), sample=200)
    guess = f"python:studies.guesses:{name}"
    given = {"mood": guess} if name == "mood" else {"view": guess}
    result = run_study(study, pipeline("sd"), tmp_path / "out", classifiers=given)
    found_nothing(result, tmp_path / "out")
    group = result.tasks[next(key for key in result.tasks if key.startswith("group"))]
    assert not group.result.failure and group.result.pictures and group.result.tables
