"""A folder in `nav` stands for its pages; one without pages stands for nothing."""

from __future__ import annotations

from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put pages in the place of folders; what is generated must be there by now."""
    config.nav = _opened(config.nav, [file.src_uri for file in files.documentation_pages()])
    return files


def _opened(entry: Any, pages: list[str]) -> Any:
    if isinstance(entry, list):
        return [opened for one in entry if (opened := _opened(one, pages))]
    if isinstance(entry, dict):
        (title, inside), *_ = entry.items()
        opened = _opened(inside, pages)
        return {title: opened} if opened else None
    if not entry.endswith("/"):
        return entry
    inside = [page for page in pages if page.startswith(entry)]
    return sorted(inside, key=lambda page: (not page.endswith("/index.md"), page))
