"""Pictures of the microscope's pages, docs/pictures/microscope-*.png; needs Chromium.

python tools/microscope_pictures.py      # records what is not recorded yet: some minutes

Shown are what was recorded for the styles of `tools/measure_concepts.py`, and one site of the
denoiser with all of its positions.
"""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import measure_concepts
from paths import BUILD, PICTURES

BUILT = BUILD / "microscope"
SPATIAL, PROMPTS = "denoiser.up.1.res.0/out", 240
SHOWN, HANDED = "a fox in a meadow", "prior/embedding"


def main() -> None:
    """Build, serve, photograph."""
    import clerestory
    from clerestory.cli import console
    from clerestory.microscope import Themes, application, build
    from clerestory.microscope.views import Views

    model = clerestory.load("lancet")
    with console.progress_bars() as tell:
        styles = measure_concepts.record_template(model, "styles", tell)
        prompts = list(dict.fromkeys(styles.samples["prompt"]))[::3][:PROMPTS]
        where = BUILT / f"spatial-{model.revision[:12]}"
        spatial = clerestory.record(model, prompts, 0, sites=SPATIAL, pool="none", out=where)
        shutil.rmtree(BUILT / "scope", ignore_errors=True)
        shutil.rmtree(BUILT / "where", ignore_errors=True)
        microscope = build([styles], BUILT / "scope", progress=tell)
        build([spatial], BUILT / "where", progress=tell)
    themes = Themes(BUILT / "scope" / "themes.sqlite")
    unit = Views(microscope, themes).search("stained")["units"][0]["unit"]
    for rater, text in (("ada", "stained glass"), ("bo", "a stained glass")):
        themes.add(unit, text, rater=rater, confidence=4)
    with (
        _served(application(BUILT / "scope", lambda: model)) as base,
        _served(application(BUILT / "where", lambda: model)) as where_base,
    ):
        _photograph(base, where_base, unit.rstrip("]").replace("[", "/"))


@contextmanager
def _served(application: Any) -> Iterator[str]:
    import uvicorn

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield f"http://127.0.0.1:{port}/lancet"
    server.should_exit = True
    thread.join()


def _photograph(base: str, where: str, unit: str) -> None:
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 1000})
        page.goto(base)
        page.screenshot(path=PICTURES / "microscope-model.png")
        page.goto(f"{base}/{unit.rpartition('/')[0]}?sort=peak")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / "microscope-site.png")
        page.goto(f"{base}/{unit}")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / "microscope-unit.png")
        page.goto(f"{base}/{HANDED}?sort=peak")
        page.locator(".units a").first.click()
        page.get_by_label("Prompt", exact=True).fill(SHOWN)
        page.get_by_role("slider").fill("6")
        page.get_by_alt_text("with the unit changed").wait_for(timeout=60_000)
        page.locator("section", has=page.get_by_role("slider")).screenshot(
            path=PICTURES / "microscope-slider.png"
        )
        page.goto(f"{where}/{SPATIAL}?sort=peak")
        page.locator(".units a").first.click()
        page.wait_for_load_state("networkidle")
        page.locator("section").first.screenshot(path=PICTURES / "microscope-where.png")
        browser.close()


if __name__ == "__main__":
    main()
