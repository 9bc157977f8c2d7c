"""Prompts are what a person sees in the file, whichever program wrote it."""

from __future__ import annotations

import codecs
from pathlib import Path

import pandas as pd
import pytest

from clerestory.errors import PromptError
from clerestory.evaluation.items import select_items
from clerestory.maximization.vocabularies import vocabulary_words
from clerestory.recordings.prompts import prompt_table
from clerestory.recordings.template import Template

BOM = codecs.BOM_UTF8
TEMPLATE = 'templates = ["{item}"]\n[levels.item]\ncat = "a cat"\n'


def written(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\u0085", "\u2028", "\u2029", "\v", "\f"])
def test_a_prompt_ends_at_any_separator_of_lines(end: str, tmp_path: Path) -> None:
    path = written(tmp_path, "p.txt", f"a cat{end}a dog{end}{end}")
    assert list(prompt_table(path)["prompt"]) == ["a cat", "a dog"]
    assert vocabulary_words(path) == ["a cat", "a dog"]
    assert select_items(None, path, "", 2) == ("a cat", "a dog")  # type: ignore[arg-type]


@pytest.mark.parametrize("content", [b"a cat\na dog", b"a cat\n" + BOM + b"a dog\n"])
def test_a_byte_order_mark_is_no_part_of_a_prompt(content: bytes, tmp_path: Path) -> None:
    path = written(tmp_path, "p.txt", BOM + content)
    assert list(prompt_table(path)["prompt"]) == ["a cat", "a dog"]
    assert vocabulary_words(path) == ["a cat", "a dog"]
    assert select_items(None, path, "", 2) == ("a cat", "a dog")  # type: ignore[arg-type]


def test_a_byte_order_mark_is_no_part_of_a_header_or_a_template(tmp_path: Path) -> None:
    table = prompt_table(written(tmp_path, "p.csv", BOM + b"prompt,style\na cat,ink\n"))
    assert list(table) == ["prompt", "style"]
    assert Template.read(written(tmp_path, "p.toml", BOM + TEMPLATE.encode())).templates


def test_a_header_and_levels_in_another_normal_form_are_the_same(tmp_path: Path) -> None:
    rows = "prompt,cafe\u0301\na,e\u0301\nb,\u00e9\n"
    table = prompt_table(written(tmp_path, "p.csv", rows))
    assert list(table) == ["prompt", "caf\u00e9"]
    assert len(set(table["caf\u00e9"])) == 1
    assert select_items(None, ["a cafe\u0301", "a caf\u00e9", "x"], "", 2) == ("a café", "x")  # type: ignore[arg-type]


def test_prompts_that_look_like_numbers_or_like_nothing_are_texts(tmp_path: Path) -> None:
    path = written(tmp_path, "p.csv", "prompt,item,level\n007,1,3\nNA,2,4\n1984,03,5\n")
    table = prompt_table(path)
    assert list(table["prompt"]) == ["007", "NA", "1984"]
    assert list(table["item"]) == ["1", "2", "03"]
    assert list(table["level"]) == [3, 4, 5]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt,style\na cat, in ink,glass\nb, c,d\n", "line 2 has 3 cells and the header 2"),
        ("prompt,style\na cat\n", "line 2 has 1 cells"),
        ("prompt,style,style\na,b,c\n", "column 'style' twice"),
        ('prompt,style\n"a cat,ink\n', "cannot be read as .csv"),
        ("prompt;style\na cat;ink\n", "no column 'prompt'; it has prompt;style"),
        ("a cat\n".encode("utf-16"), "it seems to be UTF-16"),
        ("prompt\n", "no prompt"),
        ("", "cannot be read|no column|no prompt"),
    ],
)
def test_a_table_that_would_be_read_otherwise_is_refused_in_one_line(
    content: str | bytes, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(PromptError, match=expected) as caught:
        prompt_table(written(tmp_path, "p.csv", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "hint"),
    [
        ("utf-16", "it seems to be UTF-16."),
        ("utf-16-le", "it seems to be UTF-16LE."),
        ("utf-16-be", "it seems to be UTF-16BE."),
        ("utf-32", "it seems to be UTF-32."),
        ("utf-32-be", "it seems to be UTF-32BE."),
        ("cp1252", "such as WINDOWS-1252 or"),
        ("gb18030", "GB18030"),
    ],
)
@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.toml"])
def test_a_text_in_another_encoding_is_told_with_the_way_out(name, encoding, hint, tmp_path):
    text = {
        "p.txt": "a caf\u00e9\n\u732b\n",
        "p.csv": "prompt,item\na caf\u00e9,\u732b\n",
        "p.toml": TEMPLATE.replace("a cat", "a caf\u00e9 \u732b"),
    }[name]
    raw = text.encode(encoding, "replace")
    assert raw.decode(encoding).startswith(text[:6])
    with pytest.raises(PromptError, match="is not UTF-8") as caught:
        prompt_table(written(tmp_path, name, raw))
    assert hint in str(caught.value) and "\n" not in str(caught.value)
    command = str(caught.value).partition("iconv -f ")[2].split()
    assert command[1:3] == ["-t", "UTF-8"]
    if "utf" in encoding:
        # What the message says gives back the text.
        assert raw.decode(command[0]) == text


def test_a_table_with_two_columns_of_one_name_is_refused() -> None:
    table = pd.DataFrame([["a", "b", "c"]], columns=["prompt", "caf\u00e9", "cafe\u0301"])
    with pytest.raises(PromptError, match="two columns of one name"):
        prompt_table(table)


NO_LEVELS = {
    "complex": [1j, 2j],
    "mappings": [{"a": 1}, {"b": 2}],
    "lists": [[1], [2]],
    "beyond 64 bits": [2**70, 1],
    "several kinds": [1, "a"],
    "objects": [object(), object()],
    "paths": [Path("a"), Path("b")],
}


@pytest.mark.parametrize("levels", NO_LEVELS.values(), ids=NO_LEVELS)
def test_levels_that_no_file_gives_back_are_refused_before_anything_is_drawn(levels):
    table = pd.DataFrame({"prompt": ["a cat", "a dog"], "factor": pd.Series(levels, dtype=object)})
    with pytest.raises(PromptError, match=r"The column 'factor' of the table has .* as levels"):
        prompt_table(table)


@pytest.mark.parametrize(
    "levels", [["a", None], [1, 2], [1.5, None], [True, False], [pd.Timestamp(0), None]]
)
def test_texts_numbers_and_dates_are_levels(levels):
    table = pd.DataFrame({"prompt": ["a cat", "a dog"], "factor": levels})
    assert prompt_table(table)["factor"].isna().tolist() == pd.isna(levels).tolist()
