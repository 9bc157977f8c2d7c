from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies.fakes import LOG, Fake, fake_study, stub_model
from tiny import tiny_model
from typer.testing import CliRunner

import clerestory
from clerestory.cli.study import app
from clerestory.errors import OptionError, OutputError, RegistryError, TableError
from clerestory.studies import Study, built_in_studies

SMALL = fake_study(
    {
        "fake.a": Fake(classifier="light", label="dark", steers=True, pictures=1),
        "fake.b": Fake(outcomes=(False,), requires_support=("fake.a",)),
    },
    headline=("fake.a", "fake.b"),
    scale="quick",
)


def called(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """`study run` on a study that draws nothing, of a model that nobody has; a folder for it."""
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: stub_model())
    monkeypatch.setattr(Study, "load", lambda name, scale: SMALL)
    LOG.ran.clear()
    return tmp_path / "out"


def test_list_json_is_a_list_of_names_and_questions() -> None:
    said = json.loads(called("list", "--json").stdout)
    assert said == [{"name": one.name, "question": one.question} for one in built_in_studies()]
    lines = called("list").stdout.splitlines()
    assert lines == [f"{one['name']}: {one['question']}" for one in said]


def test_show_has_the_question_each_task_and_the_headline() -> None:
    said = " ".join(called("show", "stained-glass").stdout.split())
    chosen = Study.load("stained-glass", "quick")
    assert chosen.question in said and said.startswith("stained-glass, quick:")
    for key, task in chosen.plan.items():
        assert key in said and " ".join(task.method().split()) in said
    assert "Only if every claim of find.glass is supported." in said
    assert said.endswith(f"The answer depends on {', '.join(chosen.headline)}.")


def test_show_json_is_the_whole_plan_at_its_scale() -> None:
    quick, full = (
        json.loads(called("show", "stained-glass", "--json", "--scale", scale).stdout)
        for scale in ("quick", "full")
    )
    assert quick["plan"]["maximize.glass"]["budget"] < full["plan"]["maximize.glass"]["budget"]
    assert (quick["scale"], full["scale"]) == ("quick", "full")


def test_new_writes_a_study_that_can_be_shown_and_never_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    came = called("new", "zebra-stripes")
    assert came.exit_code == 0 and "study run zebra-stripes.toml --dry-run" in came.stdout
    assert called("show", "zebra-stripes.toml").exit_code == 0
    before = (tmp_path / "zebra-stripes.toml").read_text()
    assert isinstance(called("new", "zebra-stripes", "--like", "mood").exception, OutputError)
    assert (tmp_path / "zebra-stripes.toml").read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == ["zebra-stripes.toml"]


def test_new_like_a_built_in_study_is_that_study_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "below" / "mine.toml"
    assert called("new", "scary", "--like", "mood", "--out", path).exit_code == 0
    mine, mood = Study.load(path), Study.load("mood")
    assert (mine.name, mine.plan, mine.question) == ("scary", mood.plan, mood.question)


@pytest.mark.parametrize(
    ("words", "error", "names"),
    [
        (["new", "Zebra Stripes"], TableError, "'Zebra Stripes'"),
        (["new", "mine", "--like", "moood"], RegistryError, "moood"),
        (["new", "mine", "--like", "absent.toml"], TableError, "absent.toml"),
        (["new", "mine", "--out", "mine.txt"], OutputError, "mine.txt"),
        (["show", "moood"], RegistryError, "moood"),
        (["run", "absent.toml"], TableError, "absent.toml"),
        (["run", "mood", "--classifier", "mood"], OptionError, "'mood'"),
        (["run", "mood", "--classifier", "=lancet:mood"], OptionError, "'=lancet:mood'"),
    ],
)
def test_what_is_wrong_is_refused_by_name_before_a_model_is_opened(
    words: list[str], error: type[Exception], names: str, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: pytest.fail("a model was opened"))
    came = called(*words)
    assert isinstance(came.exception, error), came.output
    assert names in str(came.exception)
    assert not list(tmp_path.iterdir())


def test_run_json_is_results_json_and_all_else_goes_to_stderr(small: Path) -> None:
    came = called("run", "any", "--out", small, "--json")
    assert came.exit_code == 0, came.output
    assert json.loads(came.stdout) == json.loads((small / "results.json").read_text())
    lines = came.stderr.splitlines()
    assert "[1 of 2] fake.a …" in lines
    assert lines[-1] == f"The report is {small / 'report.html'}"
    assert "Not supported: 1 of 2 claims are supported." in lines
    assert (small / "steered" / "fake.a").is_dir()


def test_run_tells_the_answer_and_a_second_run_reuses_every_task(small: Path) -> None:
    first, again = (called("run", "any", "--out", small) for _ in range(2))
    assert first.exit_code == again.exit_code == 0
    assert first.stdout == again.stdout
    assert first.stdout.splitlines()[0].startswith("Not supported")
    assert LOG.ran == ["fake.a", "fake.b"]
    assert again.stderr.count("unchanged") == 2


def test_no_resume_takes_an_empty_folder_alone(small: Path) -> None:
    assert called("run", "any", "--out", small, "--no-resume").exit_code == 0
    came = called("run", "any", "--out", small, "--no-resume")
    assert isinstance(came.exception, OutputError) and str(small) in str(came.exception)
    assert LOG.ran == ["fake.a", "fake.b"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("lihgt=colour:light", "no classifier 'lihgt'"),
        ("light=nobody:light", "nobody"),
        ("light=colour:tint", "no class 'dark'"),
    ],
)
def test_a_wrong_classifier_is_refused_before_anything_is_run(
    given: str, words: str, small: Path
) -> None:
    came = called("run", "any", "--out", small, "--classifier", given)
    assert words in str(came.exception)
    assert not LOG.ran and not small.exists()


def test_a_classifier_in_place_of_the_studys_is_in_the_command(small: Path) -> None:
    came = called("run", "any", "--out", small, "--json", "--classifier", "tint=colour:light")
    content = json.loads(came.stdout)
    assert content["classifiers"] == {"light": "colour:light", "tint": "colour:light"}
    assert content["command"].endswith("--model stub --classifier tint=colour:light --out DIR")


def test_dry_run_tells_what_it_would_take_and_runs_and_writes_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: tiny_model())
    came = called("run", "any", "--out", small, "--dry-run", "--json")
    assert came.exit_code == 0, came.output
    told = json.loads(came.stdout)
    assert set(told) == {
        "pictures",
        "prompts_read",
        "seconds",
        "memory",
        "disk",
        "tasks",
        "left_out",
    }
    assert told["pictures"] == 6 and told["memory"] > 0
    assert set(told["tasks"]["fake.a"]) == {
        "text", "read", "pictures", "disk", "seconds",
    }  # fmt: skip
    assert told["seconds"] == pytest.approx(
        sum(one["seconds"] for one in told["tasks"].values()), abs=0.2
    )
    plain = called("run", "any", "--out", small, "--dry-run")
    assert "Together 6 pictures" in plain.stdout
    assert not LOG.ran and not small.exists()


def test_a_new_study_of_words_that_are_no_class_offers_the_nearest(tmp_path: Path) -> None:
    came = called("new", "neon-sign", "--out", tmp_path / "neon.toml")
    assert came.exit_code == 0
    assert "lancet:style has no class 'neon sign'" in came.stderr
    assert "build.style is left out" in came.stderr and "Did you mean neon" in came.stderr
    assert "warning" not in called("new", "stained-glass", "--out", tmp_path / "s.toml").stderr
