from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies.fakes import LOG, Fake, Fresh, fake_study, run_fake, run_keys, stub_model

from clerestory.errors import ClerestoryError, OutputError, TableError
from clerestory.models.profile import ModelProfile
from clerestory.studies import runner as running
from clerestory.studies import write_report
from clerestory.studies.schema import StudyClassifier
from clerestory.studies.tasks import Task

CHAIN: dict[str, Task] = {
    "fake.a": Fake(),
    "fake.b": Fake(after=("fake.a",)),
    "fake.c": Fake(after=("fake.b",)),
    "fake.d": Fake(),
}


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that only tasks move, and nothing to stop them."""
    monkeypatch.setattr(running, "time", LOG)
    LOG.stops.clear()
    yield
    assert not LOG.stops, "a task was to be stopped and was not run"


def test_a_second_run_reuses_every_task_with_its_seconds(tmp_path: Path) -> None:
    assert run_keys(CHAIN, tmp_path) == list(CHAIN)
    assert run_keys(CHAIN, tmp_path) == []
    kept = run_fake(CHAIN, tmp_path).tasks
    assert all(done.reused and done.seconds == 1.0 for done in kept.values())
    assert kept["fake.a"].result.claims[0].figure == 0.5


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("fake.a", ["fake.a", "fake.b", "fake.c"]),
        ("fake.b", ["fake.b", "fake.c"]),
        ("fake.c", ["fake.c"]),
        ("fake.d", ["fake.d"]),
    ],
)
def test_a_changed_task_is_run_again_with_those_that_need_it_and_no_others(
    changed: str, again: list[str], tmp_path: Path
) -> None:
    run_keys(CHAIN, tmp_path)
    other = CHAIN[changed].model_copy(update={"text": "It is another"})
    assert run_keys({**CHAIN, changed: other}, tmp_path) == again


def test_another_model_or_revision_is_another_result(tmp_path: Path) -> None:
    run_keys(CHAIN, tmp_path)
    assert run_keys(CHAIN, tmp_path, model=stub_model("stub", "2")) == list(CHAIN)
    assert run_keys(CHAIN, tmp_path, model=stub_model("other", "2")) == list(CHAIN)


def test_another_classifier_or_name_of_a_label_runs_the_tasks_again_that_use_it(
    tmp_path: Path,
) -> None:
    plan: dict[str, Task] = {
        "fake.a": Fake(),
        "fake.b": Fake(classifier="light", label="dark"),
        "fake.c": Fake(after=("fake.b",)),
    }
    run_keys(plan, tmp_path)
    renamed = StudyClassifier(default="colour:light", labels={"dark": "light"})
    assert run_keys(plan, tmp_path, classifiers={"light": renamed}) == ["fake.b", "fake.c"]
    looks = {**plan, "fake.b": Fake(classifier="light")}
    run_keys(looks, tmp_path)
    assert run_keys(looks, tmp_path, given={"light": "colour:tint"}) == ["fake.b", "fake.c"]


def test_a_stopped_task_resumes_and_its_seconds_add_up(tmp_path: Path) -> None:
    plan: dict[str, Task] = {"fake.a": Fake(), "fake.b": Fake(seconds=5.0), "fake.c": Fake()}
    LOG.stops.add("fake.b")
    with pytest.raises(KeyboardInterrupt):
        run_fake(plan, tmp_path)
    assert not (tmp_path / "tasks" / "fake.b").exists()
    assert run_keys(plan, tmp_path) == ["fake.b", "fake.c"]
    assert "half" in LOG.found[0] and LOG.found[1] == []
    assert run_fake(plan, tmp_path).tasks["fake.b"].seconds == 10.0
    assert sorted(one.name for one in (tmp_path / "tasks").iterdir()) == list(plan)


def test_a_task_that_cannot_resume_starts_again_in_an_empty_folder(tmp_path: Path) -> None:
    LOG.stops.add("fake.b")
    plan: dict[str, Task] = {"fake.a": Fake(), "fake.b": Fresh()}
    with pytest.raises(KeyboardInterrupt):
        run_fake(plan, tmp_path)
    assert run_keys(plan, tmp_path) == ["fake.b"] and LOG.found == [[]]


def test_what_a_stopped_task_left_is_not_used_by_a_changed_one(tmp_path: Path) -> None:
    LOG.stops.add("fake.a")
    with pytest.raises(KeyboardInterrupt):
        run_fake({"fake.a": Fake()}, tmp_path)
    assert run_keys({"fake.a": Fake(text="Changed")}, tmp_path) == ["fake.a"] and LOG.found == [[]]
    assert [one.name for one in (tmp_path / "tasks").iterdir()] == ["fake.a"]


def test_pictures_of_a_stopped_task_are_removed(tmp_path: Path) -> None:
    LOG.stops.add("fake.a")
    with pytest.raises(KeyboardInterrupt):
        run_fake({"fake.a": Fake(pictures=2)}, tmp_path)
    (part,) = (tmp_path / "tasks").iterdir()
    (part / "pictures").mkdir()
    (part / "pictures" / "7.png").touch()
    run_fake({"fake.a": Fake(pictures=2)}, tmp_path)
    made = sorted(one.name for one in (tmp_path / "tasks/fake.a/pictures").iterdir())
    assert made == ["0.png", "1.png"]


@pytest.mark.parametrize("outcomes", [(False,), (None,), (True, False), (True, None)])
def test_a_task_that_requires_support_runs_only_where_every_claim_is_supported(
    outcomes: tuple[bool | None, ...], tmp_path: Path
) -> None:
    plan: dict[str, Task] = {
        "fake.a": Fake(outcomes=outcomes),
        "fake.b": Fake(requires_support=("fake.a",)),
    }
    said: list[str] = []
    assert run_keys(plan, tmp_path, announce=said.append) == ["fake.a"]
    assert said[-1] == "[2 of 2] fake.b: skipped, since not every claim of fake.a is supported."
    result = run_fake(plan, tmp_path)
    assert result.tasks["fake.b"].skip_reason == "not every claim of fake.a is supported"
    assert result.status == "undecided"
    opened = {**plan, "fake.a": Fake(outcomes=(True, True))}
    assert run_keys(opened, tmp_path) == ["fake.a", "fake.b"]


def test_a_task_without_evidence_claims_nothing_and_those_that_need_it_are_skipped(
    tmp_path: Path,
) -> None:
    plan = {**CHAIN, "fake.a": Fake(failure="Too few prompts.", steers=True)}
    assert run_keys(plan, tmp_path) == ["fake.a", "fake.d"]
    result = run_fake(plan, tmp_path, headline=("fake.a", "fake.c"))
    assert result.tasks["fake.a"].result.failure == "Too few prompts."
    (claim,) = result.tasks["fake.a"].result.claims
    assert (claim.text, claim.status) == ("There is no evidence: Too few prompts.", "undecided")
    assert result.tasks["fake.b"].skip_reason == "fake.a has no result"
    assert result.tasks["fake.c"].skip_reason == "fake.b has no result"
    assert result.status == "undecided"
    assert not (tmp_path / "steered").exists()


def test_an_unknown_label_is_an_error_before_anything_is_run(tmp_path: Path) -> None:
    plan: dict[str, Task] = {"fake.a": Fake(), "fake.b": Fake(classifier="light", label="darc")}
    LOG.ran.clear()
    with pytest.raises(TableError, match=r"fake.b: colour:light has no class 'darc'.*dark"):
        run_fake(plan, tmp_path / "out")
    assert not LOG.ran and not (tmp_path / "out").exists()


def test_a_task_can_be_skipped_where_the_classifier_has_no_such_label(
    tmp_path: Path,
) -> None:
    unseen = Fake(classifier="light", label="zebra stripes", skip_without_label=True)
    plan: dict[str, Task] = {"fake.a": Fake(), "fake.b": unseen}
    assert run_keys(plan, tmp_path) == ["fake.a"]
    assert "no class 'zebra stripes'" in run_fake(plan, tmp_path).tasks["fake.b"].skip_reason
    assert run_keys(
        {**plan, "fake.b": Fake(classifier="light", label="dark", skip_without_label=True)},
        tmp_path,
    ) == ["fake.b"]


def test_a_steered_model_is_published_only_where_all_claims_are_supported(
    tmp_path: Path,
) -> None:
    plan: dict[str, Task] = {
        "fake.good": Fake(steers=True),
        "fake.bad": Fake(steers=True, outcomes=(True, False)),
        "fake.open": Fake(steers=True, outcomes=(None,)),
    }
    run_fake(plan, tmp_path)
    assert [one.name for one in (tmp_path / "steered").iterdir()] == ["fake.good"]
    assert (tmp_path / "steered" / "fake.good" / "steering.json").read_text() == "{}"
    run_fake({**plan, "fake.good": Fake(steers=True, outcomes=(False,))}, tmp_path)
    assert not (tmp_path / "steered").exists()


def test_a_folder_of_something_else_is_failure_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="holds something else"):
        run_fake(CHAIN, tmp_path)
    with pytest.raises(OutputError, match="holds something else"):
        run_fake(CHAIN, tmp_path / "mine")
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("given", [{"lihgt": "colour:light"}, {"light": "colour:none"}])
def test_an_unknown_classifier_is_failure_before_anything_is_run(
    given: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ClerestoryError, match="light"):
        run_fake({"fake.a": Fake(classifier="light", label="dark")}, tmp_path / "out", given=given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["result.json", "seconds"])
def test_an_altered_result_is_an_error_that_names_the_file(name: str, tmp_path: Path) -> None:
    run_fake(CHAIN, tmp_path)
    (tmp_path / "tasks" / "fake.b" / name).write_text("altered")
    with pytest.raises(ClerestoryError, match=rf"fake.b/{name}"):
        run_fake(CHAIN, tmp_path)
    shutil.rmtree(tmp_path / "tasks" / "fake.b")
    assert run_keys(CHAIN, tmp_path) == ["fake.b"]


def test_a_result_cannot_bring_files_from_elsewhere_into_the_report(tmp_path: Path) -> None:
    plan: dict[str, Task] = {"fake.a": Fake(pictures=1, steers=True)}
    (tmp_path / "secret").write_text("secret")
    out = tmp_path / "out"
    run_fake(plan, out)
    kept = out / "tasks" / "fake.a" / "result.json"
    # Without its digest, as somebody would send it who changed it.
    fields = json.loads(kept.read_text())
    del fields["digest"]
    text = json.dumps(fields)
    kept.write_text(text.replace("pictures/0.png", "../../../secret"))
    with pytest.raises(TableError, match="not a path in its folder"):
        write_report(run_fake(plan, out))
    kept.write_text(text.replace('"steered_model": "steered"', '"steered_model": "../../.."'))
    with pytest.raises(TableError, match="not a path in its folder"):
        run_fake(plan, out)


def test_every_task_has_a_digest_of_its_own() -> None:
    study = fake_study(CHAIN)
    chosen = study.choose_classifiers(ModelProfile(), {})
    digests = study.digests(chosen, study.label_names(chosen, ModelProfile()))
    assert len(set(digests.values())) == len(CHAIN)


def test_a_folder_is_locked_while_a_study_runs_in_it(tmp_path: Path) -> None:
    (tmp_path / running.TASKS).mkdir()
    meet = pytest.raises(OutputError, match="being run in")
    with running._exclusive(tmp_path), meet, running._exclusive(tmp_path):
        raise AssertionError
    with running._exclusive(tmp_path):
        pass
