"""What comes in a form, and in time: fields of bounded size, and numbers of few digits."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request

__all__ = ["is_number", "read_form"]

LONGEST = 64 * 1024
"""Bytes of a form."""
PATIENCE = 30
"""Seconds in which a form must have come."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Args:
        request: The request.

    Returns:
        Texts by field; of at most 20 fields, 64 KiB together.

    Raises:
        HTTPException: 413 for a form that is too long or says no length, 408 for one that is late.
    """
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers:  # which would be longer than it says
        length = ""
    if not is_number(length, 12) or int(length) > LONGEST:
        raise HTTPException(413, f"A form has a length, of at most {LONGEST} bytes.")
    try:
        form = await asyncio.wait_for(request.form(max_files=0, max_fields=20), PATIENCE)
    except TimeoutError as error:
        raise HTTPException(408, "The form did not come in time.") from error
    return {name: value for name, value in form.items() if isinstance(value, str)}


def is_number(text: str, digits: int) -> bool:
    """Whether it is a whole number from 0 of so many digits at most.

    Args:
        text: The text.
        digits: The most digits.

    Returns:
        False for signs, blanks, and digits of other scripts, which `int` would take.
    """
    return text.isascii() and text.isdigit() and len(text) <= digits
