"""Pages from templates: what comes from prompts, names and files is escaped in all of them."""

from __future__ import annotations

import jinja2

__all__ = ["environment"]


def environment(package: str) -> jinja2.Environment:
    """A jinja2 environment of a package's folder `pages`; a name that is not given is an error.

    Pages may extend `base.html`, which has their head and what they look like.
    """
    own = jinja2.PackageLoader(package, "pages")
    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([own, jinja2.PackageLoader("clerestory", "templates")]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
