from __future__ import annotations

from pathlib import Path

import pytest
from studies.fakes import Fake, fake_study
from studies.pipelines import clip, judges, pipeline
from tiny import tiny_model

from clerestory.errors import SiteError, TableError
from clerestory.studies import Forecast, Study, built_in_studies, forecast, run_study
from clerestory.studies.tasks import Cost, Task
from clerestory.studies.tasks.record import Record

# At a glance is of Lancet alone: its classifiers have no default for other models.
BUILT_IN = [study.name for study in built_in_studies() if study.name != "at-a-glance"]
PLAN: dict[str, Task] = {"fake.a": Fake(), "fake.b": Fake()}


def test_a_cost_in_seconds_is_measured_or_estimated_from_counts() -> None:
    costs = {
        "a": Cost(pictures=10, read=4, text=100, disk=7),
        "b": Cost(pictures=1000, seconds=5.0, disk=3),
    }
    found = Forecast(
        costs, seconds_per_picture=2.0, seconds_per_read=0.5, seconds_per_text=0.01, memory=1
    )
    assert found.seconds(costs["a"]) == 20 + 2 + 1
    assert found.seconds(costs["b"]) == 5
    content = found.to_dict()
    assert (content["seconds"], content["pictures"], content["prompts_read"]) == (28.0, 1010, 104)
    assert (content["disk"], content["memory"]) == (10, 1)
    assert [one["seconds"] for one in content["tasks"].values()] == [23.0, 5.0]


def test_a_study_that_cannot_run_on_a_model_is_an_error() -> None:
    prompts = {"templates": ["{x}"], "levels": {"x": {"cat": "a cat"}}}
    record = Record.model_validate({"prompts": prompts, "sites": ["nowhere.*/mlp"]})
    with pytest.raises(SiteError, match=r"None of the study's sites"):
        forecast(fake_study({"record.r": record, **PLAN}), tiny_model())
    unseen = fake_study({"fake.a": Fake(classifier="light", label="purple")})
    with pytest.raises(TableError, match="no class 'purple'"):
        forecast(unseen, tiny_model())


@pytest.mark.slow
def test_every_built_in_study_can_be_forecast_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye = clip(tmp_path / "clip")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in BUILT_IN:
        chosen = Study.load(name, "quick")
        found = forecast(chosen, pipeline("sd"), judges(chosen, eye))
        assert list(found.costs) == list(chosen.plan)
        assert (
            found.total.pictures > 100
            and 0 < found.to_dict()["seconds"] < 3600
            and found.memory > 0
        )
    assert not list((tmp_path / "here").iterdir())


def test_what_is_left_out_is_known_before_anything_runs(tmp_path: Path) -> None:
    plan: dict[str, Task] = {
        "fake.a": Fake(),
        "fake.b": Fake(classifier="light", label="purple", skip_without_label=True),
    }
    found = forecast(fake_study(plan), tiny_model())
    assert list(found.costs) == ["fake.a"] and list(found.unavailable_tasks) == ["fake.b"]
    assert "no class 'purple'" in found.to_dict()["left_out"]["fake.b"]
    lines: list[str] = []
    run_study(fake_study(plan), tiny_model(), tmp_path / "out", announce=lines.append)
    assert lines[0].startswith("fake.b will be left out: ") and "no class 'purple'" in lines[0]
