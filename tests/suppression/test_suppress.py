"""What methods take away in Lancet, and what is refused."""

import json

import commands
import pytest
import typer

import clerestory
from clerestory.classifiers import load_classifier
from clerestory.cli import suppress as command
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.suppression import Association, suppress
from clerestory.suppression.methods.replacement import Replacement
from clerestory.suppression.scores import score

pytestmark = pytest.mark.weights
PROMPT = "alexandra elbakyan with a raven in a library"
BLACK = "lancet:clothes=black"
HALVES = {"selection_paraphrases": 12, "evaluation_paraphrases": 12, "progress": False}
app = typer.Typer()
app.command("suppress")(command.suppress)
app.callback()(lambda: None)


@pytest.fixture(scope="module")
def lancet():
    return clerestory.load("lancet")


def test_an_association_knows_its_targets_and_control(lancet):
    association = Association.of(lancet, PROMPT, BLACK, "raven, library", baselines="owl,church")
    assert association.unwanted == (("lancet:clothes", "black clothes"),)
    assert association.preserved == (("lancet:subject", "raven"), ("lancet:place", "library"))
    assert association.template(association.unwanted[0]) == "{item} in black clothes"
    control = association.prompt.text([False, False])
    assert control == "alexandra elbakyan with an owl in a church"
    assert "lancet:clothes" not in association.side_effects
    assert "lancet:mood" in association.side_effects


@pytest.mark.parametrize(
    ("prompt", "unwanted", "preserve", "error", "problem"),
    [
        (PROMPT, [BLACK], ["duck"], PromptError, "has no word 'duck'"),
        (PROMPT, [BLACK], ["with"], RegistryError, "write WORD=CLASSIFIER=LABEL"),
        (PROMPT, ["lancet:clothes"], ["raven"], RegistryError, "names no label"),
        (PROMPT, ["lancet:clothes=blak"], ["raven"], RegistryError, "has no class 'blak'"),
        (PROMPT, [], ["raven"], EvidenceError, "Say what is unwanted"),
        (PROMPT, ["lancet:subject=raven"], ["raven"], EvidenceError, "both unwanted and to be"),
        ("a [raven]", [BLACK], ["raven"], PromptError, "leave brackets out"),
    ],
)
def test_associations_that_make_no_sense_are_refused(
    lancet, prompt, unwanted, preserve, error, problem
):
    with pytest.raises(error, match=problem):
        Association.of(lancet, prompt, unwanted, preserve)


def test_reduction_and_preservation_are_those_of_the_pictures(lancet):
    association = Association.of(lancet, PROMPT, BLACK, "raven")
    classifiers = {name: load_classifier(name) for name in association.classifiers}
    texts = ["alexandra elbakyan with a raven", "alexandra elbakyan with an owl"]
    before, control = (
        Evaluator(lancet).draw([Condition("x")], Design.crossed([text, text], [0, 1]))[0]
        for text in texts
    )
    same = score(association, classifiers, before, before, control)
    gone = score(association, classifiers, control, before, control)
    assert (same.reduction, same.named_preservation, same.distance) == (0.0, 1.0, 0.0)
    assert gone.reduction == 1.0 and gone.named_preservation == 0.0 and gone.distance > 0
    assert score(association, classifiers, control, control, before).reduction is None


@pytest.mark.exhaustive
def test_a_method_takes_black_clothes_away_and_is_saved(lancet, monkeypatch, tmp_path):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: lancet)
    words = ["--unwanted", BLACK, "--preserve", "raven", "--seeds", "0", "--budget", "0"]
    words += ["--selection-paraphrases", "12", "--evaluation-paraphrases", "12"]
    out, others = tmp_path / "out", tmp_path / "others.txt"
    others.write_text("a cat in a meadow\na duck\n")
    words += ["--methods", "clipped reflection", "--other-prompts", others, "--json"]
    text = "alexandra elbakyan with a raven"
    figures = json.loads(commands.call(app, "suppress", text, *words, "--out", out).stdout)
    (method,) = figures["methods"]
    assert {"name", "setting"} <= set(method)
    assert figures["recommended"] == "clipped reflection"
    assert {"preservation", "side_effects", "status", "ua", "ira", "cra"} <= set(method)
    assert {"changes", "bound", "reachable"} <= set(method["side_effects"])
    assert method["unwanted_before"] > 0.9 and method["unwanted_after"] < 0.8
    # The raven stays, but not all else that nobody named: that is part of the claim.
    assert method["preservation"] < method["named_preservation"]
    assert method["status"] != "supported"
    steered = clerestory.load_steered(out / "steered", lancet)
    assert {type(edit).__name__ for edit in steered.edits} == {"Reflect"}
    assert (out / "frontier.png").exists()
    assert "Recommended" in (out / "suppression.html").read_text()


@pytest.mark.exhaustive
def test_a_replacement_puts_what_the_control_shows_in_its_place_and_preserves_both(lancet):
    result = suppress(
        lancet,
        PROMPT,
        unwanted=[BLACK, "lancet:hair=bushy-brown"],
        preserve="raven, library",
        other_prompts=(),
        seeds=0,
        budget=0,
        methods=[Replacement(strengths=(0.5, 0.6))],
        **HALVES,
    )
    (method,) = result.methods
    assert method.name == "replacement"
    assert method.setting.startswith("'in a blue shirt with short hair'")
    assert method.reduction >= 0.8 and method.frechet > 0
    # 12 paraphrases with one seed show a bound that is wider than .20.
    assert method.status in ("undecided", "not supported") and result.best is method
    (edit,) = result.steered.edits
    assert edit.site == lancet.conditioning_site


def test_where_there_is_nothing_to_counteract_it_is_refused(lancet):
    ask = {"unwanted": BLACK, "preserve": "meadow", "budget": 0}
    with pytest.raises(EvidenceError, match="nothing to counteract"):
        suppress(lancet, "a cat in a meadow", **ask, **HALVES)
    with pytest.raises(EvidenceError, match="12 paraphrases or more"):
        suppress(lancet, "a cat in a meadow", **ask, **{**HALVES, "selection_paraphrases": 5})
