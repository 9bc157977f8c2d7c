"""The site builds without a warning, asks nothing of other hosts, and shows what it is given."""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FETCHED = {"audio", "embed", "iframe", "img", "link", "object", "script", "source", "video"}
PICTURE = b"taken for a picture"


def cell(source, *outputs):
    return {"cell_type": "code", "source": [source], "outputs": list(outputs)}


NOTEBOOK = [
    {"cell_type": "markdown", "source": ["# A tiny notebook\n", "[made](../howto/record.md)"]},
    cell("print('`' * 3)", {"output_type": "stream", "text": ["```\n"]}),
    cell(
        "shown",
        {"output_type": "display_data", "data": {"image/png": base64.b64encode(PICTURE).decode()}},
    ),
    cell("6 * 7", {"output_type": "execute_result", "data": {"text/plain": ["forty-two"]}}),
    cell("t", {"output_type": "execute_result", "data": {"text/html": ["<table id='t'></table>"]}}),
    cell("1 / 0", {"output_type": "error", "traceback": ["\x1b[31mZeroDivisionError\x1b[0m"]}),
]
STUDY = """# Tiny

[The concepts](../concepts/styles.toml), [the notebook](../notebooks/tiny.ipynb),
[how to help](../../CONTRIBUTING.md) and [a test](../../tests/docs/test_site.py).
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of a copy of this tree that has one notebook and one study more."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copytree(ROOT / "docs", tree / "docs")
    for path in ROOT.iterdir():
        if path.name not in ("docs", "build", ".git"):
            (tree / path.name).symlink_to(path)
    for name, text in (
        ("notebooks/tiny.ipynb", json.dumps({"cells": NOTEBOOK})),
        ("studies/tiny.md", STUDY),
    ):
        (tree / "docs" / name).parent.mkdir(exist_ok=True)
        (tree / "docs" / name).write_text(text)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tree / "site"]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return tree / "site"


class Fetched(HTMLParser):
    """The addresses that a page asks for by itself."""

    def __init__(self):
        super().__init__()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        if tag in FETCHED:
            names = ("src", "href", "srcset", "data", "poster")
            self.addresses += [value for name, value in attrs if name in names]


def test_no_page_and_no_style_asks_anything_of_another_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 50
    for page in pages:
        fetched = Fetched()
        fetched.feed(page.read_text())
        assert fetched.addresses
        assert not [one for one in fetched.addresses if re.match(r"(\w+:)?//", one or "")], page
    for style in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(\w+:)?//", style.read_text()), style


def test_the_four_kinds_of_pages_are_found_from_the_home_page(site):
    home = (site / "index.html").read_text()
    for kind in ("tutorial", "howto", "reference", "reference/api", "explanation", "adr"):
        assert re.search(rf'<a href="{kind}/[\w-]+\.html" class="md-nav__link', home), kind
    assert (ROOT / "README.md").read_text().partition("\n")[0] == "# Clerestory"
    assert 'href="howto/record.html"' in home and 'src="pictures/strip.png"' in home
    assert not [*site.glob("*.py"), *site.glob("hooks/*")]


def test_the_interface_has_signatures_with_types_and_doctests_as_code(site):
    models = (site / "reference/api/models.html").read_text()
    assert 'id="clerestory.models.load"' in models
    signature = re.sub("<[^>]+>", "", models.partition('id="clerestory.models.load"')[2])
    assert "source: Any = None" in signature
    registry = (site / "reference/api/registry.html").read_text()
    assert "<blockquote>" not in registry
    assert '<span class="gp">&gt;&gt;&gt; </span>' in registry


def test_a_notebook_is_shown_as_it_was_kept(site):
    page = (site / "notebooks/tiny.html").read_text()
    for shown in ("forty-two", "<table id='t'>", "ZeroDivisionError", 'src="tiny-1.png"'):
        assert shown in page
    assert "\x1b" not in page and 'href="../howto/record.html"' in page
    assert (site / "notebooks/tiny-1.png").read_bytes() == PICTURE
    assert 'href="tiny.ipynb" download' in page and (site / "notebooks/tiny.ipynb").exists()


def test_links_to_files_that_are_no_pages_lead_to_the_files(site):
    page = (site / "studies/tiny.html").read_text()
    for address in re.findall(r'<a href="([^"#:]+)">(?:The|the|how|a) [\w ]+</a>', page):
        assert (site / "studies" / address).resolve().is_file(), address
    for address in ("../notebooks/tiny.html", "../contributing.html", "../concepts/styles.toml"):
        assert f'href="{address}"' in page
    assert not (site / "concepts/moods.toml").exists()
