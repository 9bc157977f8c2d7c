"""The pages in a real browser: Debian's Chromium, or whichever is on the path."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import expect

from clerestory.microscope import Microscope, Themes, searches
from microscope.conftest import MIDDLE, MLP
from microscope.serving import Served

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here: on Debian, `apt-get install chromium`"
    ),
]


@pytest.fixture
def served(scope, model):
    with Served(scope, lambda: model) as base:
        yield base, scope


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1100, "height": 900})
    opened = context.new_page()
    problems: list[str] = []
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda said: problems.append(said.text) if _bad(said) else None)
    yield opened
    context.close()
    assert not problems, problems


def _bad(said):
    """An error, but for what htmx says of a redraw that a newer one replaces."""
    return said.type == "error" and not said.text.startswith(("htmx:sendAbort", "htmx:afterReq"))


def unit_of(served, number=3, site=MLP):
    base, scope = served
    return f"{base}/{Microscope(scope).model}/{site}/{number}"


def test_a_name_is_there_after_a_reload(served, page):
    page.goto(unit_of(served))
    page.get_by_label("What do these pictures have in common?").fill("cats <b>&</b> dogs")
    page.locator("form.theme").get_by_label("Your name").fill("ada")
    page.get_by_role("button", name="Name it").click()
    page.get_by_text("cats <b>&</b> dogs", exact=True).wait_for()
    page.reload()
    assert page.get_by_text("cats <b>&</b> dogs", exact=True).count() == 1
    assert page.locator("form.theme").get_by_label("Your name").input_value() == "ada"


def test_a_blind_test_is_answered_to_its_end(served, page):
    Themes(served[1] / "themes.sqlite").add(f"{MLP}[3]", "cats", rater="ada")
    page.goto(unit_of(served))
    page.locator("form.inline").get_by_label("Your name").fill("bo")
    page.get_by_role("button", name="Test it blind").click()
    for number in range(1, 13):
        page.get_by_text(f"Question {number} of 12").wait_for()
        page.get_by_role("button", name="The first row").click()
    page.get_by_text("right of the unit's own questions").wait_for()
    page.get_by_role("link", name=f"{MLP}[3]").click()
    page.get_by_text("1 rater").wait_for()


def test_the_slider_redraws(served, page):
    page.goto(unit_of(served, 1, MIDDLE))
    page.get_by_label("Prompt", exact=True).fill("a cat")
    slider = page.get_by_role("slider")
    slider.fill("5")
    page.get_by_text("added +5.0 sd").wait_for()
    assert page.locator("#strength").inner_text() == "5"
    first = page.get_by_alt_text("with the unit changed").get_attribute("src")
    slider.fill("-5")
    page.get_by_text("added -5.0 sd").wait_for()
    assert page.get_by_alt_text("with the unit changed").get_attribute("src") != first
    page.get_by_label("How", exact=True).select_option("clamp")
    page.get_by_text("held at -5.0 sd").wait_for()


def test_prompts_are_searched_with_progress_and_shown(served, page, monkeypatch):
    monkeypatch.setattr(searches, "BUDGET", 40)
    page.goto(unit_of(served))
    page.get_by_role("button", name="Find prompts").click()
    page.locator("#searched figure").first.wait_for(timeout=120_000)
    assert page.locator("#searched figure").count() >= 1


def test_a_search_is_stopped_by_keyboard_while_it_is_polled(served, page, monkeypatch):
    monkeypatch.setattr(searches, "BUDGET", 100_000)
    page.goto(unit_of(served))
    page.get_by_role("button", name="Find prompts").press("Enter")
    page.get_by_text("searching: ").wait_for()
    done = page.locator("#progress").get_attribute("value")
    expect(page.locator("#progress")).not_to_have_attribute("value", done)
    assert page.locator(":focus").inner_text() == "Stop"
    page.keyboard.press("Enter")
    page.get_by_text("Stopped.").wait_for()
    assert page.locator(":focus").inner_text() == "Find prompts"


def test_by_keyboard_alone_a_unit_is_reached_and_named(served, page):
    base, scope = served
    page.goto(f"{base}/{Microscope(scope).model}/{MLP}")
    press = page.keyboard.press
    press("Tab")
    assert page.locator(":focus").inner_text() == "To the content"
    press("Enter")
    for _ in range(12):
        press("Tab")
        if page.locator(":focus").evaluate("one => one.matches('.units a')"):
            break
    press("Enter")
    page.wait_for_url("**/mlp/0")
    for _ in range(20):
        press("Tab")
        if page.locator(":focus").get_attribute("id") == "text":
            break
    for said in ("typed", "", "ada"):
        page.keyboard.type(said)
        press("Tab")
    press("Enter")
    page.get_by_text("typed", exact=True).wait_for()
    assert page.locator(":focus").get_attribute("id") == "confidence"


def test_what_is_laid_over_is_taken_off_by_keyboard(served, page):
    page.goto(unit_of(served, 1, MIDDLE))
    layer = page.locator(".overlay").first
    assert layer.is_visible()
    page.get_by_label("laid over").focus()
    page.keyboard.press("Space")
    assert not layer.is_visible()


def test_two_units_are_compared_by_a_form(served, page):
    page.goto(unit_of(served))
    page.get_by_role("link", name="Compare", exact=True).click()
    page.get_by_label("One unit").fill(f"{MLP}[1]")
    page.get_by_label("and another").fill(f"{MLP}/2")
    page.get_by_role("button", name="Compare").click()
    page.get_by_text("Their correlation over samples is").wait_for()
    assert page.get_by_role("heading", name=f"{MLP}[2]").count() == 1


@pytest.mark.parametrize("width", [360, 1100])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_scrolls_sideways_or_has_serious_violations(served, browser, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    base, scope = served
    model = Microscope(scope).model
    themes = Themes(scope / "themes.sqlite")
    themes.add(f"{MLP}[3]", "a long theme " * 12, rater="ada", note="w" * 200)
    pages = [f"/{model}", f"/{model}/{MLP}", f"/{model}/{MLP}/3", f"/{model}/{MIDDLE}/1"]
    pages += [
        "/studies",
        "/compare",
        "/search?q=cat",
        f"/compare?a={MLP}[1]&b={MIDDLE}[2]",
        f"/{model}/none",
    ]
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened = context.new_page()
    for path in pages:
        opened.goto(base + path)
        wide = opened.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (path, wide)
        found = Axe().run(opened).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not serious, (path, [(one["id"], one["nodes"][0]["html"]) for one in serious])
    context.close()


def test_pages_ask_nothing_of_other_machines(served, page):
    base, _ = served
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(unit_of(served))
    page.wait_for_load_state("networkidle")
    assert asked and all(one.startswith((base, "data:")) for one in asked)


def test_a_static_page_opens_from_its_file(scope, tmp_path, page):
    from clerestory.microscope import site

    start = site(scope, tmp_path / "site")
    page.goto(start.as_uri())
    page.wait_for_url("**/index.html")
    page.get_by_role("link", name=MLP).first.click()
    page.locator(".units a").first.click()
    page.get_by_text("Highest activation").wait_for()
    assert page.locator("figure img").first.evaluate("one => one.complete && one.naturalWidth > 0")
    assert Path(page.url.removeprefix("file://")).exists()
