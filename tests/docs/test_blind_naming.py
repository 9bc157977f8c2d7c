"""Pictures named without their prompts: the draw, the marks, and their place in Lancet's card."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lancet.evaluation.prompts import grid
from lancet.world.table import World

TOOLS = Path(__file__).parents[2] / "tools"
NAMES = """\
kind,number,name
subject,1,Cat
subject,2,teapot
subject, 2 , dog
subject,3,a blot
render,1,owl
mood,1,sad
"""


@pytest.fixture
def naming(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.syspath_prepend(str(TOOLS))
    import blind_naming

    card = tmp_path / "lancet.json"
    rates = {"subject": {"rate": 0.75}, "mood": {"rate": 0.5}}
    card.write_text(json.dumps({"revision": "r1", "evaluation": {"rates": rates}}))
    monkeypatch.setattr(blind_naming, "CARD", card)
    return blind_naming


def row(kind, number, label, classified, rated=True):
    about = {"prompt": f"a {label}", "seed": 0, "rated": rated}
    return {"kind": kind, "number": number, "label": label, "classified": classified, **about}


@pytest.fixture
def key(naming, tmp_path):
    rows = [
        row("subject", 1, "cat", "cat"),
        row("subject", 2, "dog", "dog"),
        row("subject", 3, "ship", "ship"),
        row("subject", 4, "owl", "cat"),
        row("mood", 1, "sad", "happy"),
        row("mood", 2, "sad", "sad"),
        row("render", 1, "owl", "owl", rated=False),
        row("render", 2, "bear", "bear", rated=False),
    ]
    about = {"model": "lancet", "revision": "r1", "prompts": {"subject": 40, "mood": 20}}
    folder = tmp_path / "key"
    naming.write_key(folder, about, rows, {})
    pictures = np.zeros((4, 64, 64, 3), np.uint8)
    np.savez(folder / "pictures.npz", subject=pictures)
    return folder


def scored(naming, key, tmp_path, text=NAMES, namer="a person"):
    file = tmp_path / "names.csv"
    file.write_text(text)
    return naming.score([file], key, namer, tmp_path / "marks.json")


def test_the_first_naming_counts_and_others_are_kept(naming, key, tmp_path):
    subject, mood = scored(naming, key, tmp_path)
    # Picture 1 is right; 2 was first named wrong, 3 is no label, 4 has no naming.
    assert (subject["named"], subject["pictures"], subject["classifier"]) == (1, 4, 3)
    assert subject["agreement"] == 0.25
    assert subject["low"] < 0.25 < subject["high"]
    assert [(n["number"], n["name"], n["truth"], n["counts"]) for n in subject["names"]] == [
        (1, "cat", "cat", True),
        (2, "teapot", "dog", True),
        (2, "dog", "dog", False),
        (3, "a blot", "ship", True),
    ]
    assert (subject["ceiling"], subject["ceiling_pictures"]) == (1, 2)
    assert (mood["kind"], mood["named"], mood["classifier"], mood["ceiling"]) == (
        "mood",
        1,
        1,
        None,
    )


def test_marks_replace_those_of_the_same_namer_and_are_stored_with_the_pictures(
    naming, key, tmp_path
):
    for namer in ("one", "two", "one"):
        scored(naming, key, tmp_path, namer=namer)
    kept = json.loads((tmp_path / "marks.json").read_text())
    assert Counter(entry["namer"] for entry in kept) == {"one": 2, "two": 2}
    with Image.open(tmp_path / "marks" / "lancet-subject-1.png") as sheet:
        assert sheet.mode == "P"


def test_a_naming_of_no_picture_and_a_file_without_columns_are_refused(naming, key, tmp_path):
    with pytest.raises(SystemExit, match=r"subject.*9"):
        scored(naming, key, tmp_path, "kind,number,name\nsubject,9,cat\n")
    with pytest.raises(SystemExit, match="columns"):
        scored(naming, key, tmp_path, "picture,name\n1,cat\n")
    with pytest.raises(SystemExit, match="line 2"):
        scored(naming, key, tmp_path, "kind,number,name\nsubject,one,cat\n")


def test_corrected_rates_know_the_answer(naming):
    # The namer is right on 80% of what the classifier has right, and on 10% of the rest.
    right = [True] * 900 + [False] * 100
    named = [True] * 720 + [False] * 180 + [True] * 10 + [False] * 90
    corrected = naming.corrected_rate(right, named, 9000, 10000)
    assert corrected["rate"] == pytest.approx(0.73, abs=0.005)
    assert corrected["low"] < 0.73 < corrected["high"]
    perfect = naming.corrected_rate([True] * 60, [True] * 60, 60, 60)
    assert perfect["low"] < 0.97 < perfect["high"] <= 1


def test_corrected_rates_cover_the_true_rate(naming):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        right = rng.random(244) < 0.88
        named = rng.random(244) < np.where(right, 0.8, 0.1)
        corrected = naming.corrected_rate(right[:60], named[:60], int(right.sum()), 244)
        covered += corrected["low"] <= 0.88 * 0.8 + 0.12 * 0.1 <= corrected["high"]
    assert covered >= 180


def test_prompts_are_chosen_evenly_and_never_twice(naming):
    world = World.load()
    prompts = grid(world)
    chosen = naming.choose(world, prompts, np.random.default_rng(0))
    rows = [row for kind in chosen.values() for row in kind]
    assert len(rows) == len(set(rows)) == 240
    for kind, taken in chosen.items():
        counts = Counter(getattr(prompts[row], kind) for row in taken).values()
        assert max(counts) - min(counts) <= 1
    assert len({prompts[row].perspective for row in chosen["perspective"]}) == 5


def test_renders_are_held_out_and_in_styles_and_places_of_the_prompts(naming):
    world, rng = World.load(), np.random.default_rng(0)
    prompts = [prompt for prompt in grid(world) if prompt.part == "main" and prompt.mood == "none"]
    scenes = naming.render_scenes(world, prompts[:8], 12, rng)
    assert len({scene.subject for scene in scenes}) == 12
    assert {scene.split for scene in scenes} == {"train"}
    assert {(s.style, s.place) for s in scenes} <= {(p.style, p.place) for p in prompts[:8]}


def test_sheets_hold_no_key(naming, tmp_path):
    pictures = np.zeros((31, 64, 64, 3), np.uint8)
    naming.write_sheets(tmp_path, {"subject": pictures}, {"subject": ["cat", "dog"]})
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "README.txt",
        "lancet.json",
        "subject-1.png",
        "subject-2.png",
        "subject-labels.txt",
    ]
    with Image.open(tmp_path / "subject-1.png") as sheet:
        assert sheet.size == (6 * 204 + 12, 5 * 224 + 12)


def test_the_card_shows_marks_where_there_are_any(naming, key, tmp_path, monkeypatch):
    import lancet_card

    monkeypatch.setattr(lancet_card, "MARKS", tmp_path / "marks.json")
    before, explained = lancet_card.page(), lancet_card.explanation()
    for page in (before, explained):
        assert "44 of 60 subjects" in page
        assert "@" not in page
    assert "Outside marks" not in before
    assert "picture alone |" not in before
    scored(naming, key, tmp_path)
    after, explained = lancet_card.page(), lancet_card.explanation()
    assert "## Outside marks" in after
    assert "| 1 of 4 |" in after
    sentence = "From the picture alone, a person named 1 of 4 subjects"
    assert sentence in after
    assert sentence in explained
