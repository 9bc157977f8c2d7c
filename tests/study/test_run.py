from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study import miniature
from tiny import tiny_model

from clerestory.errors import OutputError, SiteError, TableError
from clerestory.finding import Findings
from clerestory.steering import Add, SteeredModel
from clerestory.study import Results, plan, run
from clerestory.study.controlling import Gallery
from clerestory.study.plan import asked, readings
from clerestory.study.run import write

KEYS = {
    "auroc", "decoy_auroc", "style_rate", "subject_kept", "windows_added", "words_style_rate",
    "words_windows_added", "shuffled_style_rate",
}  # fmt: skip


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, Path, dict[str, int]]:
    folder = tmp_path_factory.mktemp("study") / "out"
    drawn: dict[str, int] = {}

    def progress(what: str, now: int, of: int) -> None:
        drawn[what] = drawn.get(what, 0) + of * (now == of)

    results = run(
        miniature.definition(), tiny_model(), folder, progress=progress, lookup=miniature.stubs
    )
    return results, folder, drawn


def test_results_json_has_every_figure_and_no_figure_that_is_none(done: Any) -> None:
    results, folder, _ = done
    told = json.loads((folder / "results.json").read_text())
    assert set(told["headline"]) == KEYS
    assert all(isinstance(value, float) for value in told["headline"].values())
    assert told["verdict"] == results.verdict
    assert told["detects"]["tested"] == sum(
        site.shape[1] + 1 for site in tiny_model().sites.match(results.study.read.sites)
    )
    assert len(told["controls"]["shuffled"]["rates"]) == 20
    assert "NaN" not in (folder / "results.json").read_text()


def test_the_report_is_one_file_that_fetches_nothing_and_runs_nothing(done: Any) -> None:
    page = _Page((done[1] / "report.html").read_text())
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert page.addresses
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert page.tags.count("svg") == 4


def test_what_comes_from_prompts_is_text_in_the_report(done: Any) -> None:
    page = _Page((done[1] / "report.html").read_text())
    assert f"q {miniature.HOSTILE}" in page.words
    assert f"{miniature.HOSTILE}alert(1)</script>" in page.words


def test_too_few_contents_are_warned_of_in_the_report(done: Any) -> None:
    assert "Only 5 contents to report on" in _Page((done[1] / "report.html").read_text()).words


def test_as_many_pictures_are_drawn_as_planned(done: Any) -> None:
    results, _, drawn = done
    counted = plan(results.study, tiny_model())
    assert drawn.pop("reading") == counted.readings == 9 * 2 * 3 * 2
    drawn.pop("finding")
    assert sum(drawn.values()) == counted.pictures


def test_a_study_that_finds_nothing_says_so_and_saves_no_model(done: Any) -> None:
    results, folder, _ = done
    assert results.verdict == "not found"
    assert results.answer.startswith("Not found")
    assert not (folder / "steered").exists()
    assert Findings.load(folder / "findings").findings == results.findings.findings


def test_a_study_that_finds_something_saves_a_model_that_draws(done: Any, tmp_path: Path) -> None:
    results, _, _ = done
    model = tiny_model()
    edit = Add("prior/embedding", results.findings.direction("prior/embedding"), 2.0)
    pictures = np.zeros((5, 16, 16, 3), np.uint8)
    names = ("unedited", "edited", "words", "shuffled")
    gallery = Gallery(("a",) * 5, ("q a",) * 5, 0, dict.fromkeys(names, pictures))
    write(replace(results, verdict="found"), gallery, model, edit, tmp_path)
    steered = SteeredModel.load(tmp_path / "steered", model)
    assert steered.draw("cat", 3).tolist() == model.run("cat", 3, edits=[edit]).pictures.tolist()
    assert steered.provenance["study"] == "miniature"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(OutputError, match="not empty"):
        run(miniature.definition(), tiny_model(), tmp_path, lookup=miniature.stubs)
    assert (tmp_path / "mine").read_text() == "kept"


def test_a_study_of_sites_that_the_model_lacks_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    told = miniature.told()
    told["read"]["sites"] = ["prior/embeddin"]
    with pytest.raises(SiteError):
        run(miniature.definition(**told), tiny_model(), tmp_path / "out", lookup=miniature.stubs)
    told["read"]["sites"] = ["text.*/mlp"]
    with pytest.raises(TableError, match="not among the sites that it reads"):
        run(miniature.definition(**told), tiny_model(), tmp_path / "out", lookup=miniature.stubs)
    assert not (tmp_path / "out").exists()


def test_set_a_tunes_on_one_half_and_set_b_reports_on_the_other(tmp_path: Path) -> None:
    sets: dict[str, list[str]] = {"a": [], "b": []}
    now = "reading"

    def lookup(name: str, which: str) -> Any:
        stub = miniature.stubs(name, which)

        class Spy:
            classes, source = stub.classes, stub.source

            def __call__(self, pictures: Any) -> Any:
                sets[which].append(now)
                return stub(pictures)

        return Spy()

    def progress(what: str, done: int, of: int) -> None:
        nonlocal now
        now = what

    model, asked_for = tiny_model(), {}
    sweep = model.sweep

    def spied(prompts: Any, seeds: Any, sets: Any, **how: Any) -> Any:
        runs = sweep(prompts, seeds, sets, **how)
        asked_for.setdefault(now, set()).update(prompts)
        return runs

    model.sweep = spied  # type: ignore[method-assign]
    run(miniature.definition(), model, tmp_path / "out", progress=progress, lookup=lookup)
    assert set(sets["a"]) == {"tuning"}
    assert sets["b"]
    assert "tuning" not in sets["b"]
    contents = miniature.told()["contents"]
    asked_for.pop("reading")
    tuned = " ".join(asked_for.pop("tuning")).split()
    assert set(tuned) & set(contents["discovery"])
    assert not set(tuned) & set(contents["report"])
    reported = " ".join(" ".join(prompts) for prompts in asked_for.values()).split()
    assert set(reported) & set(contents["report"])
    assert not set(reported) & set(contents["discovery"])


def test_units_in_the_report_are_the_first_of_discovery(done: Any) -> None:
    results, folder, _ = done
    page = (folder / "report.html").read_text()
    first = [found.unit for found in results.findings.of("neuron") if found.rank <= 8]
    assert len(first) == 8
    assert all(f"<code>{unit}</code>" in page for unit in first)


def test_shuffled_directions_stand_beside_what_directions_detect(done: Any) -> None:
    findings = done[0].findings
    assert all(len(found.detects.shuffled) == 20 for found in findings.of("direction"))
    assert all(0.5 <= value <= 1 for f in findings.of("direction") for value in f.detects.shuffled)
    assert not any(found.detects.shuffled for found in findings.of("neuron"))


def test_what_cannot_be_judged_or_read_whole_is_refused_before_anything_is_read(
    tmp_path: Path,
) -> None:
    told = miniature.told()
    told["read"]["sites"] = ["prior/embedding", "text.blocks.0/mlp[10:14]"]
    with pytest.raises(TableError, match="reads a part of"):
        run(miniature.definition(**told), tiny_model(), tmp_path / "out", lookup=miniature.stubs)
    told = miniature.told()
    told["contents"]["report"]["catt"] = "catt"
    with pytest.raises(TableError, match=r"no class 'catt'.*Did you mean cat"):
        run(miniature.definition(**told), tiny_model(), tmp_path / "out", lookup=miniature.stubs)
    assert not (tmp_path / "out").exists()


def test_every_content_stands_in_every_phrasing_of_its_half_once_a_seed() -> None:
    table = readings(miniature.definition())
    assert not table.duplicated(["prompt", "seed"]).any()
    counts = table.groupby(["half", "arm", "content"]).size()
    assert set(counts) == {2 * 2}


def test_the_same_row_of_every_arm_is_the_same_content_in_the_same_turn() -> None:
    study = miniature.definition()
    words, plain = (asked(study, "report", arm, 3) for arm in ("shown", "absent"))
    assert words.contents == plain.contents
    assert words.prompts == (f"g {miniature.HOSTILE}", "ant g", "g owl")
    assert plain.prompts == (f"q {miniature.HOSTILE}", "ant q", "q owl")
