"""Who may ask: known hosts, its own pages, who has shown the token; and links lead nowhere."""

import pytest
from starlette.testclient import TestClient

from clerestory.cli.microscope import app as commands_app
from clerestory.errors import OptionError, RecordingError
from clerestory.microscope import Microscope, Themes, application, searches, site
from clerestory.microscope.guard import check_token, is_loopback, names_of
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
    names = names_of("0.0.0.0", ["lab.example"])
    assert {"lab.example", "localhost", "*"} <= names
    assert "*" not in names_of("192.0.2.7") and "192.0.2.7" in names_of("192.0.2.7")
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
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    ):
        assert client.post(path, data=said, headers=headers).status_code == 403, headers
    assert not Themes(scope / "themes.sqlite").every()
    draw = f"{home}/{MLP}/3/redraw?prompt=a cat"
    assert client.get(draw, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
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
        assert client.get(home, headers={"Cookie": "session=wrong; ="}).status_code == 401
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
    site(scope, tmp_path / "site")
    assert not [one for one in (tmp_path / "site").rglob("*") if one.is_symlink()]
    assert not (tmp_path / "site" / "pictures" / "0" / "link.png").exists()
    assert not (tmp_path / "site" / "studies" / "out").exists()
    (scope / "searched").symlink_to(tmp_path)
    with pytest.raises(RecordingError, match="is a link"):
        application(scope, lambda: model)


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
