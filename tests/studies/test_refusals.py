"""A file that says something impossible: one line with the file, the field and what is possible."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies.files import FILE, changed

from clerestory.errors import TableError
from clerestory.studies import Study


def refusal(text: str, place: Path, scale: Any = "quick") -> str:
    """What is said of such a file."""
    path = place / "mine.toml"
    path.write_text(text)
    with pytest.raises(TableError) as caught:
        Study.load(path, scale)
    said = str(caught.value)
    assert "\n" not in said and said.endswith((".", "?")), said
    assert said.startswith(str(path)), said
    return said.removeprefix(str(path))


ERRORS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "an unknown field of the file": (
        'name = "small"',
        'name = "small"\nquestoin = "?"',
        ("'questoin' is no field", "question"),
    ),
    "an unknown kind of task": (
        "[find.glass]",
        "[fnid.glass]",
        ("'fnid' is no field", "find"),
    ),
    "an unknown field of a task": (
        'concept = "glass"',
        'concept = "glass"\nflps = 3',
        ("find.glass.flps", "not permitted"),
    ),
    "a wrong type": (
        'concept = "glass"',
        "concept = 3",
        ("find.glass.concept", "valid string", "got 3"),
    ),
    "a factor that the recording has not": (
        'concept = "glass"',
        'concept = "glass"\nmatch = ["subjetc"]',
        ("find.glass.match: there is no factor 'subjetc' in styles", "subject"),
    ),
    "a query about a factor that the recording has not": (
        "positive = \"style == 'glass'\"",
        "positive = \"stlye == 'glass'\"",
        ("find.glass.positive: there is no factor 'stlye' in styles", "style"),
    ),
    "an unknown search": (
        "[attribute.cat]",
        '[maximize.glass]\nfind = "glass"\nsearch = "metropolois"\n\n[attribute.cat]',
        ("maximize.glass.search: No search", "'metropolois'", "metropolis"),
    ),
    "an unknown method": (
        "[attribute.cat]",
        '[suppress.cat]\nprompt = "a cat"\nunwanted = [["style", "glass"]]\n'
        'preserve = { cat = ["style", "plain"] }\nmethods = ["negation"]\n\n[attribute.cat]',
        ("suppress.cat.methods: No suppression method", "'negation'", "negative"),
    ),
    "too few items": (
        "[attribute.cat]",
        '[build.glass]\nfind = "glass"\nclassifier = "style"\nlabel = "glass"\n'
        'template = "a glass {item}"\n\n[build.glass.items]\ntemplates = ["a {who}"]\n\n'
        '[build.glass.items.levels.who]\nman = "man"\n\n[attribute.cat]',
        ("build.glass.items: build takes 72 items, and the template has 1",),
    ),
    "a field that is not there": (
        'concept = "glass"\n',
        "",
        ("find.glass.concept", "required"),
    ),
    "a value below what is possible": (
        'raises = { glass = "cat" }',
        'raises = { glass = "cat" }\nparaphrases = 3',
        ("attribute.cat.paraphrases", "greater than or equal to 20"),
    ),
    "one of a few": (
        'concept = "glass"',
        'concept = "glass"\nkind = "unit"',
        ("find.glass.kind", "'neuron', 'direction' or 'both'"),
    ),
    "a bad name of a task": (
        "[find.glass]",
        "[find.Glass_1]",
        ("'find.Glass_1'", "lower-case letters"),
    ),
    "a bad name of a study": ('name = "small"', 'name = "Small one"', ("name", "'Small one'")),
    "an empty question": ('"Where is it?"', '""', ("question", "at least 1")),
    "a task that is no table": ("[find.glass]", "[find]", ("find.record must be a table",)),
    "an unknown task in quick": (
        '[quick."find.glass"]',
        '[quick."find.glas"]',
        ("quick has 'find.glas'", "find.glass"),
    ),
    "an unknown field in quick": ("top = 5", "tpo = 5", ("find.glass.tpo", "not permitted")),
    "a task that is needed": (
        '[find.glass]\nrecord = "styles"',
        '[find.glass]\nrecord = "style"',
        ("find.glass needs 'record.style'", "record.styles"),
    ),
    "tasks that need each other": (
        'concept = "glass"',
        'concept = "glass"\nrequires_support = ["verify.glass"]',
        ("find.glass needs verify.glass needs find.glass", "no order of tasks is possible"),
    ),
    "a headline of no task": (
        'headline = ["find.glass"]',
        'headline = ["find.glas"]',
        ("headline: 'find.glas'", "find.glass"),
    ),
    "a headline of a task that is skipped": (
        'headline = ["find.glass"]',
        'headline = ["group.tints"]',
        ("headline: 'group.tints'",),
    ),
    "a headline that makes no claims": (
        'headline = ["find.glass"]',
        'headline = ["record.styles"]',
        ("headline: record.styles makes no claims",),
    ),
    "a required task that makes no claims": (
        'concept = "glass"',
        'concept = "glass"\nrequires_support = ["record.styles"]',
        ("find.glass.requires_support: record.styles makes no claims",),
    ),
    "two rows of one name": (
        "[attribute.cat]",
        '[show.all]\ntitle = "?"\nrows = [{ prompt = "a" }, { prompt = "a" }]\n\n[attribute.cat]',
        ("show.all", "two are called 'a'"),
    ),
    "no headline": ('headline = ["find.glass"]', "headline = []", ("headline", "at least 1")),
    "an unknown classifier": (
        'find = "glass"\nclassifier = "style"',
        'find = "glass"\nclassifier = "styel"',
        ("verify.glass: the study has no classifier 'styel'", "style"),
    ),
    "a bad name of a classifier": (
        "[classifiers.tint]",
        '[classifiers."a=b"]',
        ("classifiers", "'a=b'"),
    ),
    "an unknown field of a classifier": (
        'default = "colour:tint"',
        'defualt = "colour:tint"',
        ("classifiers.tint.defualt", "not permitted"),
    ),
    "a piece that the prompt has not": (
        'raises = { glass = "cat" }',
        'raises = { glass = "cow" }',
        ("attribute.cat", "raises.glass: the prompt has no piece [cow]"),
    ),
    "a name that is no target": (
        'raises = { glass = "cat" }',
        'raises = { wood = "cat" }',
        ("attribute.cat", "targets has no 'wood'"),
    ),
    "a prompt whose pieces do not close": (
        '"a [cat] with a [dog]"',
        '"a [cat with a dog"',
        ("attribute.cat",),
    ),
    "both a find and a group": (
        '[verify.glass]\nfind = "glass"',
        '[verify.glass]\nfind = "glass"\ngroup = "tints"',
        ("verify.glass", "either find or group"),
    ),
    "max_levels of no factor": (
        'sites = ["text.*/mlp"]',
        'sites = ["text.*/mlp"]\nmax_levels = { subjcet = 2 }',
        ("record.styles", "no factor 'subjcet'"),
    ),
    "a slot of no factor": (
        'templates = ["{style} {subject}"]',
        'templates = ["{style} {subjcet}"]',
        ("record.styles.prompts", "no factor 'subjcet'"),
    ),
    "quick as no table": ('[quick."find.glass"]\ntop = 5', "", ()),
}


@pytest.mark.parametrize("which", ERRORS)
def test_an_error_names_the_file_the_field_and_what_is_possible(which: str, tmp_path: Path) -> None:
    old, new, words = ERRORS[which]
    if not words:
        head = FILE.partition("[quick")[0]
        assert "quick must be a table" in refusal("quick = 3\n" + head, tmp_path)
        return
    said = refusal(changed(old, new), tmp_path)
    assert all(word in said for word in words), said


def test_a_control_that_is_no_factor_and_no_classifier_is_refused(tmp_path: Path) -> None:
    said = refusal(changed('control = ["style"]', 'control = ["styel"]'), tmp_path, "full")
    assert "group.tints.control: 'styel' is no factor of styles and no classifier" in said


def test_what_is_no_file_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"absent.toml cannot be read"):
        Study.load(tmp_path / "absent.toml")
    assert "not valid TOML" in refusal("name = ", tmp_path)
