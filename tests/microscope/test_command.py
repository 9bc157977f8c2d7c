"""The commands, as a person calls them."""

import base64
import io
import json
from dataclasses import replace

import commands
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clerestory.cli.microscope import app
from clerestory.contrasts import find
from clerestory.errors import EvidenceError, OutputError, RecordingError, ThemeError
from clerestory.microscope import Microscope, Themes
from clerestory.microscope.views import Views
from clerestory.recordings import Recording
from clerestory.reporting.results import Provenance
from microscope.conftest import MIDDLE, MLP


def test_build_cites_searches_and_goes_on(recorded, tmp_path, model, monkeypatch):
    out, rec = tmp_path / "scope", recorded[0].store.folder
    table = recorded[0].samples
    found = find(
        _with_factors(recorded[0], tmp_path, table),
        positive="animal == 'cat'",
        negative="animal == 'dog'",
        match="letter",
    )
    model_plan = Recording.open(str(rec)).manifest["plan"]["model"]
    origin = Provenance("", model_plan["name"], model_plan["weights"])
    replace(found, provenance=origin).save(tmp_path / "cats")
    found.save(tmp_path / "others")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "report.html").write_text("<h1>all</h1>")
    (tmp_path / "study" / "tasks").mkdir()
    words = ["build", rec, "--out", out, "--findings", tmp_path / "cats"]
    commands.call(app, *words, "--studies", tmp_path / "study")
    views = Views(Microscope(out), Themes(out / "themes.sqlite"))
    neuron = found.by_kind("neuron")[0]
    told = views.unit(views.microscope.named(neuron.unit.partition("@")[0]))
    assert (told["findings"][0]["finding"], told["findings"][0]["rank"]) == (
        "cats",
        neuron.selection_rank,
    )
    assert not (out / "studies" / "study" / "tasks").exists()  # its arrays may be large
    assert views.studies()["studies"] == [{"name": "study", "path": "studies/study/report.html"}]
    with pytest.raises(EvidenceError):
        commands.call(app, "build", rec, "--out", out, "--findings", tmp_path / "study")
    with pytest.raises(EvidenceError, match="was found in noise"):
        commands.call(app, "build", rec, "--out", out, "--findings", tmp_path / "others")
    with pytest.raises(OutputError, match="has no report"):
        commands.call(app, "build", rec, "--out", out, "--studies", tmp_path / "cats")
    with pytest.raises(RecordingError):
        commands.call(app, "build", tmp_path / "none", "--out", tmp_path / "other")


def _with_factors(recording, folder, table):
    """The same activations with the factors that a contrast needs."""
    from helpers.recordings import recording_of

    prompts = pd.Series(table["prompt"]).str.split(" ")
    told = pd.DataFrame(
        {
            "prompt": table["prompt"],
            "seed": table["seed"],
            "animal": prompts.str[1],
            "template": prompts.str[0] + " {animal} " + prompts.str[2],
            "letter": prompts.str[3],
        }
    )
    return recording_of(told, {MLP: recording.read(MLP).to_numpy()}, folder / "told")


def test_themes_go_out_come_in_and_are_backed_up(scope, tmp_path):
    Themes(scope / "themes.sqlite").add(f"{MLP}[3]", "cats", rater="ada")
    printed = commands.call(app, "themes", "export", scope).stdout
    (tmp_path / "themes.jsonl").write_text(printed)
    said = commands.call(app, "themes", "import", scope, tmp_path / "themes.jsonl")
    assert json.loads(printed)["text"] == "cats" and "0 new themes" in said.output
    commands.call(app, "backup", scope, tmp_path / "copy.sqlite")
    assert len(Themes(tmp_path / "copy.sqlite").all()) == 1
    (tmp_path / "bad.jsonl").write_text("{}\n")
    with pytest.raises(ThemeError, match="Line 1"):
        commands.call(app, "themes", "import", scope, tmp_path / "bad.jsonl")
    with pytest.raises(RecordingError, match="no microscope"):
        commands.call(app, "themes", "export", tmp_path)


def test_export_writes_a_site_or_rows_and_overwrites_nothing(scope, tmp_path):
    commands.call(app, "export", scope, "--out", tmp_path / "site")
    commands.call(app, "export", scope, "--out", tmp_path / "rows", "--format", "neuronpedia")
    assert (tmp_path / "site" / "index.html").exists() and (tmp_path / "rows" / "features").is_dir()
    with pytest.raises(OutputError):
        commands.call(app, "export", scope, "--out", tmp_path / "site")


def test_a_spatial_unit_shows_where_it_is_high(scope):
    views = Views(Microscope(scope), Themes(scope / "themes.sqlite"))
    unit = views.microscope.unit(MIDDLE, 2)
    first = views.unit(unit)["most"][0]
    layer, cut = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(first[name].partition(",")[2]))))
        for name in ("overlay", "crop")
    )
    at = int(np.flatnonzero(unit.figure("where-samples") == first["sample"])[0])
    heat = np.asarray(unit.figure("where")[at])
    assert layer.shape == (*heat.shape, 4)
    assert layer[..., 3].argmax() == (heat // 4 * 3).argmax()
    whole = np.asarray(Image.open(scope / first["picture"]))
    side = len(cut)
    found = [
        (row, column)
        for row in range(len(whole) - side + 1)
        for column in range(whole.shape[1] - side + 1)
        if np.array_equal(whole[row : row + side, column : column + side], cut)
    ]
    row, column = np.array(np.unravel_index(heat.argmax(), heat.shape)) + 0.5
    high = row / len(heat) * len(whole), column / len(heat) * len(whole)
    assert any(
        at <= place < at + side or at in (0, len(whole) - side)
        for corner in found
        for at, place in zip(corner, high, strict=True)
    )
    assert views.unit(views.microscope.unit(MLP, 2))["most"][0]["overlay"] is None


def test_units_are_named_by_machine_and_themes_scored_alike(scope, recorded, model, tmp_path):
    from clerestory.microscope.names import load_names, name_all, theme_scores
    from clerestory.naming import name_units

    themes = Themes(scope / "themes.sqlite")
    theme = themes.add(f"{MLP}[3]", "a cat", rater="ada")
    microscope = Microscope(scope)
    name_all(microscope, recorded, None, progress=False)
    expected = name_units(recorded[0], sites=MLP, progress=False)
    names = load_names(microscope, microscope.sites[MLP])
    assert {unit: list(mine) for unit, mine in names.items()} == {
        unit: list(expected.of(unit)) for unit in names
    }
    views = Views(microscope, themes)
    named = next(iter(names))
    page = views.unit(microscope.named(named))
    assert [entry["text"] for entry in page["names"]] == [name.text for name in names[named]]
    (entry,) = views.unit(microscope.named(theme.unit))["themes"]
    score = theme_scores(microscope)[theme.key]
    assert entry["scores"]["detection"]["auroc"] == score.detection.auroc
    assert score.drawing is None
    found = views.search(names[named][0].text)["names"]
    assert named in {entry["unit"] for entry in found}
    # A name that was drawn as well, and one whose fit the embedding decides.
    file = scope / "names" / "000.json"
    content = json.loads(file.read_text())
    drawn = {"status": "found", "items": 12, "others": 99, "auroc": 0.91, "low": 0.8}
    content[0] |= {"drawing": {**drawn, "high": 0.97, "p": 0.01, "q": 0.02}}
    content[0]["detection"] |= {"basis": "embedding"}
    file.write_text(json.dumps(content))
    commands.call(app, "export", scope, "--out", tmp_path / "site")
    text = (tmp_path / "site" / views.path(microscope.named(named).path) / "index.html").read_text()
    assert "Named by machine" in text and "by the model's embedding" in text
    assert "drawing: found, AUROC 0.91 (0.80 to 0.97), q 0.02" in text


def test_build_names_units_where_it_is_asked_to(recorded, tmp_path):
    out = tmp_path / "scope"
    folders = [recording.store.folder for recording in recorded]
    commands.call(app, "build", *folders, "--out", out, "--name-units", "--no-draw")
    assert sorted(path.name for path in (out / "names").iterdir()) == [
        "000.json",
        "001.json",
        "themes.json",
    ]
    (out / "names" / "000.json").write_text('[{"unit": 3}]')
    with pytest.raises(RecordingError):
        Views(Microscope(out), Themes(out / "themes.sqlite")).site(MLP)
