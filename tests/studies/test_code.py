"""A file from somebody else runs no code, whatever it names; who runs the command may."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import call
from studies.fakes import LOG, Fake, fake_study, run_fake, stub_model
from studies.files import FILE, changed
from tiny import tiny_model

import clerestory
from clerestory.classifiers import load_classifier
from clerestory.classifiers.base import trusted_names
from clerestory.cli.study import app
from clerestory.errors import ClerestoryError, ModelError, RegistryError, TableError
from clerestory.models.profile import ModelProfile
from clerestory.studies import Study, forecast, run_study
from clerestory.studies.schema import StudyClassifier

EVIL, CODE = "python:evil_for_tests:f", "from pathlib import Path\nPath({!r}).touch()\n"
CLASSES = 'def f(pictures): ...\nf.classes = ("glass", "plain", "art")\n'
TABLE = 'profile = "style"\ndefault = "zero-shot:MODEL[glass art, plain]"\n'
TABLE += 'labels = { glass = "glass art" }'
SUPPRESS = """[suppress.s]
prompt = "a cat"
unwanted = [["{}", "glass"]]
preserve = {{ "{}" = ["{}", "x"] }}"""
BUILD = """[build.b]
find = "glass"
classifier = "{}"
label = "glass"
template = "a glass {{item}}"
hard_negative = ["{}", "plain"]
preserved = ["{}"]
selection_items = 4
evaluation_items = 4
[build.b.items]
templates = ["{{x}}"]
levels = {{ x = {{ {} }} }}"""
LEVELS = ", ".join(f'c{at} = "a cat {at}"' for at in range(9))
BEFORE = '[quick."find.glass"]'


def more(text: str) -> str:
    """The sample with another task."""
    return changed(BEFORE, f"{text}\n\n{BEFORE}")


def build(*eyes: str) -> str:
    return more(BUILD.format(*eyes, LEVELS))


TASKS = {
    "group": changed('classifier = "tint"', f'classifier = "{EVIL}"'),
    "group, without a function": changed(
        'classifier = "tint"', 'classifier = "python:evil_for_tests"'
    ),
    "control": changed('control = ["style"]', f'control = ["{EVIL}"]'),
    "verify": changed('classifier = "style"\nlabel', f'classifier = "{EVIL}"\nlabel'),
    "attribute": changed('["style", "glass"]', f'["{EVIL}", "glass"]'),
    "familiarity": more(f'[familiarity.k]\nphrase = "x y"\nclassifiers = ["{EVIL}"]'),
    "build": build(EVIL, "style", "tint"),
    "hard negative": build("style", EVIL, "tint"),
    "preserved": build("style", "tint", EVIL),
    "unwanted": more(SUPPRESS.format(EVIL, "cat", "style")),
    "preserved in suppress": more(SUPPRESS.format("style", "cat", EVIL)),
    "the word of a preserved label": more(SUPPRESS.format("style", f"cat={EVIL}", "style")),
    "a sum": more(f"""[find.f]
record = "styles"
concept = "c"
positive = "1.0 * '{EVIL}=x'"
negative = "style == 'plain'" """),
    "quick": changed("top = 5", f'top = 5\n\n[quick."verify.glass"]\nclassifier = "{EVIL}"'),
}
JUDGE = changed(TABLE, f'default = "{EVIL}"')


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


@pytest.mark.parametrize("what", TASKS)
@pytest.mark.parametrize("words", ["show", "run", "run --dry-run"])
def test_no_task_of_a_file_brings_code(what: str, words: str, mark: Path) -> None:
    verb, *rest = words.split()
    with pytest.raises(TableError, match=r"s\.toml: .* is code.*--classifier") as caught:
        scale = "quick" if what == "quick" else "full"
        call(app, verb, file(TASKS[what]), *rest, "--scale", scale)
    assert "evil_for_tests" in str(caught.value) and "\n" not in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("rest", [[], ["--dry-run"]])
def test_no_classifier_of_a_file_is_code(
    rest: list[str], mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = stub_model()
    opened.description = ""
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: opened)
    path = file(JUDGE)
    call(app, "show", path), call(app, "show", path, "--json")
    with pytest.raises(TableError) as caught:
        call(app, "run", path, *rest)
    assert str(caught.value) == (
        f"s.toml: classifiers.style is {EVIL!r}, which is code, and a file cannot bring any. If "
        f"you trust it: --classifier style={EVIL}"
    )
    assert not mark.exists() and not Path("small-quick").exists()


def test_who_runs_the_study_may_name_code(mark: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caught = Study.load(file(JUDGE), "quick")
    plan: dict[str, Any] = {"fake.a": Fake(classifier="style", label="glass")}
    opened = caught.model_copy(update={"plan": plan, "headline": ("fake.a",)})
    monkeypatch.setattr(clerestory, "load", lambda *_, **__: stub_model())
    monkeypatch.setattr(Study, "load", lambda name, scale: opened)
    given = ["--classifier", f"style={EVIL}", "--classifier", "tint=colour:tint"]
    output = json.loads(call(app, "run", "s.toml", *given, "--json").stdout)
    assert mark.exists()
    assert f"style={EVIL}" in output["command"], "the file alone would be refused"


def test_python_may_give_code_to_a_forecast_and_a_run(mark: Path, tmp_path: Path) -> None:
    judge = StudyClassifier(default=EVIL)
    mine = fake_study(
        {"fake.a": Fake(classifier="mine", label="glass")}, classifiers={"mine": judge}
    )
    with pytest.raises(TableError, match="is code"):
        forecast(mine, tiny_model())
    with pytest.raises(TableError, match="is code"):
        run_study(mine, stub_model(), tmp_path / "out")
    assert not mark.exists()
    result = run_study(mine, stub_model(), tmp_path / "out", classifiers={"mine": EVIL})
    assert mark.exists() and EVIL in result.command()


class Sly(Fake):
    """A task that makes a name of parts, as no look at the file can tell."""

    def run(self, work: Any, folder: Path) -> Any:
        load_classifier(":".join(["python", *self.text.split()]))


def test_a_name_that_a_task_puts_together_is_refused_where_code_is_imported(
    mark: Path, tmp_path: Path
) -> None:
    with pytest.raises(RegistryError, match=r"comes from a file.*--classifier NAME=python:evil"):
        run_fake({"fake.a": Sly(text="evil_for_tests f")}, tmp_path / "out")
    assert not mark.exists()
    assert load_classifier(EVIL).classes == ("glass", "plain", "art")


def test_only_what_is_given_is_run_and_only_for_as_long(mark: Path) -> None:
    with trusted_names(["python:another:f"]), pytest.raises(RegistryError):
        load_classifier(EVIL)
    assert not mark.exists()
    with trusted_names([EVIL]):
        load_classifier(EVIL)
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
    with (
        trusted_names([]),
        pytest.raises(ModelError, match=r"a/b is not on this machine.*yourself"),
    ):
        load_classifier(name)
    with trusted_names([name]), pytest.raises(ModelError, match="cannot be opened"):
        load_classifier(name)
    with pytest.raises(ClerestoryError, match="cannot be opened"):
        load_classifier(name)
    assert here == [True, False, False]


def test_what_a_built_in_study_names_is_given_and_what_a_file_names_is_not(tmp_path: Path) -> None:
    own = Study.load("stained-glass")
    trusted = own.trusted_classifiers({}, ModelProfile())
    assert {entry.default for entry in own.classifiers.values()} <= trusted
    (tmp_path / "s.toml").write_text(FILE)
    assert Study.load(tmp_path / "s.toml").trusted_classifiers({"style": "x"}, ModelProfile()) == {
        "x"
    }


@pytest.fixture(autouse=True)
def _fresh() -> None:
    LOG.ran.clear()
