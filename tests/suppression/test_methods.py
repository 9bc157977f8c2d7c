"""Which method is recommended, what is refused before drawing, and what is left out."""

import json
import re
import sys
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import commands
import numpy as np
import pytest
import typer
from families import FAMILIES, family_model
from tiny import tiny_model

from clerestory import registry
from clerestory.attribution import paraphrase
from clerestory.attribution.paraphrases import TEMPLATES
from clerestory.classifiers.kinds import hub
from clerestory.cli import suppress as command
from clerestory.errors import EvidenceError, PromptError, RegistryError
from clerestory.evaluation import Condition, Design, Evaluator
from clerestory.models.core.seeds import item_seeds
from clerestory.suppression import (
    Association,
    MethodContext,
    SuppressionMethod,
    SuppressionResult,
    suppress,
    suppression_methods,
)
from clerestory.suppression.page import page
from clerestory.suppression.suppress import _conditions, _halves, _retained
from suppression.rules import PRESERVE, UNWANTED, Painted, colours

HOWTO = Path(__file__).parents[2] / "docs" / "knowledge" / "counteract.md.in"
PROMPT = "a cat with a raven"
app = typer.Typer()
app.command("suppress")(command.suppress)
app.callback()(lambda: None)


@dataclass(frozen=True)
class Suffix(SuppressionMethod):
    """Appends words."""

    words: tuple[str, ...] = ("now",)

    def conditions(self, context):
        return [Condition(each, suffix=each) for each in self.words]


class Precise(Suffix):
    """Takes red away and leaves green, with the second of its settings."""


class Blunt(Suffix):
    """Takes both away."""


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    return colours(monkeypatch)


def association(model, **options):
    return Association.of(model, PROMPT, UNWANTED, PRESERVE, **options)


def compare(model, **options):
    arguments = {"selection_paraphrases": 12, "evaluation_paraphrases": 12}
    arguments |= {"progress": False, "other_prompts": (), **options}
    return suppress(model, PROMPT, unwanted=UNWANTED, preserve=PRESERVE, **arguments)


def sentences():
    return [each.full_text for each in paraphrase(association(Painted()).prompt, 60)]


def context(model, paraphrases=(), budget=0):
    return MethodContext(
        association=association(model),
        paraphrases=paraphrases,
        alternatives=(),
        longest=PROMPT,
        budget=budget,
        evaluator=Evaluator(model),
        progress=lambda *_: None,
    )


def test_the_method_that_takes_red_away_and_leaves_green_is_recommended():
    methods = [Suffix(), Precise(("now", "please")), Blunt(("nothing",))]
    result = compare(Painted(), methods=methods)
    assert [each.name for each in result.methods] == ["Suffix", "Precise", "Blunt"]
    assert [each.reduction for each in result.methods] == [0, 1, 1]
    assert [each.preservation for each in result.methods] == [1, 1, 0]
    assert result.recommended == "Precise" and result.best.setting == "please"
    assert result.best.selection.objective == 1 and result.warnings[-1:] != ()
    assert "Precise (please) takes away 100% of the excess (" in repr(result)
    assert [each.named_preservation for each in result.methods] == [1, 1, 0]
    assert [each.status for each in result.methods] == [
        "not supported",
        "undecided",
        "not supported",
    ]


def test_without_a_sufficient_method_the_best_is_recommended_with_a_warning():
    result = compare(Painted(), methods=[Suffix(), Blunt(("nothing",))])
    assert result.recommended == "Suffix", "the first of two that are worth nothing"
    assert any(each.kind == "insufficient" for each in result.warnings)
    assert any("No method takes away 80%" in each.text for each in result.warnings)


def test_the_how_tos_line_names_classes_with_commas(monkeypatch):
    monkeypatch.setattr(
        hub, "_zero_shot", lambda _, classes, local: SimpleNamespace(classes=classes)
    )
    (line,) = re.findall(r'`--preserve "(.+?)"`', HOWTO.read_text())
    words = f"{line}, cat=python:colours:green=yes"
    assert Association.of(Painted(), PROMPT, UNWANTED, words).preserved == (
        ("zero-shot:MODEL[raven, owl, none]", "raven"),
        ("python:colours:green", "yes"),
    )


@pytest.mark.parametrize(
    ("preserve", "error", "problem"),
    [
        (["raven"], RegistryError, "painted has no default classifiers.*WORD=CLASSIFIER=LABEL"),
        ([PRESERVE, "a raven=python:colours:blue=yes"], PromptError, "'a raven' overlaps another"),
        ([PRESERVE, PRESERVE], PromptError, "'raven' overlaps another"),
    ],
)
def test_words_that_cannot_be_preserved_are_refused(preserve, error, problem):
    with pytest.raises(error, match=problem):
        Association.of(Painted(), PROMPT, UNWANTED, preserve)


def test_names_and_prompts_are_checked_before_anything_is_drawn(tmp_path):
    model = Painted()
    with pytest.raises(RegistryError, match="No colour is called 'hue'"):
        association(model, classifiers=["colour:hue"])
    with pytest.raises(RegistryError, match=r"called 'leace'\. Did you mean LEACE"):
        compare(model, methods=["leace"])
    with pytest.raises(PromptError, match="is too long"):
        compare(model, other_prompts=["a cat", "a duck " * 12])
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="not empty"):
        compare(model, out=tmp_path)
    assert model.drawn == 0


def test_by_default_both_halves_have_half_of_the_paraphrases(monkeypatch, tmp_path):
    monkeypatch.setattr("clerestory.load", lambda *_, **__: Painted())
    monkeypatch.setattr("clerestory.attribution.paraphrases.TEMPLATES", TEMPLATES[:40])
    words = ["a raven", "--unwanted", UNWANTED, "--preserve", PRESERVE, "--budget", "0", "--json"]
    called = commands.call(app, "suppress", *words, "--out", tmp_path / "out")
    figures = json.loads(called.stdout)
    few = re.search(
        r"This prompt has (\d+) paraphrases: (\d+) select and (\d+) evaluate", called.stderr
    )
    total, first, second = map(int, few.groups())
    assert total < 48 and first + second == total and second - first in (0, 1)
    assert figures["paraphrases"] == second
    halves = ["--selection-paraphrases", "24", "--evaluation-paraphrases", "24"]
    with pytest.raises(EvidenceError, match="too few for 24 to select on and 24 to evaluate"):
        commands.call(app, "suppress", *words, *halves)


def test_every_sentence_has_its_own_seeds_and_the_halves_share_no_template():
    result = compare(Painted(), methods=[Suffix()], seeds_per_paraphrase=3)
    assert len({own for seeds in result.seeds for own in seeds}) == 3 * 12
    assert "shared-seeds" not in {each.kind for each in result.warnings}
    few, none = association(Painted()), (None, None)
    for halves in (_halves(few, *none)[:2], _halves(few, 30, 25)[:2]):
        selected, evaluated = ({each.template for each in half} for half in halves)
        assert selected and evaluated and not selected & evaluated


@pytest.mark.parametrize(
    ("paraphrases", "kinds"), [(12, {"classifier", "few-items"}), (24, {"classifier"})]
)
def test_the_bound_that_the_design_can_show_is_said(paraphrases, kinds):
    options = {"evaluation_paraphrases": paraphrases, "seeds_per_paraphrase": 4}
    result = compare(Painted(), methods=[Precise(("please",))], **options)
    assert {each.kind for each in result.warnings} == kinds
    assert (result.best.side_effects.reachable > 0.2) == ("few-items" in kinds)
    assert result.best.status == ("supported" if paraphrases == 24 else "undecided")


def test_what_was_not_named_is_part_of_the_claim():
    """Blue is no word of the prompt: a method that adds it is refuted, not recommended."""
    options = {"evaluation_paraphrases": 24, "classifiers": ["python:colours:blue"]}
    methods = [Precise(("please",)), Blunt(("please sky",))]
    result = compare(Painted(), methods=methods, **options)
    tidy, messy = result.methods
    assert (tidy.reduction, messy.reduction) == (1, 1)
    assert (tidy.named_preservation, messy.named_preservation) == (1, 1)
    assert (tidy.preservation, messy.preservation) == (1, 0)
    assert (tidy.status, messy.status) == ("supported", "not supported")
    changed = messy.side_effects.together_with()
    assert {str(each).partition(" ")[0] for each in changed} == {
        "python:colours:blue=yes",
        "python:colours:blue=no",
    }
    assert result.recommended == "Precise"
    alone = compare(Painted(), methods=methods[1:], **options)
    assert "insufficient" in {each.kind for each in alone.warnings}
    assert "not supported" in repr(alone)


def test_where_no_method_has_edits_nothing_is_steered(tmp_path):
    result = compare(Painted(), out=tmp_path / "out")
    (method,) = result.methods
    assert (method.name, method.reduction, method.preservation) == ("negative prompt", 1, 1)
    assert method.setting == "'yes', guidance 8"
    assert any("no conditioning site" in str(warning) for warning in result.warnings)
    html = (tmp_path / "out" / "suppression.html").read_text()
    assert result.steered_by is None and not (tmp_path / "out" / "steered").exists()
    assert "there is no steered model" in html and "Edits are made" not in html
    html = page(replace(result, steered_by="LEACE"))
    assert "Edits are made at denoiser/condition; not at denoiser/pooled" in html


def test_a_result_is_read_back_as_it_was_saved(tmp_path):
    result = compare(Painted(), out=tmp_path / "out")
    again = SuppressionResult.load(tmp_path / "out")
    assert again.to_dict() == result.to_dict() and again.methods == result.methods
    assert (
        again.pictures.keys() == result.pictures.keys() == {"before", "control", "negative prompt"}
    )
    assert all(np.array_equal(again.pictures[name], each) for name, each in result.pictures.items())
    assert list(result.table()["method"]) == ["negative prompt"]
    path = tmp_path / "out" / "suppression.json"
    path.write_text(path.read_text().replace('"paraphrases": 12', '"paraphrases": "ten"'))
    with pytest.raises(EvidenceError, match="paraphrases does not fit"):
        SuppressionResult.load(tmp_path / "out")


def test_shared_classifiers_and_labels_that_are_never_drawn_are_reported(tmp_path):
    result = compare(Painted(blind=[0]), seeds=0, out=tmp_path / "out")
    shared = "only one set of python:colours:red and python:colours:green"
    never = "By the evaluation classifiers the prompt never draws python:colours:green=yes"
    assert any(shared in each.text for each in result.warnings if each.kind == "classifier")
    assert any(never in each.text for each in result.warnings)
    assert "shared-seeds" in {each.kind for each in result.warnings}
    assert result.best.named_preservation is None
    blind = [own for sentence in sentences() for own in item_seeds(sentence, 1)]
    with pytest.raises(EvidenceError, match="By the selection classifiers the prompt never draws"):
        compare(Painted(blind=blind))


def test_other_prompts_that_a_suffix_makes_too_long_are_left_out():
    model = Painted()
    evaluator = Evaluator(model)
    classifiers = {"python:colours:red": association(model).classifiers[0]}
    half = SimpleNamespace(association=association(model), evaluator=evaluator)
    half.classifiers = dict.fromkeys(classifiers, sys.modules["colours"].red)

    def retained(suffix, *prompts):
        (plain,) = evaluator.draw([Condition("plain")], Design.crossed(prompts))
        return _retained(half, Condition("found", suffix=suffix), plain)

    assert retained("like a raven", "a cat", "a cat " * 5) == (0, None)
    assert retained("", "a cat", "a cat " * 5) == (1, None)
    assert retained("like a raven", "a cat " * 5, "a cat " * 6) == (None, None)


def test_a_model_without_guidance_has_no_negative_prompt():
    with pytest.raises(EvidenceError, match=r"painted draws without guidance \(guidance 1\)"):
        compare(Painted(guidance=1.0), methods=["negative prompt"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# Karlo takes no negative prompt.
@pytest.mark.parametrize("name", sorted(FAMILIES.keys() - {"karlo"}))
def test_the_negative_prompts_strength_is_the_option_that_the_family_draws_by(name):
    model = family_model(name)
    conditions = suppression_methods["negative prompt"]().conditions(context(model))
    weak, strong = Evaluator(model).draw([conditions[0], conditions[-1]], Design.crossed(["a cat"]))
    assert not np.array_equal(weak.pictures, strong.pictures)


def test_a_method_that_does_not_apply_is_left_out_and_the_others_stay():
    model = tiny_model(window=128)
    paraphrases = paraphrase(association(model).prompt, 20, model=model)
    candidates = {name: suppression_methods[name]() for name in ("LEACE", "suffix search")}
    conditions, warnings = _conditions(candidates, context(model, paraphrases))
    assert list(conditions) == ["LEACE"]
    (warning,) = warnings
    assert warning.kind == "left-out"
    assert warning.text.startswith("Left out: suffix search. A budget of 0")


def test_a_method_joins_by_an_entry_point(monkeypatch, tmp_path):
    (tmp_path / "toy_method.py").write_text(
        "from clerestory.evaluation import Condition\n"
        "from clerestory.suppression import SuppressionMethod, suppression_methods\n"
        "@suppression_methods.register('polite')\n"
        "class Polite(SuppressionMethod):\n"
        "    def conditions(self, context):\n"
        "        return [Condition('please', suffix='please')]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("polite", "toy_method", "clerestory.suppression_methods")
    monkeypatch.setattr(
        registry, "entry_points", lambda group: [entry] if group == entry.group else []
    )
    assert "LEACE" in suppression_methods  # the built-in methods are imported and stay
    # As in a new process: plug-ins are imported when a name is first looked up.
    monkeypatch.setattr(suppression_methods, "_entries", dict(suppression_methods._entries))
    monkeypatch.setattr(suppression_methods, "_complete", False)
    result = compare(Painted(), methods=["polite"])
    assert (result.recommended, result.best.reduction) == ("polite", 1)
    assert "polite" in suppression_methods
