"""Who may ask: known hosts, its own pages, who has shown the token; and links lead nowhere."""

import sqlite3
import threading
from contextlib import closing

import pytest
from starlette.testclient import TestClient

from clerestory.cli.microscope import app as commands_app
from clerestory.errors import OptionError, RecordingError, ThemeError
from clerestory.microscope import Microscope, Theme, Themes, application, blind, searches, site
from clerestory.microscope.guard import check_token, host_names, is_loopback
from clerestory.microscope.themes import agreement
from microscope.conftest import BASE, MIDDLE, MLP

TOKEN = "a-token-of-24-letters-ok"


@pytest.fixture
def client(scope, model):
    with TestClient(application(scope, lambda: model), base_url=BASE) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(built):
    return f"/{Microscope(built).model}"


@pytest.mark.parametrize("host", ["127.0.0.1:8642", "localhost", "[::1]:99", "LOCALHOST:1"])
def test_its_own_names_are_answered(client, home, host):
    assert client.get(home, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_another_name_is_refused(client, home, host):
    refused = client.get(home, headers={"Host": host})
    assert refused.status_code == 400 and "--allow-host" in refused.text


def test_names_of_a_server_that_others_reach():
    names = host_names("0.0.0.0", ["lab.example"])
    assert {"lab.example", "localhost", "*"} <= names
    assert "*" not in host_names("192.0.2.7") and "192.0.2.7" in host_names("192.0.2.7")
    assert is_loopback("127.8.8.8") and is_loopback("::1") and not is_loopback("0.0.0.0")
    assert not is_loopback("localhost.evil.example")


def test_what_other_sites_send_is_refused(client, home, scope):
    path, said = f"{home}/{MLP}/3/themes", {"text": "cats", "rater": "ada", "confidence": "3"}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"},
    ):
        assert client.post(path, data=said, headers=headers).status_code == 403, headers
    assert not Themes(scope / "themes.sqlite").all()
    draw = f"{home}/{MLP}/3/redraw?prompt=a cat"
    assert client.get(draw, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}
    assert client.get(home, headers=link).status_code == 200  # somebody follows a link
    own = {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    assert client.post(path, data=said, headers=own).status_code == 200


def test_answers_forbid_scripts_and_styles_of_others(client, home, scope):
    (scope / "studies" / "one").mkdir(parents=True)
    (scope / "studies" / "one" / "report.html").write_text("<script>1</script>")
    for path in (home, "/none", "/static/microscope.css", f"{home}/{MLP}/3.json"):
        headers = client.get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    report = client.get("/studies/one/report.html").headers["content-security-policy"]
    assert report.startswith("sandbox;") and "script-src" not in report


def test_with_a_token_only_who_has_shown_it_is_let_in(scope, model, home):
    made = application(scope, lambda: model, token=TOKEN)
    with TestClient(made, base_url=BASE, follow_redirects=False) as client:
        for path in (home, "/static/microscope.css", "/pictures/0/000000.png", f"{home}.json"):
            assert client.get(path).status_code == 401, path
        assert client.get(f"{home}?token=wrong").status_code == 401
        assert client.get(home, headers={"Authorization": "Bearer wrong"}).status_code == 401
        assert client.get(home, headers={"Cookie": "clerestory-8642=wrong; ="}).status_code == 401
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.get(home, headers=bearer).status_code == 200
        assert client.get(home).status_code == 401
        shown = client.get(f"{home}?q=1&token={TOKEN}")
        assert shown.status_code == 303 and shown.headers["location"] == f"{home}?q=1"
        cookie = shown.headers["set-cookie"].lower()
        assert TOKEN not in cookie and "httponly" in cookie and "samesite=lax" in cookie
        assert client.get(home).status_code == 200
        away = client.get(f"//evil.example/?token={TOKEN}").headers.get("location", "/")
        assert away.startswith("/") and not away.startswith("//")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "lab.example"])
def test_other_machines_need_a_token(host, scope):
    import commands

    with pytest.raises(OptionError, match="give --token"):
        check_token(host, None)
    with pytest.raises(OptionError, match="takes 16 or more"):
        check_token(host, "short")
    check_token(host, TOKEN)
    with pytest.raises(OptionError, match="give --token"):
        commands.call(commands_app, "serve", scope, "--host", host)


def test_paths_and_links_do_not_lead_out(scope, model, tmp_path, client):
    secret = tmp_path / "secret.png"
    secret.write_text("secret")
    (scope / "pictures" / "0" / "link.png").symlink_to(secret)
    (scope / "studies").mkdir()
    (scope / "studies" / "out").symlink_to(tmp_path)
    for path in (
        "/pictures/0/link.png",
        "/pictures/../themes.sqlite",
        "/pictures/%2e%2e/themes.sqlite",
        "/pictures/..%2fthemes.sqlite",
        "/pictures//etc/passwd",
        "/static/../server.py",
        "/studies/out/secret.png",
        "/studies/%2fetc/passwd",
        "/studies/a%00b",
        "/pictures/a%00b",
    ):
        answer = client.get(path)
        assert answer.status_code in (400, 404), (path, answer.status_code)
        assert "secret" not in answer.text
    with pytest.raises(RecordingError, match="is a link"):
        site(scope, tmp_path / "site")
    with pytest.raises(RecordingError, match="is a link"):
        application(scope, lambda: model)


def test_the_folder_gives_pictures_and_no_pages_or_scripts(scope, client):
    for name in ("evil.html", "evil.js", "evil.svg", "evil.PNG.html"):
        (scope / "pictures" / name).write_text("<script>window.pwned=1</script>")
        assert client.get(f"/pictures/{name}").status_code == 404
    assert client.get("/searched/none.png").status_code == 404
    sealed = client.get("/pictures/0/000000.png").headers["content-security-policy"]
    assert sealed.startswith("sandbox;")


def test_exported_reports_are_sealed_however_they_end(scope, tmp_path):
    (scope / "studies" / "up").mkdir(parents=True)
    (scope / "studies" / "up" / "X.HTML").write_text("<script>1</script>")
    (scope / "searched" / "0").mkdir(parents=True)
    (scope / "searched" / "0" / "y.html").write_text("<script>1</script>")
    site(scope, tmp_path / "site")
    text = (tmp_path / "site" / "studies" / "up" / "X.HTML").read_text()
    assert (
        text.startswith("<!doctype html>") and "default-src 'none'" in text.partition("<script")[0]
    )
    assert not (tmp_path / "site" / "searched" / "0" / "y.html").exists()


def test_odd_requests_are_answered(client, home):
    assert client.get(home, headers={"Origin": "http://["}).status_code == 403
    assert client.get(f"{home}/{MLP}/{'9' * 5000}").status_code == 404
    for host in ("[::1]evil.example", "localhost:80@evil.example", "127.0.0.1:x"):
        assert client.get(home, headers={"Host": host}).status_code == 400, host
    frame = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    frame["Sec-Fetch-Dest"] = "iframe"
    assert client.get(home, headers=frame).status_code == 403
    link = {**frame, "Sec-Fetch-Dest": "document"}
    assert client.get(f"{home}/{MLP}/3/redraw", headers=link).status_code == 403


def test_a_cookie_of_another_application_locks_nobody_out(scope, model, home):
    made = application(scope, lambda: model, token=TOKEN)
    with TestClient(made, base_url=BASE, follow_redirects=False) as client:
        own = client.get(f"{home}?token={TOKEN}").headers["set-cookie"].partition(";")[0]
        assert own.startswith("clerestory-8642=")
        client.cookies.clear()
        for other in ('prefs={"a":1}', "theme[x]=1", "session=other"):
            assert client.get(home, headers={"Cookie": f"{other}; {own}"}).status_code == 200


def test_a_database_that_runs_by_itself_is_refused(scope):
    path = scope / "themes.sqlite"
    Themes(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE trials")
        database.execute("CREATE VIEW trials AS SELECT 1 AS picked")
    with pytest.raises(ThemeError, match="no view and no trigger"):
        Themes(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP VIEW trials")
        database.execute("CREATE TABLE trials (picked)")
    with pytest.raises(ThemeError, match="other tables"):
        Themes(path)


def test_many_raters_of_a_unit_are_counted_quickly(scope):
    said = [
        Theme("k", f"{MLP}[3]", f"theme {number % 7}", 3, "", f"r{number}", "", number)
        for number in range(20_000)
    ]
    same, pairs = agreement(said)
    assert pairs == 20_000 * 19_999 // 2 and 0.14 < same / pairs < 0.15


def test_raters_of_blind_tests_have_clean_names(scope):
    themes = Themes(scope / "themes.sqlite")
    theme = themes.add(f"{MLP}[3]", "cats", rater="ada")
    with pytest.raises(ThemeError, match="let somebody else"):
        blind.start_test(Microscope(scope), themes, theme, "ada\u200b")
    blind.start_test(Microscope(scope), themes, theme, "b\x1b\u202eo")
    with themes.open() as database:
        assert {row[0] for row in database.execute("SELECT rater FROM trials")} == {"bo"}


def test_a_served_search_and_queue_end_with_the_server(scope, model, monkeypatch):
    monkeypatch.setattr(searches, "BUDGET", 100_000)
    made = application(scope, lambda: model)
    with TestClient(made, base_url=BASE) as client:
        home = f"/{Microscope(scope).model}"
        client.post(f"{home}/{MLP}/1/searched")
        client.post(f"{home}/{MLP}/2/searched")
        begun = [one for one in threading.enumerate() if "_run" in one.name]
    assert len(begun) == 2 and not any(one.is_alive() for one in begun)


def test_forms_are_limited(client, home):
    path = f"{home}/{MLP}/3/themes"
    said = {"text": "cats", "rater": "ada", "note": "x" * 100_000}
    assert client.post(path, data=said).status_code == 413
    chunks = client.post(path, content=iter([b"text=cats&rater=ada"]))
    assert chunks.status_code == 413  # without a length nobody knows how long it is
    files = {"text": ("name.txt", b"cats")}
    assert client.post(path, files=files).status_code == 400
    many = "&".join(f"f{number}=1" for number in range(100))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post(path, content=many, headers=form).status_code == 400


def test_searches_that_wait_have_a_bound(scope, model, home, monkeypatch):
    monkeypatch.setattr(searches, "BUDGET", 100_000)
    with TestClient(application(scope, lambda: model), base_url=BASE) as client:
        answers = [client.post(f"{home}/{MLP}/{unit}/searched").status_code for unit in range(12)]
        assert answers == [200] * 9 + [503] * 3
        for unit in range(12):
            client.post(f"{home}/{MLP}/{unit}/stop")
        refused = client.get(f"{home}/{MIDDLE}/1/redraw.json", params={"prompt": "a cat"})
        assert refused.status_code == 200  # the slider goes on


def test_names_have_no_control_characters(scope):
    themes = Themes(scope / "themes.sqlite")
    bad = "a\x1b[31mb\x9bc\u202ed\u2066e\x00f\ud800g\r\nh"
    said = themes.add(f"{MLP}[3]", bad, rater=bad, note=bad)
    assert said.text == said.rater == "a[31mbcdefg h"
    assert said.note == "a[31mbcdefg\nh"
    family = "\U0001f469\u200d\U0001f52c"
    assert themes.add(f"{MLP}[3]", family, rater="ada").text == family
