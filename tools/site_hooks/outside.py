"""Documents that stand outside `docs`, and links that lead to files which are no pages.

On a code host every link leads to a file of the repository. On the site the documents at the root
are pages too, README being the home page; any other file that is linked to is published as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCUMENTS = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "NOTICE": "notice.md",
}
"""From a file at the root to its page."""
SOURCES = {page: name for name, page in DOCUMENTS.items()}
LINK = re.compile(r"(?<=\]\()[^)\s#:]+(?=[)\s#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the documents at the root."""
    for name, page in DOCUMENTS.items():
        text = (ROOT / name).read_text()
        if not name.endswith(".md"):
            text = f"# {name.capitalize()}\n\n```text\n{text}```\n"
        elif page == "index.md":
            text = f"---\nhide: [navigation]\n---\n\n{text}"
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The text of a page with its links leading to pages and to published files."""
    uri = page.file.src_uri
    here = posixpath.dirname(SOURCES.get(uri, f"docs/{uri}"))

    def linked(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, found.group()))
        published = _published(path, config, files)
        if published is None:
            return found.group()
        return posixpath.relpath(published, posixpath.dirname(uri) or ".")

    return LINK.sub(linked, markdown)


def _published(path: str, config: MkDocsConfig, files: Files) -> str | None:
    """Where the site has a file of the repository; None where there is no such file."""
    if path in DOCUMENTS:
        return DOCUMENTS[path]
    if path.startswith("docs/"):
        uri = path.removeprefix("docs/")
        file = files.get_file_from_path(uri.removesuffix(".ipynb") + ".md")
        if uri.endswith(".ipynb") and file is not None:
            return file.src_uri
    else:
        uri = f"files/{path}"
        if (ROOT / path).is_file() and files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    file = files.get_file_from_path(uri)
    if file is not None and file.inclusion.is_excluded():
        file.inclusion = InclusionLevel.INCLUDED
    return None if file is None else uri
