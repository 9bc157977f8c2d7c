"""The pages over HTTP: each has a twin, themes are kept, the slider draws."""

import gzip
import json
import re
import sqlite3
import time

import numpy as np
import pytest
from starlette.testclient import TestClient

from clerestory.microscope import Microscope, Themes, application, neuronpedia, searches, site
from clerestory.microscope.redraw import Drawer, edit_of
from microscope.conftest import BASE, MIDDLE, MLP, PROMPTS


@pytest.fixture
def client(scope, model):
    with TestClient(application(scope, lambda: model), base_url=BASE) as opened:
        yield opened


@pytest.fixture(scope="module")
def name(built):
    return Microscope(built).model


def test_every_page_has_a_twin_of_the_same_data(client, name):
    pages = [f"/{name}", f"/{name}/{MLP}", f"/{name}/{MLP}/3", f"/{name}/{MIDDLE}/1"]
    pages += ["/studies", "/search?q=cat", f"/compare?a={MLP}[1]&b={MLP}[2]"]
    for page in pages:
        path, _, query = page.partition("?")
        shown = client.get(page)
        twin = client.get(f"{path}.json" + (f"?{query}" if query else ""))
        assert shown.status_code == twin.status_code == 200, page
        assert twin.json()["model"] == name
        assert shown.headers["content-type"].startswith("text/html")
    unit = client.get(f"/{name}/{MLP}/3.json").json()
    text = client.get(f"/{name}/{MLP}/3").text
    assert all(one["prompt"] in text for one in unit["most"])
    assert client.get("/" + unit["most"][0]["picture"]).content[:4] == b"\x89PNG"
    assert client.get("/", follow_redirects=False).headers["location"] == f"/{name}"


def test_a_site_is_sorted_and_goes_on_by_pages(client, name, built):
    width = Microscope(built).sites[MLP].units
    told = client.get(f"/{name}/{MLP}.json?sort=sd").json()
    sd = Microscope(built).sites[MLP].figure("sd")
    assert [one["number"] for one in told["rows"]][:5] == np.argsort(-sd).tolist()[:5]
    assert len(told["rows"]) == min(width, 60)
    rows = client.get(f"/{name}/{MLP}?sort=sd", headers={"HX-Request": "true"}).text
    assert "<html" not in rows and rows.count("<li") >= len(told["rows"])
    assert client.get(f"/{name}/{MLP}?sort=none").status_code == 400
    assert client.get(f"/{name}/{MLP}?page=x").status_code == 400


def test_a_theme_is_kept_shown_found_and_sorted_by(client, name, scope):
    said = {"text": "cats & dogs", "rater": "ada", "confidence": "4", "note": "both"}
    came = client.post(f"/{name}/{MLP}/3/themes", data=said, headers={"HX-Request": "true"})
    assert "cats &amp; dogs" in came.text and "<html" not in came.text
    plain = client.post(f"/{name}/{MLP}/3/themes", data={**said, "rater": "bo"})
    assert plain.history[0].status_code == 303 and "1 of 1 pair" in plain.text
    assert 'value="bo"' in client.get(f"/{name}/{MLP}/4").text  # the name is remembered
    assert client.get(f"/{name}/{MLP}.json?sort=themes").json()["rows"][0]["number"] == 3
    assert client.get("/search.json?q=DOGS cat").json()["themes"][0]["unit"] == f"{MLP}[3]"
    assert client.get("/search.json?q=dogs birds").json()["themes"] == []
    assert client.get(f"/{name}.json").json()["named"] == 1
    assert [one.rater for one in Themes(scope / "themes.sqlite").all()] == ["ada", "bo"]
    for wrong in ({"text": ""}, {"confidence": "9"}, {"confidence": "x"}, {"text": "x" * 999}):
        refused = client.post(f"/{name}/{MLP}/3/themes", data={**said, **wrong})
        assert refused.status_code == 400 and "problem" in refused.text


def test_a_blind_test_from_start_to_end(client, name):
    client.post(f"/{name}/{MLP}/3/themes", data={"text": "cats", "rater": "ada", "confidence": 3})
    page = client.post("/blind", data={"theme": "1", "rater": "bo"})
    test = page.url.path
    for number in range(1, 13):
        assert f"Question {number} of 12" in page.text
        key = re.search(r'name="key" value="(\w+)"', page.text).group(1)
        page = client.post("/blind/answer", data={"key": key, "picked": "1"})
    assert "right of the unit's own questions" in page.text
    score = client.get(f"{test}.json").json()["score"]
    assert score["questions"] == 8 and score["controls"] == 4
    assert client.get(f"/{name}/{MLP}.json?sort=blind").json()["rows"][0]["blind"] == score
    assert client.get("/blind/none").status_code == 400
    assert client.post("/blind", data={"theme": "99", "rater": "bo"}).status_code == 400


def test_the_slider_draws_what_the_edit_draws(client, name, model, built):
    from clerestory.reporting.pictures import data_address

    asked = {"prompt": "a cat", "mode": "add", "level": "5", "seed": "1"}
    told = client.get(f"/{name}/{MIDDLE}/1/redraw.json", params=asked).json()
    unit = Microscope(built).unit(MIDDLE, 1)
    edited = model.run("a cat", 1, edits=[edit_of(unit, "add", 5.0)]).pictures[0]
    assert told["edited"] == data_address(edited)
    assert told["plain"] == data_address(model.run("a cat", 1).pictures[0])
    assert told["plain"] != told["edited"]
    path = f"/{name}/{MIDDLE}/1/redraw"
    part = client.get(path, params=asked, headers={"HX-Request": "true"}).text
    assert "+5.0 sd" in part and "<html" not in part
    assert part.strip() in client.get(path, params=asked).text  # a page where no script asks
    for wrong in (
        {"level": "99"},
        {"level": "x"},
        {"mode": "melt"},
        {"seed": "x"},
        {"prompt": "a" * 900},
    ):
        assert (
            client.get(f"/{name}/{MIDDLE}/1/redraw", params={**asked, **wrong}).status_code == 400
        )


def test_a_held_unit_is_at_its_level(built):
    unit = Microscope(built).unit(MLP, 2)
    edit = edit_of(unit, "clamp", 2.0)
    assert edit.value == pytest.approx(float(unit.figure("mean") + 2 * unit.figure("sd")))


def test_a_search_runs_is_shown_and_kept(client, name, scope, monkeypatch):
    from time import sleep

    monkeypatch.setattr(searches, "BUDGET", 40)
    came = client.post(f"/{name}/{MLP}/3/searched")
    assert came.status_code == 200
    for _ in range(600):
        told = client.get(f"/{name}/{MLP}/3/searched.json").json()
        if told["job"]["has_ended"]:
            break
        sleep(0.1)
    assert told["job"]["state"] == "completed", told["job"]
    best = told["searched"]["best"]
    assert best and client.get("/" + best[0]["picture"]).status_code == 200
    assert [one["score"] for one in best] == sorted((one["score"] for one in best), reverse=True)


def test_the_slider_does_not_wait_for_a_search(scope, model):
    import threading

    from clerestory.microscope.searches import Jobs

    microscope = Microscope(scope)
    unit, drawer = microscope.unit(MLP, 1), Drawer(lambda: model)
    jobs = Jobs(microscope, drawer)
    job = jobs.start(unit, budget=100_000)
    while job.state == "waiting" or not job.completed:
        threading.Event().wait(0.02)
    drawer.draw(microscope.unit(MIDDLE, 0), "a cat", "add", 2.0, 0)
    assert not job.has_ended
    job.stop.set()
    for _ in range(500):
        if job.has_ended:
            break
        threading.Event().wait(0.02)
    assert job.state == "stopped"


def test_what_is_not_there_is_a_sentence(client, name):
    for path in (f"/{name}/none", f"/{name}/{MLP}/99999", f"/{name}/{MLP}/3/none", "/nothing"):
        assert client.get(path).status_code == 404, path
    assert client.get(f"/{name}/none.json").json()["problem"].startswith("The microscope has no")
    assert client.post(f"/{name}/{MLP}/3").status_code == 405
    assert client.get("/studies/../themes.sqlite").status_code == 404
    assert client.get("/studies/%2e%2e/themes.sqlite").status_code == 404


def test_a_static_site_has_every_page_and_its_links_lead_somewhere(scope, tmp_path):
    Themes(scope / "themes.sqlite").add(f"{MLP}[3]", "cats", rater="ada")
    start = site(scope, tmp_path / "site")
    pages = sorted(start.parent.rglob("*.html"))
    microscope = Microscope(scope)
    units = sum(one.units for one in microscope.sites.values())
    assert len(pages) >= units + len(microscope.sites) + 3
    by_sd = (start.parent / microscope.model / MLP / "by-sd" / "index.html").read_text()
    highest = int(microscope.sites[MLP].figure("sd").argmax())
    assert re.search(r'class="number">(\d+)<', by_sd).group(1) == str(highest)
    for page in pages:
        text = page.read_text()
        assert "<form" not in text and "<script" not in text
        for link in re.findall(r'(?:href|src)="([^"#]+)"', text):
            if not link.startswith("data:"):
                assert (page.parent / link).resolve().exists(), (page, link)
    assert "cats" in (start.parent / microscope.model / MLP / "3" / "index.html").read_text()


def test_neuronpedia_rows_have_its_names(scope, tmp_path):
    Themes(scope / "themes.sqlite").add(f"{MLP}[3]", "cats", rater="ada")
    out = neuronpedia(scope, tmp_path / "rows")

    def rows(kind):
        with gzip.open(out / kind / "batch-0.jsonl.gz", "rt") as file:
            return [json.loads(line) for line in file]

    (said,) = rows("explanations")
    assert (said["index"], said["description"]) == ("3", "cats")
    feature = rows("features")[3]
    assert {"modelId", "layer", "index", "maxActApprox", "freq_hist_data_bar_heights"} <= set(
        feature
    )
    bars = [feature[f"freq_hist_data_bar_{kind}"] for kind in ("values", "heights")]
    assert len(bars[0]) == len(bars[1]) and sum(bars[1]) == len(PROMPTS)
    activation = rows("activations")[0]
    assert "".join(activation["tokens"]) in PROMPTS
    assert len(activation["tokens"]) == len(activation["values"])


def test_a_locked_database_is_busy_at_once_and_pages_go_on(client, name, scope):
    other = sqlite3.connect(scope / "themes.sqlite", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    theme = {"text": "cats", "rater": "ada", "confidence": 3}
    started = time.monotonic()
    answers = [client.post(f"/{name}/{MLP}/3/themes", data=theme) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503] * 3
    assert answers[0].headers["Retry-After"] == "3"
    assert "locked by another program" in answers[0].text
    pages = (f"/{name}", f"/{name}/{MLP}/3", "/search?q=cat")
    assert [client.get(page).status_code for page in pages] == [200] * 3
    assert time.monotonic() - started < 5
    other.execute("COMMIT")
    other.close()
    assert client.post(f"/{name}/{MLP}/3/themes", data=theme).status_code == 200
