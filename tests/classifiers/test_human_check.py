from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from commands import call
from tiny import tiny_model

from clerestory.classifiers import (
    HumanCheck,
    check_classifier,
    label_samples,
    load_check,
    load_classifier,
    write_sheet,
)
from clerestory.classifiers.kinds.hub import HubClassifier
from clerestory.cli.main import app
from clerestory.contrasts.predictions import PictureClassifiers
from clerestory.errors import EvidenceError, OutputError, RecordingError
from clerestory.recordings import Recording, record

NAME = "python:mine_for_tests:brightness"


def marked(folder: Path, levels: Any) -> Path:
    """The sheet's table, filled in by `levels`, a function of the sample."""
    table = pd.read_csv(folder / "marks.csv", dtype=str, keep_default_na=False)
    table["marked"] = [levels(int(sample)) for sample in table["sample"]]
    table.to_csv(folder / "marks.csv", index=False)
    return folder / "marks.csv"


def made(
    confusion: list[list[int]],
    said: tuple[float, ...],
    pictures: int = 1000,
    unsure: list[int] | None = None,
) -> HumanCheck:
    classes = tuple("abc"[: len(said)])
    unsure = np.zeros(len(said), int) if unsure is None else np.array(unsure)
    return HumanCheck("judge", classes, np.array(confusion), unsure, said, pictures)


def test_the_sheet_shows_pictures_and_not_predictions(
    recording: Any, mine: Any, tmp_path: Path
) -> None:
    from PIL import Image

    assert write_sheet(recording, NAME, tmp_path / "sheet", size=5) == 5
    table = pd.read_csv(tmp_path / "sheet" / "marks.csv", keep_default_na=False)
    assert list(table) == ["sample", "picture", "marked"]
    assert set(table["marked"]) == {""}
    assert table["sample"].is_unique
    for row, file in zip(table["sample"], table["picture"], strict=True):
        with Image.open(tmp_path / "sheet" / file) as picture:
            assert np.array_equal(np.asarray(picture), recording.pictures(row)[0])
    page = (tmp_path / "sheet" / "page.html").read_text()
    assert all(file in page for file in table["picture"])
    assert "predicted.brightness" not in page
    assert sum(mine.calls) == 1
    assert write_sheet(recording, NAME, tmp_path / "all") == 8


def test_marks_become_a_confusion_that_is_kept_and_told(
    recording: Any, mine: Any, tmp_path: Path
) -> None:
    assert load_check(recording, load_classifier(NAME)) is None
    write_sheet(recording, NAME, tmp_path / "sheet")
    light = recording.pictures(range(8)).mean((1, 2, 3)) / 255 > 0.5
    wrong, unsure, empty = 0, 1, 2

    def level(sample: int) -> str:
        truth = ("light", "dark")[int(light[sample] == (sample != wrong))]
        opposite = {"light": "dark", "dark": "light"}
        own = opposite[truth]
        return {unsure: "?", empty: ""}.get(sample, own)

    found = check_classifier(recording, NAME, marked(tmp_path / "sheet", level))
    expected = np.zeros((2, 2), int)
    for sample in range(8):
        if sample not in (unsure, empty):
            said = int(light[sample])
            expected[said if sample != wrong else 1 - said, said] += 1
    assert np.array_equal(found.confusion, expected)
    assert (found.marked, found.agreed) == (6, 5)
    assert found.predicted[1] == light.mean()
    again = load_check(recording, load_classifier(NAME))
    assert again is not None
    assert again.to_dict() == found.to_dict()
    told = PictureClassifiers.from_queries(
        recording, ["predicted.tone == 'dark'"], {"tone": NAME}, None
    ).checks()
    assert told[NAME] is not None
    assert told[NAME].sentence == found.sentence
    assert "agrees on 5 of 6 pictures" in found.sentence


def test_a_classifier_with_weights_of_the_model_is_told(tmp_path: Path) -> None:
    import torch

    from clerestory.models.core.weight_digests import encoder_digests, weight_digests

    model = tiny_model()
    text = model.pipeline.prior_text_encoder
    marks = encoder_digests(model.pipeline)
    assert set(weight_digests([text])) <= set(marks)
    assert weight_digests([copy.deepcopy(text).to(torch.bfloat16)]) == weight_digests([text])
    other = copy.deepcopy(text)
    for weight in other.parameters():
        torch.nn.init.normal_(weight)
    assert not set(weight_digests([other])) & set(marks)

    found = record(model, ["a cat"], range(2), sites="text/pooled", out=tmp_path / "rec")
    for network, expected in ((text, ["judge shares 100% of its weight"]), (other, [])):
        judge = HubClassifier("judge", ("a", "b"), network, None)
        eyes = PictureClassifiers(found, {"tone": "judge"})
        with patch("clerestory.contrasts.predictions.load_classifier", return_value=judge):
            assert [str(warning)[:31] for warning in eyes.warnings()[:-1]] == expected


def test_a_function_that_changed_is_not_checked_any_more(
    recording: Any, mine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sheet(recording, NAME, tmp_path / "sheet")
    check_classifier(recording, NAME, marked(tmp_path / "sheet", lambda sample: "dark"))
    assert load_check(recording, load_classifier(NAME)) is not None
    monkeypatch.setattr(mine.brightness, "classes", ("dim", "light"))
    assert load_check(recording, load_classifier(NAME)) is None


def test_rates_are_corrected_by_what_was_missed_and_what_was_wrong() -> None:
    found = made([[30, 10, 0], [0, 40, 0], [0, 0, 20]], (0.30, 0.50, 0.20))
    rates = [found.corrected(name) for name in "abc"]
    assert [one.predicted for one in rates] == [0.30, 0.50, 0.20]
    assert [round(one.rate, 9) for one in rates] == [0.40, 0.40, 0.20]
    assert sum(one.rate for one in rates) == pytest.approx(1)
    assert all(one.low < one.rate < one.high for one in rates)
    perfect = made([[50, 0], [0, 50]], (0.5, 0.5)).corrected("a")
    assert perfect.rate == 0.5
    assert 0.44 < perfect.low < 0.47
    assert 0.53 < perfect.high < 0.56


def test_the_corrected_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.3
    said = np.where(rng.random(4000) < 0.15, ~truth, truth)
    held = 0
    for _ in range(400):
        chosen = rng.choice(4000, 100, replace=False)
        confusion = np.histogram2d(truth[chosen], said[chosen], bins=(2, 2))[0].astype(int)
        one = made(confusion.tolist(), (1 - said.mean(), said.mean()), 4000).corrected("b")
        held += one.low <= truth.mean() <= one.high
    assert held >= 0.95 * 400


def test_what_a_person_cannot_tell_widens_the_interval_by_the_worst_of_it() -> None:
    sure = made([[30, 0], [0, 60]], (0.30, 0.70))
    unsure = made([[30, 0], [0, 60]], (0.30, 0.70), unsure=[2, 8])
    assert unsure.corrected("a").rate == sure.corrected("a").rate == 0.30
    assert unsure.corrected("a").high > 0.30 + 8 / 100
    assert unsure.corrected("a").low < 0.30 - 2 / 100
    assert unsure.corrected("b").high > 0.70 + 2 / 100
    assert "agrees on 90 of 90 pictures" in unsure.sentence
    assert unsure.sentence.endswith("and cannot tell 10 more.")
    assert unsure.shares(["predicted.x == 'a'"]).startswith("Of all pictures: a 30%, corrected ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "is not a table of marks"),
        ("a,b\n1,2\n", "columns: sample, picture, marked"),
        ("sample,picture,marked\n0,pictures/x.png,\n", "has no marks yet"),
        (
            "sample,picture,marked\n0,pictures/x.png,drak\n",
            "line 2: .* no 'drak'.* Did you mean dark",
        ),
        ("sample,picture,marked\nzero,pictures/x.png,dark\n", "'zero' is not a sample"),
        ("sample,picture,marked\n0,pictures/x.png,?\n", "is another picture"),
        ("sample,picture,marked\n0,pictures/x.png,dark\n", "is another picture"),
        ("sample,picture,marked\n99,pictures/x.png,dark\n", "is another picture"),
    ],
)
def test_what_are_no_marks_of_these_pictures_is_refused_in_one_line(
    recording: Any, mine: Any, tmp_path: Path, content: str | None, words: str
) -> None:
    if content is not None:
        (tmp_path / "marks.csv").write_text(content)
    with pytest.raises(EvidenceError, match=words) as caught:
        check_classifier(recording, NAME, tmp_path / "marks.csv")
    assert "\n" not in str(caught.value)


def test_two_tables_of_the_same_pictures_are_not_twice_the_evidence(
    recording: Any, mine: Any, tmp_path: Path
) -> None:
    write_sheet(recording, NAME, tmp_path / "sheet")
    marks = marked(tmp_path / "sheet", lambda sample: "dark")
    lines = marks.read_text().splitlines()
    marks.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(EvidenceError, match=r"line 10: sample \d is marked twice"):
        check_classifier(recording, NAME, marks)


def test_only_a_whole_recording_can_be_checked(mine: Any, tmp_path: Path) -> None:
    how: Any = {"sites": "text/pooled", "steps": 2, "prior_steps": 2, "batch": 2, "chunk": 4}
    half = record(tiny_model(), ["a cat", "a dog"], range(4), out=tmp_path / "rec", **how)
    half.store.remove_marker(1)
    with pytest.raises(RecordingError, match="lacks 4 samples yet"):
        write_sheet(Recording.open(tmp_path / "rec"), NAME, tmp_path / "sheet")


def test_names_of_classes_do_not_break_the_page(recording: Any, mine: Any, tmp_path: Path) -> None:
    mine.brightness.classes = ("</script><b>dark", 'it\'s & "light"')
    write_sheet(recording, NAME, tmp_path / "sheet")
    page = (tmp_path / "sheet" / "page.html").read_text()
    assert page.count("</script>") == 1
    assert "<b>dark" not in page


def test_the_apostrophe_that_keeps_a_class_from_being_a_formula_is_read_back(
    recording: Any, mine: Any, tmp_path: Path
) -> None:
    mine.brightness.classes = ("=1+1", "'light")
    write_sheet(recording, NAME, tmp_path / "sheet")
    marks = marked(tmp_path / "sheet", lambda sample: "'=1+1" if sample % 2 else "'light")
    assert check_classifier(recording, NAME, marks).confusion.sum(1).tolist() == [4, 4]


def test_a_damaged_check_is_one_line(recording: Any, mine: Any, tmp_path: Path) -> None:
    write_sheet(recording, NAME, tmp_path / "sheet")
    check_classifier(recording, NAME, marked(tmp_path / "sheet", lambda sample: "dark"))
    (file,) = (tmp_path / "rec" / "labels").glob("*.check.json")
    file.write_text(file.read_text()[:40])
    with pytest.raises(RecordingError, match="remove it, and check again"):
        load_check(recording, load_classifier(NAME))
    (labels,) = (tmp_path / "rec" / "labels").glob("*.parquet")
    labels.write_bytes(b"PAR1")
    assert len(label_samples(recording, NAME)) == 8


def test_the_command_writes_a_sheet_and_reads_it(recording: Any, mine: Any, tmp_path: Path) -> None:
    where, out = tmp_path / "rec", tmp_path / "sheet"
    call(app, "classifier", "check", NAME, where, "--out", out, "--size", 6)
    marks = marked(out, lambda sample: "dark")
    told = json.loads(
        call(app, "classifier", "check", NAME, where, "--marks", marks, "--json").stdout
    )
    assert told["marked"] == 6
    assert told["confusion"][1] == [0, 0]
    assert set(told["rates"]["dark"]) == {"predicted", "rate", "low", "high"}
    printed = call(app, "classifier", "check", NAME, where, "--marks", marks).stdout
    assert "agrees on" in printed
    assert "dark" in printed
    with pytest.raises(OutputError, match="Give --out"):
        call(app, "classifier", "check", NAME, where)
    with pytest.raises(OutputError, match="not empty"):
        call(app, "classifier", "check", NAME, where, "--out", out)
