"""What is looked at before anything is drawn, and what is left out with a word."""

import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import commands
import numpy as np
import pytest
import typer
from families import FAMILIES, family_model
from tiny import tiny_model

from clerestory.attribution import paraphrase
from clerestory.classifiers.kinds import hub
from clerestory.cli import suppress as command
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.suppression import Case, suppress
from clerestory.suppression.methods import RUNGS, Means
from clerestory.suppression.page import keep as kept
from clerestory.suppression.scoring import Judges
from clerestory.suppression.suppress import _built, _elsewhere
from suppression.painted import KEEP, UNWANTED, Painted, judges

HOWTO = Path(__file__).parents[2] / "docs" / "knowledge" / "counteract.md.in"
app = typer.Typer()
app.command("suppress")(command.suppress)
app.callback()(lambda: None)


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    return judges(monkeypatch)


def case(model, *, others=()):
    return Case.of(model, "a cat with a raven", [UNWANTED], [KEEP], others=others)


def climbed(model, **how):
    return suppress(case(model), **{"tune": 10, "report": 10, "seeds": 0, **how})


def test_the_how_tos_line_names_classes_with_commas(monkeypatch):
    monkeypatch.setattr(
        hub, "_zero_shot", lambda _, classes, local: SimpleNamespace(classes=classes)
    )
    (line,) = re.findall(r'`--keep "(.+?)"`', HOWTO.read_text())
    words = command._words(f"{line}, cat=python:judges:green=yes")
    found = Case.of(Painted(), "a cat with a raven", [UNWANTED], words).kept
    assert found == (
        ("zero-shot:MODEL[raven, owl, none]", "raven"),
        ("python:judges:green", "yes"),
    )


@pytest.mark.parametrize(
    ("keep", "error", "problem"),
    [
        (["raven"], RegistryError, "pictures of painted.*Write WORD=CLASSIFIER=CLASS"),
        ([KEEP, "a raven=python:judges:blue=yes"], PromptError, "'a raven' overlaps another"),
        ([KEEP, KEEP], PromptError, "'raven' overlaps another"),
    ],
)
def test_words_to_keep_that_make_no_sense_are_told(keep, error, problem):
    with pytest.raises(error, match=problem):
        Case.of(Painted(), "a cat with a raven", [UNWANTED], keep)


def test_names_and_prompts_are_looked_at_before_anything_is_drawn():
    model = Painted()
    with pytest.raises(RegistryError, match="No colour is called 'hue'"):
        case(model, others=["colour:hue"])
    with pytest.raises(EvidenceError, match="No rung is called 'leace'"):
        climbed(model, only=["leace"])
    with pytest.raises(PromptError, match="is too long"):
        climbed(model, elsewhere=["a cat", "a duck " * 12])
    assert model.drawn == 0


def test_without_a_number_it_takes_what_there_is(monkeypatch, tmp_path):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: Painted())
    words = ["a raven", "--unwanted", UNWANTED, "--keep", KEEP, "--budget", "0", "--json"]
    called = commands.call(app, "suppress", *words, "--out", tmp_path / "out")
    told = json.loads(called.stdout)
    few = re.search(
        r"This prompt has (\d+) paraphrases: (\d+) tune and (\d+) report", called.stderr
    )
    there, first, second = map(int, few.groups())
    assert there < 48 and first + second == there and second - first in (0, 1)
    assert told["contents"] == second
    with pytest.raises(EvidenceError, match="too few for 24 to tune with and 24 to report"):
        commands.call(app, "suppress", *words, "--tune", "24", "--report", "24")


def test_where_no_rung_has_edits_nothing_is_steered(tmp_path):
    found = climbed(Painted())
    (rung,) = found.rungs
    assert (rung.name, rung.came.drop, rung.came.kept_share) == ("negative prompt", 1, 1)
    assert rung.way.condition.options == {"negative": "yes", "guidance": 8.0}
    assert any("no place between encoder and decoder" in one for one in found.warnings)
    page = kept(found, tmp_path / "out").read_text()
    assert found.told()["steered"] is None and not (tmp_path / "out" / "steered").exists()
    assert "there is no steered model" in page and "Edits are made" not in page
    steered = replace(found, steered=SimpleNamespace(save=lambda _: None), steered_by="LEACE")
    page = kept(steered, tmp_path / "steered").read_text()
    assert "Edits are made at denoiser/condition; not at denoiser/pooled" in page


def test_classifiers_of_one_set_and_what_set_b_never_sees_are_told(tmp_path):
    found = climbed(Painted(blind=[0]))
    assert kept(found, tmp_path / "out").exists()
    one, never = (
        "only one set of python:judges:red and python:judges:green",
        "By the evaluation classifiers the prompt",
    )
    assert any(one in text for text in found.warnings)
    assert any(f"{never} never draws python:judges:green=yes" in text for text in found.warnings)
    assert found.chosen.came.kept_share is None and found.told()["rungs"][0]["kept"] is None
    with pytest.raises(
        EvidenceError,
        match="By the selection classifiers the prompt never draws python:judges:green",
    ):
        climbed(Painted(blind=range(1, 9)))


def test_other_prompts_that_a_suffix_makes_too_long_are_left_out():
    model = Painted()
    about = replace(case(model), kept=())
    evaluator = Evaluator(model)
    stage = SimpleNamespace(case=about, judges=Judges.of(about, "evaluation"), evaluator=evaluator)

    def elsewhere(suffix, *prompts):
        (plain,) = evaluator.draw([Condition("plain")], Design.crossed(prompts))
        return _elsewhere(stage, Condition("found", suffix=suffix), plain)

    assert elsewhere("like a raven", "a cat", "a cat " * 5) == (0, None)
    assert elsewhere("", "a cat", "a cat " * 5) == (1, None)
    assert elsewhere("like a raven", "a cat " * 5, "a cat " * 6) == (None, None)


def test_a_model_without_guidance_has_no_negative_prompt():
    with pytest.raises(EvidenceError, match=r"painted draws without guidance \(guidance 1\)"):
        climbed(Painted(guidance=1.0), only=["negative prompt"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_negative_prompts_strength_is_the_option_that_the_family_draws_by(name):
    model = family_model(name)
    ways = RUNGS["negative prompt"](Means(case(model), (), (), "", 0, print))
    weak, strong = Evaluator(model).draw(
        [ways[0].condition, ways[-1].condition], Design.crossed(["a cat"])
    )
    assert not np.array_equal(weak.pictures, strong.pictures)


def test_a_rung_that_cannot_be_built_is_left_out_and_the_others_stay():
    model = tiny_model(window=128)
    asked = case(model)
    carriers = paraphrase(asked.prompt, 20, model=model)
    rungs, warnings = _built(
        ["LEACE", "suffix search"], Means(asked, carriers, (), asked.prompt.full_text, 0, print)
    )
    assert list(rungs) == ["LEACE"]
    (warning,) = warnings
    assert warning.startswith("Left out: suffix search. A budget of 0")
