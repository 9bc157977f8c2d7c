"""The page on which a person marks pictures; only its own script runs there."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from clerestory.reporting.escaping import visible
from clerestory.reporting.pages import environment

__all__ = ["render_page"]


def render_page(
    source: str, classes: Sequence[str], unsure: str, lines: Sequence[tuple[Any, ...]]
) -> str:
    """Render the page, which shows one picture after the other.

    Args:
        source: The classifier.
        classes: Its classes, escaped wherever they are shown.
        unsure: The mark of a picture of which the person cannot tell.
        lines: Tuples that begin with a sample and the address of its picture from the page.

    Returns:
        The HTML.
    """
    sheet = {
        # Marks that the browser keeps are of this sheet alone.
        "sheet": secrets.token_hex(8),
        "classes": list(classes),
        "labels": [visible(label) for label in classes],
        "unsure": unsure,
        "pictures": [{"sample": line[0], "picture": line[1]} for line in lines],
    }
    templates = environment("clerestory.classifiers")
    assert templates.loader is not None
    # The text itself and not a rendered template, which might differ from its digest.
    script = templates.loader.get_source(templates, "check.js")[0]
    # The page's policy runs only a script of this digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = templates.get_template("check.html")
    return template.render(sheet=sheet, source=source, script=Markup(script), digest=digest)
