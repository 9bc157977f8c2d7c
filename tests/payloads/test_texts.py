"""What is printed, kept as JSON or Markdown, drawn in charts or made a file's name."""

from __future__ import annotations

import ast
import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import altair as alt
import commands
import numpy as np
import pandas as pd
import pytest
import typer
from markdown_it import MarkdownIt

from clerestory.causal.results import RangeEffect, SwapShares, UnitEffect, VerificationResult
from clerestory.classifiers import HumanCheck
from clerestory.cli import classifier, console, group, maximize
from clerestory.cli import verify as verifying
from clerestory.cli.sites import sites
from clerestory.contrasts.groups import Group, Groups, GroupUnit
from clerestory.evaluation import Effect
from clerestory.evaluation.side_effects import ClassChange, SideEffects
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.maximization.results import MaximizationResult, MaximizedPrompt, PoolScores
from clerestory.recognition.results import phrase_folder
from clerestory.reporting import plots
from clerestory.reporting.escaping import markdown, to_json, visible
from clerestory.reporting.pages import environment
from clerestory.reporting.pictures import save_run, slug
from clerestory.reporting.results import Provenance
from clerestory.steering.card import MEASURED, card
from payloads import built
from payloads.payloads import ALL, CONTROL, HALF, PAYLOADS

COMMANDS = Path(console.__file__).parent
EVERY = [*PAYLOADS, HALF, ALL]
STEERS = "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160)))) + "\u202e\u2066\u2028"


@pytest.mark.parametrize("text", EVERY)
def test_the_terminal_is_not_steered(text, capsys):
    console.write(text)
    console.write(text, err=True)
    console.status(text)
    out, err = capsys.readouterr()
    console.write_json({text: [text]})
    told = capsys.readouterr().out
    assert not set(out + err + told) & set(STEERS)
    assert all(sign.isprintable() or sign in "\n\t" for sign in out + err + told)
    assert json.loads(told) == {text: [text]}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("a\x1b[31mb", "a[31mb"),
        ("\x1b]52;c;cm0=\x07", "]52;c;cm0="),
        ("\x9b31mc1\x9d0;t\x9c", "31mc10;t"),
        ("over\rwritten\x08\x7f", "overwritten"),
        ("\u202egnp.exe \u2066a\u2069", "gnp.exe a"),
        ("nul\x00 \ud800", "nul "),
        ("naïve 猫 😀\n\tb", "naïve 猫 😀\n\tb"),
    ],
)
def test_plain_removes_what_steers_and_leaves_letters(text, known):
    assert console.plain(text) == known


def test_all_that_commands_print_goes_through_the_console():
    """But for `themes export`, whose lines are JSON in ASCII, and the version's number."""
    others = {}
    for path in COMMANDS.glob("*.py"):
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        names = [ast.unparse(call.func) for call in calls]
        found = [n for n in names if n in ("typer.echo", "typer.secho", "print", "rich.print")]
        if found and path.name != "console.py":
            others[path.name] = len(found)
    assert set(others) <= {"main.py", "microscope.py"}, others
    assert sum(others.values()) <= 2


def test_a_table_of_sites_takes_no_markup(monkeypatch):
    names = ("[red]a[/red]", "[/b]", "[link=https://example.org]x[/link]", *CONTROL)
    found = [
        SimpleNamespace(address=name, shape=(1, 2), heads=0, path=name, affects_output=True)
        for name in names
    ]
    model = SimpleNamespace(description="", sites=SimpleNamespace(match=lambda _: found))
    monkeypatch.setattr("clerestory.load", lambda *_, **__: model)
    app = typer.Typer()
    app.command("sites")(sites)
    app.callback()(lambda: None)
    said = commands.call(app, "sites").stdout
    assert "[red]a[/red]" in said and "[link=https://example.org]x[/link]" in said
    assert not set(said) & set(STEERS)


def printed() -> dict[str, Any]:
    """What commands print of results, by name, with payloads in them."""
    best = MaximizedPrompt(ALL, ALL, 1.0, 1.0, 1.0, 9.0, 0.0, 1, ((ALL, 0.5),))
    scores, none = np.array([0.0, 1.0]), pd.DataFrame()
    maximization = MaximizationResult(
        ALL,
        ALL,
        1,
        1,
        False,
        "undecided",
        1.0,
        1.0,
        1,
        (best,),
        (),
        PoolScores(scores),
        none,
        none,
        {},
        Provenance("0", ALL),
    )
    check = HumanCheck(ALL, PAYLOADS[:2], np.ones((2, 2), int), np.zeros(2, int), (0.5, 0.5), 4)
    unit = GroupUnit(ALL, "neuron", 1, "found", 0.9, 0.8, 1.0, 0.1, {ALL: 0.9})
    findings: Any = None  # kept in folders of their own, not printed
    groups = Groups(
        classifier=ALL,
        groups={ALL: Group(3, (unit,), findings)},
        excluded=1,
        controlled=(ALL,),
        warnings=(EvidenceWarning("other", ALL),),
        samples=none,
        provenance=Provenance("0", ALL),
    )
    effect = Effect(0.5, 0.4, 0.6)
    side = SideEffects((ClassChange(ALL, ALL, 0.1, 0.0, 0.2, 0.2, 0.5),), 0.2, 0.11, 24, 96)
    verification = VerificationResult(
        classifier=ALL,
        label=ALL,
        items=2,
        negative_rate=0.5,
        prompting=effect,
        prompting_preservation={ALL: 0.5},
        where=(RangeEffect(ALL, ALL, ALL, effect),),
        when=(RangeEffect(ALL, ALL, ALL, effect),),
        swaps=(SwapShares(ALL, 0.5, 0.4, 0.6, 0.1, 4),),
        warnings=(EvidenceWarning("other", ALL),),
        provenance=Provenance("0", ALL),
        effects=(
            UnitEffect(
                ALL, "neuron", 0.9, effect, effect, None, None, 0.2, None, None, side, {ALL: 0.5}
            ),
        ),
    )
    return {
        "classifier": (classifier, check),
        "maximize": (maximize, maximization),
        "group": (group, groups),
        "verify": (verifying, verification),
    }


@pytest.mark.parametrize("name", printed())
def test_what_a_command_prints_steers_no_terminal(name, capsys):
    module, result = printed()[name]
    if module is maximize:
        module._write(result, json=False)
    else:
        module._print(result)
    out, err = capsys.readouterr()
    assert "<script>" in out
    assert not set(out + err) & set(STEERS)


@pytest.mark.parametrize(
    "build", [built.attribution_result, built.suppression_result, built.familiarity_result]
)
def test_what_a_result_prints_steers_no_terminal_and_no_browser(build, capsys):
    result = build()
    console.write(result.summary())
    console.write_table(result.table())
    console.write(repr(result))
    out, err = capsys.readouterr()
    assert "<script>" in out
    assert not set(out + err) & set(STEERS)
    html = result._repr_html_()
    assert "<script>" not in html and not set(html) & set(STEERS)


def test_progress_without_a_bar_steers_no_terminal(capsys):
    with console.progress_bars() as report:
        for done in (0, 1):
            report(ALL, done, 1)
    assert not set(capsys.readouterr().err) & set(STEERS)


@pytest.mark.parametrize("text", EVERY)
def test_json_holds_no_control_characters_and_is_the_same(text):
    told = to_json({text: [text, "naïve 猫 😀 \U000e0041"]})
    assert json.loads(told) == {text: [text, "naïve 猫 😀 \U000e0041"]}
    assert "naïve 猫 😀" in told
    assert all(sign.isprintable() or sign == "\n" for sign in told)


@pytest.mark.parametrize("text", EVERY)
def test_pages_spell_control_characters_and_can_be_written(text):
    made = environment("clerestory.maximization").from_string("<p title='{{ x }}'>{{ x }}</p>")
    page = made.render(x=text)
    page.encode()
    assert not [sign for sign in page if sign != "\n" and visible(sign) != sign]


def test_a_chart_is_drawn_of_any_text():
    table = pd.DataFrame({"name": PAYLOADS, "y": 1.0})
    base = alt.Chart(table, title=ALL + HALF).encode(x="name:N", y="y:Q", color="name:N")
    chart = base.mark_point() + base.mark_text().encode(text="name:N")
    drawn = plots.svg(chart)
    assert not [tag for tag in ("<script", "<img", "<a ", "<iframe") if tag in drawn]
    assert "&lt;script&gt;" in drawn and "\\x1b[31m" in drawn
    assert plots.png(chart).startswith(b"\x89PNG")


def to_dict(text: str) -> dict[str, Any]:
    """What a steered model's file says, with a text wherever one may stand."""
    figures = {"target_rate": 0.5, "target_interval": (0.4, 0.6), "preservation": {}}
    figures |= {"mean_preservation": None, "hard_negative_effect": None, "items": text}
    effect = {"effect": 0.5, "low": 0.4, "high": 0.6}
    claim = {"effect": effect, "status": text, "smallest_effect": 0.2, "together_with": [text]}
    claim["baseline_effects"] = {"directions": text, "items": text, "high": 0.1, "p": 0.01}
    claim["side_effects"] = {"changes": [{"limit": 0.1}], "bound": 0.2}
    warnings = [{"kind": "other", "text": text}]
    measured = {**dict.fromkeys(MEASURED, text), **figures, "label": text, "warnings": warnings}
    measured |= claim
    return {
        "base": {"name": text, "revision": text},
        "calibration": {**measured, "baselines": {text: figures}},
        "edits": [{"kind": text, "site": text, text: text, "words": text}],
        "versions": {text: text},
    }


@pytest.mark.parametrize("text", [*EVERY, "- a", "1. a", "> a", "www.example.org", "~~a~~ `b`"])
def test_a_card_is_no_more_than_text(text):
    reader = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    plain, tokens = (list(_flat(reader.parse(card(to_dict(of))))) for of in ("a", text))
    kinds = [[one.type for one in those if one.type != "text"] for those in (plain, tokens)]
    assert kinds[0] == kinds[1], "the same headings, lists and code; no HTML, no links"
    assert not any(one.type.startswith(("html", "link")) for one in tokens)
    outside = re.sub(r"`[^`\n]*`", "", card(to_dict(text)))
    assert "://" not in outside and "www." not in outside, "what some renderers make links of"
    said = " ".join(one.content for one in tokens if one.type == "text")
    assert " ".join(visible(" ".join(text.split())).split()) in " ".join(said.split())


def _flat(tokens: Any) -> Any:
    for one in tokens:
        yield from _flat(one.children) if one.children else [one]


def test_the_note_of_a_baked_model_is_no_more_than_text():
    text = "<script>a</script> [b](javascript:c) \x1b[31m"
    model = SimpleNamespace(name=text, revision=text, defaults=SimpleNamespace(negative=text))
    model.conditioning_site = "prior/embedding"
    steered: Any = SimpleNamespace(model=model, calibration={"label": text}, edits=())
    baking: Any = importlib.import_module("clerestory.steering.bake")
    note = baking._note(steered, SimpleNamespace(max_difference=None), lora=False)
    kinds = {one.type for one in _flat(MarkdownIt("commonmark", {"html": True}).parse(note))}
    assert not [kind for kind in kinds if kind.startswith(("html", "link"))]
    assert "\x1b" not in note


def test_markdown_leaves_ordinary_words_alone():
    assert markdown("stained glass, 0.5") == "stained glass, 0.5"


@pytest.mark.parametrize(
    "text",
    [
        *EVERY,
        "../../etc/passwd",
        "..",
        "/a/b",
        "-rf",
        ".hidden",
        "a\\b",
        "x" * 999,
        "𠀀" * 99,
        "猫" * 99,
        "con/",
    ],
)
def test_names_of_files_stay_in_their_folder(text, tmp_path):
    folder = phrase_folder(tmp_path, text)
    for name in (slug(text), folder.name):
        assert name == Path(name).name and name not in ("", ".", "..")
        assert name[0] not in "-." and len(name.encode()) <= 200
        assert all(sign.isalnum() or sign in "-_" for sign in name)
    assert folder.parent == tmp_path
    folder.mkdir()
    samples = pd.DataFrame({"prompt": [visible(text), "!" + visible(text)], "seed": [2**31] * 2})
    run: Any = SimpleNamespace(samples=samples, pictures=np.zeros((2, 2, 2, 3), np.uint8))
    save_run(run, folder)
    assert len(list(folder.glob("*.png"))) == 2
