"""The page on which a person marks pictures; its policy allows no script but its own."""

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
    """Render the page, which shows one picture at a time.

    Args:
        source: Source of the classifier.
        classes: Its classes; they are escaped on the page.
        unsure: Mark of a picture that the person cannot label.
        lines: Tuples that begin with the number of a sample and the relative URL of its picture.

    Returns:
        The HTML.
    """
    sheet = {
        # Key under which the browser stores the marks of this sheet.
        "sheet": secrets.token_hex(8),
        "classes": list(classes),
        # Shown to a person; the other list is what the marks are saved as.
        "labels": [visible(label) for label in classes],
        "unsure": unsure,
        "pictures": [{"sample": line[0], "picture": line[1]} for line in lines],
    }
    templates = environment("clerestory.classifiers")
    assert templates.loader is not None
    # Not rendered as a template, so that the text equals the one that is digested.
    script = templates.loader.get_source(templates, "check.js")[0]
    # The page's policy allows only a script with this digest.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = templates.get_template("check.html")
    return template.render(sheet=sheet, source=source, script=Markup(script), digest=digest)
