from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from studies.fakes import Fake, ran, stub, study
from typer.testing import CliRunner

from clerestory.studies import Ran, Study, answer, told, verdict, write
from clerestory.studies.schema import FOLDER
from clerestory.studies.tasks import Step
from clerestory.studies.verdict import command, headline

Holds = tuple[bool | None, ...]


def claiming(out: Path, *holds: Holds, **how: Any) -> Ran:
    """Steps that claim so, on all of which the answer rests."""
    plan: dict[str, Step] = {
        f"fake.{name}": Fake(holds=one, says=f"Of {name}")
        for name, one in zip("abcd", holds, strict=False)
    }
    return ran(plan, out, headline=tuple(plan), **how)


@pytest.mark.parametrize(
    ("holds", "said", "opens"),
    [
        ([(True,), (True, True)], "found", "Found: of 3 claims"),
        ([(False,), (False, False)], "not found", "Not found: of 3 claims"),
        ([(True,), (False,)], "undecided", "Undecided: of 2 claims"),
        ([(True,), (None,)], "undecided", "Undecided: of 2 claims"),
        ([(False,), (None,)], "undecided", "Undecided: of 2 claims"),
        ([(None,)], "undecided", "Undecided: of 1 claim that"),
        ([()], "not found", "Not found: of 0 claims"),
    ],
)
def test_found_takes_every_claim_and_not_found_takes_none(
    holds: list[Holds], said: str, opens: str, tmp_path: Path
) -> None:
    came = claiming(tmp_path, *holds)
    assert verdict(came) == said
    assert answer(came)[0].startswith(opens)


def test_the_answer_has_each_claims_own_sentence_once_with_its_figure(tmp_path: Path) -> None:
    came = claiming(tmp_path, (True, False), (None,))
    assert answer(came)[1:] == ("Of a: 0.50.", "Of a: 0.51.", "Of b: 0.50.")
    assert "1 hold" in answer(came)[0]
    assert headline(came) == {
        "fake.a: claim 0": 0.5,
        "fake.a: claim 1": 0.51,
        "fake.b: claim 0": 0.5,
    }


def test_steps_beside_the_headline_do_not_decide(tmp_path: Path) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(holds=(False,)), "fake.b": Fake()}
    assert verdict(ran(plan, tmp_path, headline=("fake.b",))) == "found"


def test_results_json_tells_all_of_it_again(tmp_path: Path) -> None:
    came = claiming(tmp_path, (True,), (False, None))
    write(came)
    again = json.loads((tmp_path / "results.json").read_text())
    assert again == json.loads(json.dumps(told(came)))
    assert again["verdict"] == "undecided" and again["answer"] == list(answer(came))
    assert {key: [one["holds"] for one in said] for key, said in again["claims"].items()} == {
        "fake.a": [True],
        "fake.b": [False, None],
    }
    assert again["steps"]["fake.a"]["figures"] == {"half": 0.5}
    assert again["warnings"] == ["fake.a: Few were drawn.", "fake.b: Few were drawn."]
    assert again["about"]["model"] == "stub" and "torch" in again["about"]["versions"]
    kept = json.loads(json.dumps(told(ran(dict(came.study.plan), tmp_path, headline=("fake.a",)))))
    assert kept["claims"] == again["claims"] and kept["steps"] == again["steps"]


def test_what_was_left_out_is_told_with_the_reason(tmp_path: Path) -> None:
    plan: dict[str, Step] = {"fake.a": Fake(holds=(False,)), "fake.b": Fake(only_if=("fake.a",))}
    steps = told(ran(plan, tmp_path))["steps"]
    assert steps["fake.a"]["left_out"] is None
    assert steps["fake.b"]["left_out"] == "not all that fake.a claims holds"


@pytest.mark.parametrize(
    ("model", "given", "file", "expected"),
    [
        ("lancet", {}, "", []),
        ("a/b", {}, "", ["--model", "a/b"]),
        ("my pipe", {"light": "colour:light"}, "", ["--model", "my pipe"]),
        (
            "lancet",
            {"light": "zero-shot:some/clip[light, dark]"},
            "my study.toml",
            ["--classifier", "light=zero-shot:some/clip[light, dark]"],
        ),
    ],
)
def test_the_command_gives_the_same_again(
    model: str, given: dict[str, str], file: str, expected: list[str], tmp_path: Path
) -> None:
    made = study({"fake.a": Fake()}, file=file, scale="quick")
    judges = {"light": "colour:light", "tint": "colour:tint", **given}
    words = shlex.split(command(Ran(made, stub(model), judges, {}, tmp_path)))
    start = ["clerestory", "study", "run", file or "small", "--scale", "quick"]
    assert words == [*start, *expected, "--out", "DIR"]


def test_the_command_is_one_that_the_command_line_takes(tmp_path: Path) -> None:
    from clerestory.cli.study import app

    made = Study.load("unknown-name", "quick").model_copy(update={"name": "no-such-study"})
    judges = {"hair": "colour:light"}
    words = command(Ran(made, stub("nobody/here"), judges, {}, tmp_path))
    came = CliRunner().invoke(app, shlex.split(words)[2:])
    assert "No study is called 'no-such-study'" in str(came.exception)
    assert (FOLDER / "unknown-name.toml").exists()
