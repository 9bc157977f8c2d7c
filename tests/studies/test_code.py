"""A file from somebody else runs no code, whatever it names; who runs the command may."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import call
from studies.fakes import LOG, Fake, ran, stub, study
from studies.sample import FILE, changed
from tiny import tiny_model

import clerestory
from clerestory.classifiers import classifier
from clerestory.classifiers.base import only_given
from clerestory.cli.study import app
from clerestory.errors import ClerestoryError, ModelError, RegistryError, TableError
from clerestory.studies import Study, forecast, run, told
from clerestory.studies.schema import Judge

EVIL, CODE = "python:evil_for_tests:f", "from pathlib import Path\nPath({!r}).touch()\n"
CLASSES = 'def f(pictures): ...\nf.classes = ("glass", "plain", "art")\n'
TABLE = 'lancet = "lancet:style"\nother = "zero-shot:MODEL[glass art, plain]"\n'
TABLE += 'called = { glass = "glass art" }'
SUPPRESS = (
    '[suppress.s]\nprompt = "a cat"\nunwanted = [["{}", "glass"]]\n'
    'preserve = {{ "{}" = ["{}", "x"] }}'
)
BUILD = """[build.b]
find = "glass"
classifier = "{}"
shows = "glass"
said = "a glass {{item}}"
decoy = ["{}", "plain"]
keeps = ["{}"]
tune = 4
report = 4
[build.b.contents]
phrasings = ["{{x}}"]
levels = {{ x = {{ {} }} }}"""
LEVELS = ", ".join(f'c{at} = "a cat {at}"' for at in range(9))
BEFORE = '[quick."find.glass"]'


def more(text: str) -> str:
    """The sample with another step."""
    return changed(BEFORE, f"{text}\n\n{BEFORE}")


def build(*eyes: str) -> str:
    return more(BUILD.format(*eyes, LEVELS))


STEPS = {
    "group": changed('classifier = "tint"', f'classifier = "{EVIL}"'),
    "group, without a function": changed(
        'classifier = "tint"', 'classifier = "python:evil_for_tests"'
    ),
    "control": changed('control = ["style"]', f'control = ["{EVIL}"]'),
    "verify": changed('classifier = "style"\nshows', f'classifier = "{EVIL}"\nshows'),
    "attribute": changed('["style", "glass"]', f'["{EVIL}", "glass"]'),
    "familiarity": more(f'[familiarity.k]\nphrase = "x y"\njudges = ["{EVIL}"]'),
    "build": build(EVIL, "style", "tint"),
    "decoy": build("style", EVIL, "tint"),
    "keeps": build("style", "tint", EVIL),
    "unwanted": more(SUPPRESS.format(EVIL, "cat", "style")),
    "keep": more(SUPPRESS.format("style", "cat", EVIL)),
    "the word of a keep": more(SUPPRESS.format("style", f"cat={EVIL}", "style")),
    "a sum": more(f"""[find.f]
record = "styles"
concept = "c"
shown = "1.0 * '{EVIL}=x'"
absent = "style == 'plain'" """),
    "quick": changed("flips = 5", f'flips = 5\n\n[quick."verify.glass"]\nclassifier = "{EVIL}"'),
}
JUDGE = changed(TABLE, f'lancet = "{EVIL}"\nother = "{EVIL}"')


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """What is there once the code beside the file has run."""
    path = tmp_path / "it-ran"
    (tmp_path / "evil_for_tests.py").write_text(CODE.format(str(path)) + CLASSES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield path
    sys.modules.pop("evil_for_tests", None)


def file(text: str) -> Path:
    path = Path("s.toml")
    path.write_text(text)
    return path


@pytest.mark.parametrize("what", STEPS)
@pytest.mark.parametrize("words", ["show", "run", "run --dry-run"])
def test_no_step_of_a_file_brings_code(what: str, words: str, mark: Path) -> None:
    verb, *rest = words.split()
    with pytest.raises(TableError, match=r"s\.toml: .* is code.*--classifier") as came:
        scale = "quick" if what == "quick" else "full"
        call(app, verb, file(STEPS[what]), *rest, "--scale", scale)
    assert "evil_for_tests" in str(came.value) and "\n" not in str(came.value)
    assert not mark.exists()


@pytest.mark.parametrize("model", ["lancet", "other"])
@pytest.mark.parametrize("rest", [[], ["--dry-run"]])
def test_no_classifier_of_a_file_is_code(
    model: str, rest: list[str], mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = stub(model)
    opened.description = ""
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: opened)
    path = file(JUDGE)
    call(app, "show", path), call(app, "show", path, "--json")
    with pytest.raises(TableError) as came:
        call(app, "run", path, *rest)
    assert str(came.value) == (
        f"s.toml: classifiers.style is {EVIL!r}, which is code, and a file cannot bring any. If "
        f"you trust it: --classifier style={EVIL}"
    )
    assert not mark.exists() and not Path("small-quick").exists()


def test_who_runs_the_study_may_name_code(mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    came = Study.load(file(JUDGE), "quick")
    plan: dict[str, Any] = {"fake.a": Fake(eye="style", shows="glass")}
    opened = came.model_copy(update={"plan": plan, "headline": ("fake.a",)})
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: with_about())
    monkeypatch.setattr(Study, "load", lambda name, scale: opened)
    given = ["--classifier", f"style={EVIL}", "--classifier", "tint=colour:tint"]
    said = json.loads(call(app, "run", "s.toml", *given, "--json").stdout)
    assert mark.exists()
    assert f"style={EVIL}" in said["about"]["command"], "the file alone would be refused"


def with_about() -> Any:
    return SimpleNamespace(**vars(stub()), about="")


def test_python_may_give_code_to_a_forecast_and_a_run(mark: Path, tmp_path: Path) -> None:
    judge = Judge(lancet=EVIL, other=EVIL)
    mine = study({"fake.a": Fake(eye="mine", shows="glass")}, classifiers={"mine": judge})
    with pytest.raises(TableError, match="is code"):
        forecast(mine, tiny_model())
    with pytest.raises(TableError, match="is code"):
        run(mine, stub(), tmp_path / "out")
    assert not mark.exists()
    came = run(mine, stub(), tmp_path / "out", classifiers={"mine": EVIL})
    assert mark.exists() and EVIL in told(came)["about"]["command"]


class Sly(Fake):
    """A step that makes a name of parts, as no look at the file can tell."""

    def run(self, work: Any, folder: Path) -> Any:
        classifier(":".join(["python", *self.says.split()]))


def test_a_name_that_a_step_puts_together_is_refused_where_code_is_imported(
    mark: Path, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"comes from a file.*--classifier NAME=python:evil"):
        ran({"fake.a": Sly(says="evil_for_tests f")}, tmp_path / "out")
    assert not mark.exists()
    assert classifier(EVIL).classes == ("glass", "plain", "art")


def test_only_what_is_given_is_run_and_only_for_as_long(mark: Path) -> None:
    with only_given(["python:another:f"]), pytest.raises(RegistryError):
        classifier(EVIL)
    assert not mark.exists()
    with only_given([EVIL]):
        classifier(EVIL)
    assert mark.exists()


@pytest.mark.parametrize("name", ["classifier:a/b", "zero-shot:a/b[one, two]"])
def test_a_file_fetches_no_classifier_and_a_person_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import transformers

    here: list[bool] = []

    def opens(what: str, *, local_files_only: bool, **how: Any) -> Any:
        here.append(local_files_only)
        raise OSError("not there")

    for kind in ("ImageClassification", "ZeroShotImageClassification"):
        monkeypatch.setattr(getattr(transformers, f"AutoModelFor{kind}"), "from_pretrained", opens)
    with only_given([]), pytest.raises(ModelError, match=r"a/b is not on this machine.*yourself"):
        classifier(name)
    with only_given([name]), pytest.raises(ModelError, match="cannot be opened"):
        classifier(name)
    with pytest.raises(ClerestoryError, match="cannot be opened"):
        classifier(name)
    assert here == [True, False, False]


def test_what_a_built_in_study_names_is_given_and_what_a_file_names_is_not(tmp_path: Path) -> None:
    own = Study.load("stained-glass")
    assert {judge.other for judge in own.classifiers.values()} <= own.given({})
    (tmp_path / "s.toml").write_text(FILE)
    assert Study.load(tmp_path / "s.toml").given({"style": "x"}) == {"x"}


@pytest.fixture(autouse=True)
def _fresh() -> None:
    LOG.ran.clear()
