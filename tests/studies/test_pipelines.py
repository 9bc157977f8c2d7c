"""The built-in studies on tiny random pipelines run to their end, and find nothing.

CI has all of them on Stable Diffusion and two each on the others; `CLERESTORY_STUDIES=all` runs
every one on every pipeline.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from studies.pipelines import PIPELINES, clip, judges, pipeline, shrunk

from clerestory.studies import Ran, Study, answer, run, verdict, write
from clerestory.studies.schema import FOLDER

BUILT_IN = sorted(path.stem for path in FOLDER.glob("*.toml"))
TWO = ("mood", "stained-glass")
EVERY = [(of, name) for of in PIPELINES for name in BUILT_IN]
SOME = [(of, name) for of, name in EVERY if of == "sd" or name in TWO]
MAY_HOLD = {("unknown-name", "familiarity.name")}
"""A model that knows nobody does not know this name either."""


@pytest.fixture(scope="module")
def eye(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip(tmp_path_factory.mktemp("eye") / "clip")


def found_nothing(ran: Ran, out: Path) -> None:
    """No claim of the headline holds that is not true of any model, and nothing is steered."""
    holds = {
        (ran.study.name, key)
        for key in ran.study.headline
        for claim in ran.done[key].came.claims
        if claim.holds is not False
    }
    assert holds <= MAY_HOLD, answer(ran)
    assert verdict(ran) == ("undecided" if holds else "not found")
    assert not (out / "steered").exists()
    assert write(ran).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(("of", "name"), EVERY if os.environ.get("CLERESTORY_STUDIES") else SOME)
def test_a_study_of_a_random_pipeline_runs_to_its_end_and_finds_nothing(
    of: str, name: str, eye: Path, tmp_path: Path
) -> None:
    study = shrunk(Study.load(name, "quick"))
    out = tmp_path / "out"
    came = run(study, pipeline(of), out, classifiers=judges(study, eye))
    found_nothing(came, out)
    again = run(study, pipeline(of), out, classifiers=judges(study, eye))
    assert all(done.kept or done.gate for done in again.done.values())
    assert answer(again) == answer(came)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("of", PIPELINES)
def test_a_steered_model_is_tried_on_every_pipeline_where_no_gate_is_before_it(
    of: str, eye: Path, tmp_path: Path
) -> None:
    study = shrunk(Study.load("stained-glass", "quick"))
    keys = ("record.styles", "find.glass", "build.glass", "show.glass")
    plan = {key: study.plan[key] for key in keys}
    plan["record.styles"] = plan["record.styles"].model_copy(update={"sites": ("text.*/mlp",)})
    for key in ("build.glass", "show.glass"):
        plan[key] = plan[key].model_copy(update={"only_if": ()})
    opened = study.model_copy(update={"plan": plan, "headline": ("find.glass", "build.glass")})
    came = run(opened, pipeline(of), tmp_path / "out", classifiers=judges(study, eye))
    found_nothing(came, tmp_path / "out")
    built = came.done["build.glass"].came
    assert built.steered and not built.refused and built.claims[0].holds is False
    (strip,) = came.done["show.glass"].came.strips
    assert len(strip.rows) >= 2 and all(len(files) == 2 for _, files in strip.rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mood", "perspective"])
def test_eyes_that_guess_sort_the_pictures_into_groups_that_share_nothing(
    name: str, tmp_path: Path
) -> None:
    study = shrunk(Study.load(name, "quick"), sample=200)
    guess = f"python:studies.eyes:{name}"
    given = {"mood": guess} if name == "mood" else {"view": guess}
    came = run(study, pipeline("sd"), tmp_path / "out", classifiers=given)
    found_nothing(came, tmp_path / "out")
    group = came.done[next(key for key in came.done if key.startswith("group"))]
    assert not group.came.refused and group.came.strips and group.came.tables
