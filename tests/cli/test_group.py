import json
import re

import commands
import pytest
import typer
from contrasts import test_grouping

from clerestory.cli import group
from clerestory.contrasts import Findings
from clerestory.errors import EvidenceError, RegistryError

app = typer.Typer()
app.command("group")(group.group)
app.callback()(lambda: None)
recording = test_grouping.recording


def call(recording, *more):
    folder = recording.store.folder.where
    return commands.call(app, "group", folder, "--classifier", test_grouping.LIGHT, *more)


def test_json_has_the_names_that_scripts_rely_on(recording):
    content = json.loads(call(recording, "--control", "item", "--json").stdout)
    light = content["groups"]["light"]
    assert {"cells", "units"} <= set(light)
    assert {"unit", "status", "auroc", "low", "high", "q"} <= set(light["units"][0])


def test_the_report_shows_pictures_and_holds_nothing_from_outside(recording, tmp_path):
    words = call(recording, "--control", "item", "--out", tmp_path / "out").stdout
    assert "light" in words and "dark" in words
    page = (tmp_path / "out" / "report.html").read_text()
    listed, styled = set(re.findall(r'class="(p\d+)"', page)), set(re.findall(r"\.(p\d+) \{", page))
    assert listed == styled and len(styled) == page.count("data:image/png") > 30, (
        "each picture once"
    )
    assert "alike in item" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    found = Findings.load(tmp_path / "out" / "findings" / "00")
    assert found.samples is not None


def test_what_is_wrong_is_one_line(recording):
    with pytest.raises(RegistryError, match="no class 'bright'"):
        call(recording, "--classes", "bright,light")
    with pytest.raises(EvidenceError, match="control fewer columns"):
        call(recording)
