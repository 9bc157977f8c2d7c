from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from studies.fakes import Fake, fake_study, run_fake
from typer.testing import CliRunner

from clerestory.errors import TableError
from clerestory.reporting.results import Provenance
from clerestory.studies import Study, StudyResult, write_report
from clerestory.studies.tasks import Task, tasks

Outcomes = tuple[bool | None, ...]


def claiming(out: Path, *outcomes: Outcomes, **fields: Any) -> StudyResult:
    """The result of tasks with these outcomes, all of which are in the headline."""
    plan: dict[str, Task] = {
        f"fake.{name}": Fake(outcomes=each, text=f"Of {name}")
        for name, each in zip("abcd", outcomes, strict=False)
    }
    return run_fake(plan, out, headline=tuple(plan), **fields)


@pytest.mark.parametrize(
    ("outcomes", "status", "opening"),
    [
        ([(True,), (True, True)], "supported", "Supported: 3 of 3 claims are supported."),
        ([(False,), (False, False)], "not supported", "Not supported: 0 of 3 claims are"),
        ([(True,), (False,)], "not supported", "Not supported: 1 of 2 claims"),
        ([(True,), (None,)], "undecided", "Undecided: 1 of 2 claims"),
        ([(False,), (None,)], "not supported", "Not supported: 0 of 2 claims"),
        ([(None,)], "undecided", "Undecided: 0 of 1 claims"),
        ([()], "undecided", "Undecided: 0 of 0 claims"),
    ],
)
def test_a_study_is_supported_by_every_claim_and_refuted_by_any(
    outcomes: list[Outcomes], status: str, opening: str, tmp_path: Path
) -> None:
    result = claiming(tmp_path, *outcomes)
    assert result.status == status
    assert result.answer()[0].startswith(opening)
    assert repr(result) == f"StudyResult: small of stub: {result.answer()[0]}"


def test_the_answer_has_each_claims_own_sentence_once_with_its_figure(tmp_path: Path) -> None:
    result = claiming(tmp_path, (True, False), (None,))
    assert result.answer()[1:] == ("Of a: 0.50.", "Of a: 0.51.", "Of b: 0.50.")
    assert {name: claim.figure for name, claim in result.headline.items()} == {
        "fake.a: claim 0": 0.5,
        "fake.a: claim 1": 0.51,
        "fake.b: claim 0": 0.5,
    }


def test_tasks_outside_the_headline_do_not_decide(tmp_path: Path) -> None:
    plan: dict[str, Task] = {"fake.a": Fake(outcomes=(False,)), "fake.b": Fake()}
    result = run_fake(plan, tmp_path, headline=("fake.b",))
    assert result.status == "supported"
    assert list(result.table()["claim"]) == ["fake.b: claim 0", "fake.a: claim 0"]
    assert list(result.table()["in the answer"]) == [True, False]


def test_results_json_holds_every_figure(tmp_path: Path) -> None:
    result = claiming(tmp_path, (True,), (False, None))
    write_report(result)
    content = json.loads((tmp_path / "results.json").read_text())
    assert content == json.loads(json.dumps(result.to_dict()))
    assert content["status"] == "not supported" and content["answer"] == list(result.answer())
    assert [(claim["id"], claim["status"]) for claim in content["claims"]] == [
        ("fake.a: claim 0", "supported"),
        ("fake.b: claim 0", "not supported"),
        ("fake.b: claim 1", "undecided"),
    ]
    assert {"text", "figure", "low", "high", "criterion"} < set(content["claims"][0])
    assert content["tasks"]["fake.a"]["figures"] == {"half": 0.5}
    assert content["warnings"] == [
        {"task": key, "kind": "few-items", "text": "Few were drawn."}
        for key in ("fake.a", "fake.b")
    ]
    assert content["provenance"]["model"] == "stub"
    assert "torch" in content["environment"]["versions"]
    again = run_fake(dict(result.study.plan), tmp_path, headline=("fake.a",)).to_dict()
    assert again["tasks"] == content["tasks"]
    assert [claim["text"] for claim in again["claims"]] == [c["text"] for c in content["claims"]]


def test_a_saved_result_is_read_back_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks._entries, "fake", Fake)
    plan: dict[str, Task] = {
        "fake.a": Fake(outcomes=(True, False), pictures=2),
        "fake.b": Fake(requires_support=("fake.a",)),
    }
    result = run_fake(plan, tmp_path / "out", given={"light": "colour:tint"})
    result.save(tmp_path / "copy")
    for folder in ("out", "copy"):
        again = StudyResult.load(tmp_path / folder)
        assert again.to_dict() == result.to_dict()
        assert again.folder == tmp_path / folder
        assert again.tasks["fake.a"].reused
    (tmp_path / "copy" / "results.json").write_text('{"definition": {}}')
    with pytest.raises(TableError, match="no result of a study"):
        StudyResult.load(tmp_path / "copy")


def test_a_skipped_task_has_its_reason(tmp_path: Path) -> None:
    plan: dict[str, Task] = {
        "fake.a": Fake(outcomes=(False,)),
        "fake.b": Fake(requires_support=("fake.a",)),
    }
    content = run_fake(plan, tmp_path).to_dict()["tasks"]
    assert content["fake.a"]["skip_reason"] is None
    assert content["fake.b"]["skip_reason"] == "not every claim of fake.a is supported"


def result_of(study: Study, model: str, given: dict[str, str], out: Path) -> StudyResult:
    options = {"load_options": {}, "classifiers": given}
    return StudyResult(study, Provenance("1", model, "", options), {}, {}, out)


@pytest.mark.parametrize(
    ("model", "given", "file", "expected"),
    [
        ("a/b", {}, "", ["--model", "a/b"]),
        (
            "my pipe",
            {"light": "zero-shot:some/clip[light, dark]"},
            "my study.toml",
            ["--model", "my pipe", "--classifier", "light=zero-shot:some/clip[light, dark]"],
        ),
    ],
)
def test_the_command_computes_the_same_again(
    model: str, given: dict[str, str], file: str, expected: list[str], tmp_path: Path
) -> None:
    study = fake_study({"fake.a": Fake()}, file=file, scale="quick")
    words = shlex.split(result_of(study, model, given, tmp_path).command())
    start = ["clerestory", "study", "run", file or "small", "--scale", "quick"]
    assert words == [*start, *expected, "--out", "DIR"]


def test_the_command_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    from clerestory.cli.study import app

    study = Study.load("unknown-name", "quick").model_copy(update={"name": "no-such-study"})
    words = result_of(study, "nobody/here", {"hair": "colour:light"}, tmp_path).command()
    done = CliRunner().invoke(app, shlex.split(words)[2:])
    assert "No study is called 'no-such-study'" in str(done.exception)
