"""HTML pages from templates, which escape what comes from prompts, names and files."""

from __future__ import annotations

from typing import Any

import jinja2
from markupsafe import Markup

from clerestory.reporting.escaping import visible

__all__ = ["environment"]


def environment(package: str) -> jinja2.Environment:
    """A jinja2 environment of a package's folder `pages`, with autoescape on.

    Control characters are escaped too, and an undefined name is an error. Pages extend `base.html`,
    whose blocks are `policy` (the Content-Security-Policy), `title`, `look` (or only `style`, added
    to the shared rules), `body` and, within it, `main`.

    Args:
        package: The package's dotted name.

    Returns:
        The environment.
    """
    pages = jinja2.PackageLoader(package, "pages")
    shared = jinja2.PackageLoader("clerestory.reporting", "templates")
    # The package's own templates come first, so that one may replace a shared template.
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([pages, shared]),
        autoescape=True,
        finalize=_escape_controls,
        # A misspelt name in a template is an error, not an empty text.
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _escape_controls(value: Any) -> Any:
    # Markup comes from this package; escapes in it would break an SVG. Any other value is escaped
    # as its text, which may contain names or prompts: a warning, for one.
    return value if isinstance(value, Markup) else visible(str(value))
