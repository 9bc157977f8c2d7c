"""No text from outside does anything on any page but the microscope's, in a real browser.

The pages' Content-Security-Policy is off here, so that escaping has to hold by itself.
"""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import clerestory
from clerestory.reporting.escaping import visible
from clerestory.reporting.pages import environment
from payloads.built import PAGES, classes_of
from payloads.payloads import PAYLOADS

SOURCE = Path(clerestory.__file__).parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here: on Debian, `apt-get install chromium`"
)
LOOK = """() => {
  const every = [...document.querySelectorAll("*")];
  const led = ["href", "src", "xlink:href", "action", "formaction", "srcdoc"];
  const strange = /^(iframe|object|embed|base|form|link|foreignobject|animate|set)$/;
  const safe = /^(#|data:image\\/png;|pictures\\/)/;
  return {
    pwned: window.pwned === undefined ? "no" : "yes",
    handlers: every.flatMap(one => [...one.attributes].filter(a => /^on/i.test(a.name)))
      .map(a => a.name),
    addresses: every.flatMap(one => led.map(name => one.getAttribute(name)))
      .filter(address => address !== null && !safe.test(address)),
    scripts: document.scripts.length,
    strange: every.map(one => one.localName).filter(name => strange.test(name)),
    styles: document.querySelectorAll("style").length,
    refreshes: document.querySelectorAll("meta[http-equiv=refresh]").length,
    shown: getComputedStyle(document.body).display,
    text: document.body.textContent,
  };
}"""


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A tab, what it asked for, and what popped up in it."""

    def __init__(self, browser: Any, *, policy: bool = False) -> None:
        self.context = browser.new_context(bypass_csp=not policy)
        self.tab = self.context.new_page()
        self.asked: list[str] = []
        self.popped: list[str] = []
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("dialog", self._dialog)
        self.tab.on("popup", lambda tab: self.popped.append(tab.url))

    def _dialog(self, dialog: Any) -> None:
        self.popped.append(dialog.message)
        dialog.dismiss()

    def outside(self, page: Path) -> list[str]:
        """What it asked for that is neither in the page nor in the page's own folder."""
        here = str(page.parent)
        asked = [one for one in self.asked if not one.startswith("data:")]
        parts = [urlsplit(one) for one in asked]
        return [p.geturl() for p in parts if p.scheme != "file" or here not in unquote(p.path)]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Each page, built once."""
    built: dict[str, Path] = {}

    def page(template: str) -> Path:
        if template not in built:
            built[template] = PAGES[template](tmp_path_factory.mktemp("page"))
        return built[template]

    return page


def test_every_template_is_looked_at():
    templates = {str(path.relative_to(SOURCE)) for path in SOURCE.rglob("pages/*.html")}
    others = {name for name in templates if not name.startswith("microscope/")}
    assert others == set(PAGES), "build a new page in tests/payloads/built.py"


@pytest.mark.parametrize("template", PAGES)
def test_every_page_has_a_policy_and_marks_nothing_safe(template, pages):
    text = pages(template).read_text("utf-8")
    assert "default-src 'none'" in text and "base-uri 'none'; form-action 'none'" in text
    assert "script-src 'unsafe" not in text
    assert "| safe" not in (SOURCE / template).read_text() and "|safe" not in text
    assert not [sign for sign in text if sign != "\n" and visible(sign) != sign]


@needs_browser
@pytest.mark.parametrize("template", PAGES)
def test_nothing_runs_and_everything_is_shown_as_text(template, pages, browser):
    path = pages(template)
    seen = Watched(browser)
    seen.tab.goto(path.as_uri(), wait_until="load")
    seen.tab.mouse.move(200, 200)
    seen.tab.keyboard.press("Tab")
    seen.tab.wait_for_timeout(50)
    found = seen.tab.evaluate(LOOK)
    assert found["pwned"] == "no" and not seen.popped
    assert not found["handlers"] and not found["addresses"] and not found["strange"]
    assert not found["refreshes"] and found["styles"] == 1
    assert found["scripts"] == (template == "classifiers/pages/check.html")
    assert found["shown"] != "none"
    assert not seen.outside(path)
    said = " ".join(found["text"].split())
    assert not [text for text in PAYLOADS if " ".join(visible(text).split()) not in said]
    seen.context.close()


@needs_browser
def test_with_the_policy_pages_look_the_same_and_what_would_run_does_not(browser, tmp_path):
    base = environment("clerestory.maximization")
    text = base.from_string(
        '{% extends "base.html" %}{% block main %}'
        '<script>window.pwned = 1</script><img src=x onerror="window.pwned = 1">'
        '<img src="https://example.org/x.png">{% endblock %}'
    ).render()
    path = tmp_path / "page.html"
    path.write_text(text)
    seen = Watched(browser, policy=True)
    seen.tab.goto(path.as_uri())
    seen.tab.wait_for_timeout(50)
    assert seen.tab.evaluate("window.pwned === undefined")
    assert seen.tab.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none"
    seen.context.close()


@needs_browser
def test_marks_are_made_under_the_policy_and_open_in_a_spreadsheet_as_text(browser, tmp_path):
    classes = ("=1+1", "'=1+1", 'a"b\r\n,c', "dark")
    path = classes_of(tmp_path, classes)
    seen = Watched(browser, policy=True)
    seen.tab.goto(path.as_uri())
    for level, kept in zip(classes, ("'=1+1", "'=1+1", 'a"b\r\n,c', "dark"), strict=True):
        seen.tab.locator("#choices button").nth(classes.index(level)).click()
        with seen.tab.expect_download() as download:
            seen.tab.get_by_role("button", name="Save marks.csv").click()
        with Path(download.value.path()).open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows == [["sample", "picture", "marked"], ["0", "pictures/a.png", kept]]
    seen.context.close()
