from __future__ import annotations

import functools
import json

import commands
import pytest
import typer
from tiny import tiny_model

from clerestory.cli import trace
from clerestory.errors import EvidenceError

app = typer.Typer()
app.command("trace")(trace.trace)
app.command("other")(lambda: None)
call = functools.partial(commands.call, app)
HOW = ["--of", "text/pooled[2]", "--sites", "text.*/z", "--random-graphs", 1, "--no-maps"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    opened = lambda *_, **__: tiny_model()  # noqa: E731
    monkeypatch.setattr("clerestory.models.load", opened)
    monkeypatch.setattr("clerestory.load", opened, raising=False)


def test_a_path_is_traced_printed_and_saved(tmp_path):
    items = tmp_path / "items.txt"
    items.write_text("\n".join("abcdefgh"))
    options = [*HOW, "--items", items, "--json", "--out", tmp_path / "out"]
    told = json.loads(call("trace", "{item} cat", "--against", "{item} dog", *options).stdout)
    assert told["clean_prompts"] == [f"{letter} cat" for letter in "abcdefgh"]
    assert told["corrupted_prompts"][0] == "a dog"
    assert (told["selection"], told["evaluation"]) == (4, 4)
    assert told["nodes"][0]["address"] == "prompt" and {"address", "effect"} <= set(
        told["nodes"][1]
    )
    assert {"source", "target", "effect"} <= set(told["edges"][0])
    assert isinstance(told["faithfulness"], float) and isinstance(told["completeness"], float)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"plan.json", "selection.json", "trace.json", "trace.html"} <= names
    again = call("trace", "{item} cat", "--against", "{item} dog", *options).stdout
    assert json.loads(again) == told


def test_items_and_placeholders_belong_together(tmp_path):
    items = tmp_path / "items.txt"
    items.write_text("\n".join("abcdefgh"))
    for prompts, options, message in (
        (("{item} cat", "a dog"), (), "it needs both"),
        (("a cat", "a dog"), ("--items", items), "--items needs"),
    ):
        with pytest.raises(EvidenceError, match=message):
            call("trace", prompts[0], "--against", prompts[1], *HOW, *options)
