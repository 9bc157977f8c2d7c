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

__all__ = ["page"]


def page(source: str, classes: Sequence[str], unsure: str, lines: Sequence[tuple[Any, ...]]) -> str:
    """It shows one picture after the other; whatever comes from outside is escaped.

    `lines` begin with a sample and the address of its picture from the page.
    """
    asked = {
        "sheet": secrets.token_hex(8),
        "classes": list(classes),
        "labels": [visible(one) for one in classes],
        "unsure": unsure,
        "pictures": [{"sample": line[0], "picture": line[1]} for line in lines],
    }
    made = environment("clerestory.classifiers")
    assert made.loader is not None
    script = made.loader.get_source(made, "check.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = made.get_template("check.html")
    return template.render(asked=asked, source=source, script=Markup(script), digest=digest)
