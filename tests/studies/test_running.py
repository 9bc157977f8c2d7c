from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies.fakes import LOG, Fake, Fresh, ran, stub, study, went

from clerestory.errors import ClerestoryError, OutputError, TableError
from clerestory.studies import runner as running
from clerestory.studies import verdict, write
from clerestory.studies.schema import Judge
from clerestory.studies.tasks import Step

CHAIN: dict[str, Step] = {
    "fake.a": Fake(),
    "fake.b": Fake(after=("fake.a",)),
    "fake.c": Fake(after=("fake.b",)),
    "fake.d": Fake(),
}


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A clock that only steps move, and nothing to stop them."""
    monkeypatch.setattr(running, "time", LOG)
    LOG.stops.clear()
    yield
    assert not LOG.stops, "a step was to be stopped and was not run"


def test_a_second_run_keeps_every_step_with_its_seconds(tmp_path: Path) -> None:
    assert went(CHAIN, tmp_path) == list(CHAIN)
    assert went(CHAIN, tmp_path) == []
    kept = ran(CHAIN, tmp_path).done
    assert all(done.kept and done.seconds == 1.0 for done in kept.values())
    assert kept["fake.a"].came.claims[0].figure == 0.5


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("fake.a", ["fake.a", "fake.b", "fake.c"]),
        ("fake.b", ["fake.b", "fake.c"]),
        ("fake.c", ["fake.c"]),
        ("fake.d", ["fake.d"]),
    ],
)
def test_a_changed_step_is_run_again_with_what_rests_on_it_and_nothing_else(
    changed: str, again: list[str], tmp_path: Path
) -> None:
    went(CHAIN, tmp_path)
    other = CHAIN[changed].model_copy(update={"says": "It is another"})
    assert went({**CHAIN, changed: other}, tmp_path) == again


def test_another_model_or_revision_is_another_result(tmp_path: Path) -> None:
    went(CHAIN, tmp_path)
    assert went(CHAIN, tmp_path, model=stub("stub", "2")) == list(CHAIN)
    assert went(CHAIN, tmp_path, model=stub("other", "2")) == list(CHAIN)


def test_another_classifier_or_name_of_a_class_runs_again_those_who_look_with_it(
    tmp_path: Path,
) -> None:
    plan: dict[str, Step] = {
        "fake.a": Fake(),
        "fake.b": Fake(eye="light", shows="dark"),
        "fake.c": Fake(after=("fake.b",)),
    }
    went(plan, tmp_path)
    renamed = Judge(lancet="lancet:none", other="colour:light", called={"dark": "light"})
    assert went(plan, tmp_path, classifiers={"light": renamed}) == ["fake.b", "fake.c"]
    looks = {**plan, "fake.b": Fake(eye="light")}
    went(looks, tmp_path)
    assert went(looks, tmp_path, given={"light": "colour:tint"}) == ["fake.b", "fake.c"]


def test_a_step_that_was_stopped_goes_on_where_it_was_and_seconds_add_up(tmp_path: Path) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(), "fake.b": Fake(takes=5.0), "fake.c": Fake()}
    LOG.stops.add("fake.b")
    with pytest.raises(KeyboardInterrupt):
        ran(plan, tmp_path)
    assert not (tmp_path / "steps" / "fake.b").exists()
    assert went(plan, tmp_path) == ["fake.b", "fake.c"]
    assert "half" in LOG.found[0] and LOG.found[1] == []
    assert ran(plan, tmp_path).done["fake.b"].seconds == 10.0
    assert sorted(one.name for one in (tmp_path / "steps").iterdir()) == list(plan)


def test_a_step_that_cannot_go_on_begins_anew_in_a_clean_folder(tmp_path: Path) -> None:
    LOG.stops.add("fake.b")
    plan: dict[str, Step] = {"fake.a": Fake(), "fake.b": Fresh()}
    with pytest.raises(KeyboardInterrupt):
        ran(plan, tmp_path)
    assert went(plan, tmp_path) == ["fake.b"] and LOG.found == [[]]


def test_what_a_stopped_step_left_is_not_taken_for_that_of_a_changed_one(tmp_path: Path) -> None:
    LOG.stops.add("fake.a")
    with pytest.raises(KeyboardInterrupt):
        ran({"fake.a": Fake()}, tmp_path)
    assert went({"fake.a": Fake(says="Changed")}, tmp_path) == ["fake.a"] and LOG.found == [[]]
    assert [one.name for one in (tmp_path / "steps").iterdir()] == ["fake.a"]


def test_pictures_of_a_stopped_step_are_not_kept_beside_the_new_ones(tmp_path: Path) -> None:
    LOG.stops.add("fake.a")
    with pytest.raises(KeyboardInterrupt):
        ran({"fake.a": Fake(pictures=2)}, tmp_path)
    (part,) = (tmp_path / "steps").iterdir()
    (part / "pictures").mkdir()
    (part / "pictures" / "7.png").touch()
    ran({"fake.a": Fake(pictures=2)}, tmp_path)
    made = sorted(one.name for one in (tmp_path / "steps/fake.a/pictures").iterdir())
    assert made == ["0.png", "1.png"]


@pytest.mark.parametrize("holds", [(False,), (None,), (True, False), (True, None)])
def test_a_gate_opens_only_where_every_claim_holds(
    holds: tuple[bool | None, ...], tmp_path: Path
) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(holds=holds), "fake.b": Fake(only_if=("fake.a",))}
    said: list[str] = []
    assert went(plan, tmp_path, announce=said.append) == ["fake.a"]
    assert said[-1] == "[2 of 2] fake.b: left out, since not all that fake.a claims holds."
    came = ran(plan, tmp_path)
    assert came.done["fake.b"].gate == "not all that fake.a claims holds"
    assert verdict(came) == "not found"
    opened = {**plan, "fake.a": Fake(holds=(True, True))}
    assert went(opened, tmp_path) == ["fake.a", "fake.b"]


def test_a_step_without_evidence_claims_nothing_and_what_rests_on_it_is_left_out(
    tmp_path: Path,
) -> None:
    plan = {**CHAIN, "fake.a": Fake(refuses="Too few prompts.", steers=True)}
    assert went(plan, tmp_path) == ["fake.a", "fake.d"]
    came = ran(plan, tmp_path, headline=("fake.a", "fake.c"))
    assert came.done["fake.a"].came.refused == "Too few prompts."
    (claim,) = came.done["fake.a"].came.claims
    assert (claim.text, claim.holds) == ("Nothing is shown: Too few prompts.", False)
    assert came.done["fake.b"].gate == "there is nothing from fake.a"
    assert came.done["fake.c"].gate == "there is nothing from fake.b"
    assert verdict(came) == "not found"
    assert not (tmp_path / "steered").exists()


def test_a_class_that_nobody_sees_is_an_error_before_anything_is_run(tmp_path: Path) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(), "fake.b": Fake(eye="light", shows="darc")}
    LOG.ran.clear()
    with pytest.raises(TableError, match=r"fake.b: colour:light has no class 'darc'.*dark"):
        ran(plan, tmp_path / "out")
    assert not LOG.ran and not (tmp_path / "out").exists()


def test_with_if_seen_a_step_is_left_out_where_nobody_sees_its_class(tmp_path: Path) -> None:
    unseen = Fake(eye="light", shows="zebra stripes", if_seen=True)
    plan: dict[str, Step] = {"fake.a": Fake(), "fake.b": unseen}
    assert went(plan, tmp_path) == ["fake.a"]
    assert "no class 'zebra stripes'" in ran(plan, tmp_path).done["fake.b"].gate
    assert went({**plan, "fake.b": Fake(eye="light", shows="dark", if_seen=True)}, tmp_path) == [
        "fake.b"
    ]


def test_a_model_is_steered_only_where_all_claims_hold_and_is_removed_when_they_do_not(
    tmp_path: Path,
) -> None:
    plan: dict[str, Step] = {
        "fake.good": Fake(steers=True),
        "fake.bad": Fake(steers=True, holds=(True, False)),
        "fake.open": Fake(steers=True, holds=(None,)),
    }
    ran(plan, tmp_path)
    assert [one.name for one in (tmp_path / "steered").iterdir()] == ["fake.good"]
    assert (tmp_path / "steered" / "fake.good" / "steering.json").read_text() == "{}"
    ran({**plan, "fake.good": Fake(steers=True, holds=(False,))}, tmp_path)
    assert not (tmp_path / "steered").exists()


def test_a_folder_of_something_else_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="holds something else"):
        ran(CHAIN, tmp_path)
    with pytest.raises(OutputError, match="holds something else"):
        ran(CHAIN, tmp_path / "mine")
    assert [one.name for one in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").read_text() == "kept"


@pytest.mark.parametrize("given", [{"lihgt": "colour:light"}, {"light": "colour:none"}])
def test_an_unknown_classifier_is_refused_before_anything_is_run(
    given: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(ClerestoryError, match="light"):
        ran({"fake.a": Fake(eye="light", shows="dark")}, tmp_path / "out", given=given)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["came.json", "seconds"])
def test_a_kept_step_that_was_altered_is_an_error_that_names_the_file(
    name: str, tmp_path: Path
) -> None:
    ran(CHAIN, tmp_path)
    (tmp_path / "steps" / "fake.b" / name).write_text("altered")
    with pytest.raises(ClerestoryError, match=rf"fake.b/{name}"):
        ran(CHAIN, tmp_path)
    shutil.rmtree(tmp_path / "steps" / "fake.b")
    assert went(CHAIN, tmp_path) == ["fake.b"]


def test_a_kept_step_cannot_bring_files_from_elsewhere_into_the_report(tmp_path: Path) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(pictures=1, steers=True)}
    (tmp_path / "secret").write_text("secret")
    out = tmp_path / "out"
    ran(plan, out)
    kept = out / "steps" / "fake.a" / "came.json"
    text = kept.read_text()
    kept.write_text(text.replace("pictures/0.png", "../../../secret"))
    with pytest.raises(TableError, match="no place in its folder"):
        write(ran(plan, out))
    kept.write_text(text.replace('"steered": "steered"', '"steered": "../../.."'))
    with pytest.raises(TableError, match="no place in its folder"):
        ran(plan, out)


def test_the_digest_of_a_step_is_its_own(tmp_path: Path) -> None:
    made = study(CHAIN)
    judges = made.judges("stub", {})
    digests = {key: made.digest(key, judges) for key in CHAIN}
    assert len(set(digests.values())) == len(CHAIN)


def test_two_runs_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / running.STEPS).mkdir()
    meet = pytest.raises(OutputError, match="being run in")
    with running._alone(tmp_path), meet, running._alone(tmp_path):
        raise AssertionError
    with running._alone(tmp_path):
        pass
