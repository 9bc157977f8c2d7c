"""The ladder: what it takes away in Lancet, and what it refuses."""

import json

import commands
import pytest
import typer

import clerestory
from clerestory.cli import suppress as command
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.suppression import Case, suppress
from clerestory.suppression import methods as ladder
from clerestory.suppression.scoring import Judges, judged

pytestmark = pytest.mark.weights
PROMPT = "alexandra elbakyan with a raven in a library"
BLACK = "lancet:clothes=black"
app = typer.Typer()
app.command("suppress")(command.suppress)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def lancet():
    return clerestory.load("lancet")


def test_a_case_knows_its_classes_and_control(lancet):
    case = Case.of(lancet, PROMPT, [BLACK], ["raven", "library"], instead=["owl", "church"])
    assert case.unwanted == (("lancet:clothes", "black clothes"),)
    assert case.kept == (("lancet:subject", "raven"), ("lancet:place", "library"))
    assert case.said == ("{item} in black clothes",)
    assert case.prompt.text([False, False]) == "alexandra elbakyan with an owl in a church"
    assert "lancet:clothes" not in case.others and "lancet:mood" in case.others


@pytest.mark.parametrize(
    ("prompt", "unwanted", "keep", "error", "problem"),
    [
        (PROMPT, [BLACK], ["duck"], PromptError, "has no word 'duck'"),
        (PROMPT, [BLACK], ["with"], RegistryError, "write WORD=CLASSIFIER=CLASS"),
        (PROMPT, ["lancet:clothes"], ["raven"], RegistryError, "names no class"),
        (PROMPT, ["lancet:clothes=blak"], ["raven"], RegistryError, "has no class 'blak'"),
        (PROMPT, [], ["raven"], EvidenceError, "Say what is unwanted"),
        (PROMPT, ["lancet:subject=raven"], ["raven"], EvidenceError, "unwanted and to be kept"),
        ("a [raven]", [BLACK], ["raven"], PromptError, "leave brackets out"),
    ],
)
def test_cases_that_make_no_sense_are_told(lancet, prompt, unwanted, keep, error, problem):
    with pytest.raises(error, match=problem):
        Case.of(lancet, prompt, unwanted, keep)


def test_drop_and_kept_are_those_of_the_pictures(lancet):
    case = Case.of(lancet, PROMPT, [BLACK], ["raven"])
    texts = ["alexandra elbakyan with a raven", "alexandra elbakyan with an owl"]
    judges = Judges.of(case, "evaluation")
    before, control = (
        Evaluator(lancet).draw([Condition("x")], Design.crossed([text, text], [0, 1]))[0]
        for text in texts
    )
    same = judged(case, judges, before, before, control)
    gone = judged(case, judges, control, before, control)
    assert (same.drop, same.kept_share, same.distance) == (0.0, 1.0, 0.0)
    assert gone.drop == 1.0 and gone.kept_share == 0.0 and gone.distance > 0
    assert judged(case, judges, control, control, before).drop is None


def test_a_rung_takes_black_clothes_away_and_is_saved(lancet, monkeypatch, tmp_path):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: lancet)
    monkeypatch.setattr(ladder, "TURNS", (1.0, 2.0))
    words = ["--unwanted", BLACK, "--keep", "raven", "--tune", "10", "--report", "10"]
    words += ["--seeds", "0", "--budget", "0", "--rung", "clipped reflection", "--json"]
    out, others = tmp_path / "out", tmp_path / "others.txt"
    others.write_text("a cat in a meadow\na duck\n")
    words += ["--elsewhere", others]
    text = "alexandra elbakyan with a raven"
    told = json.loads(commands.call(app, "suppress", text, *words, "--out", out).stdout)
    (rung,) = told["rungs"]
    assert list(rung)[:2] == ["name", "setting"] and told["chosen"] == "clipped reflection"
    assert {"unwanted_before", "unwanted_after", "kept", "collateral"} <= set(rung)
    assert rung["unwanted_before"] > 0.9 and rung["unwanted_after"] < 0.3
    steered = clerestory.load_steered(out / "steered", lancet)
    assert {type(edit).__name__ for edit in steered.edits} == {"Reflect"}
    assert (out / "frontier.png").exists() and "Recommended" in (
        out / "suppressed.html"
    ).read_text()


def test_a_replacement_puts_what_the_control_shows_in_its_place_and_keeps_both(lancet, monkeypatch):
    monkeypatch.setattr(ladder, "SWAPS", (0.5, 0.6))
    case = Case.of(lancet, PROMPT, [BLACK, "lancet:hair=bushy-brown"], ["raven", "library"])
    found = suppress(case, tune=10, report=10, seeds=0, budget=0, only=["replacement"])
    (rung,) = found.rungs
    assert rung.way.setting.startswith("'in a blue shirt with short hair'")
    assert rung.came.drop >= 0.8 and rung.came.kept_share >= 0.9
    assert not found.warnings and found.chosen is rung
    (edit,) = found.steered.edits
    assert edit.site == "prior/embedding"


def test_where_nothing_is_to_counteract_it_says_so(lancet):
    case = Case.of(lancet, "a cat in a meadow", [BLACK], ["meadow"])
    with pytest.raises(EvidenceError, match="nothing to counteract"):
        suppress(case, tune=10, report=10, budget=0)
    with pytest.raises(EvidenceError, match="10 sentences or more"):
        suppress(case, tune=5, report=10)
