"""Pages from templates: what comes from prompts, names and files is escaped in all of them."""

from __future__ import annotations

from typing import Any

import jinja2
from markupsafe import Markup

from clerestory.reporting.escaping import visible

__all__ = ["environment"]


def environment(package: str) -> jinja2.Environment:
    """A jinja2 environment of a package's folder `pages`; a name that is not given is an error.

    Control characters are spelt out. Pages may extend `base.html`, which has their head and what
    they look like.

    Args:
        package: The package's dotted name.

    Returns:
        The environment, with autoescape on and undefined names refused.
    """
    own = jinja2.PackageLoader(package, "pages")
    shared = jinja2.PackageLoader("clerestory.reporting", "templates")
    # The package's own templates come first, so that one may replace a shared template.
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, shared]),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: Any) -> Any:
    # Markup is already a page's own; spelling it out would break an SVG.
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
