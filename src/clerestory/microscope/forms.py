"""Forms of requests, within limits of size and time."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.requests import Request

from clerestory.microscope.folder import is_number

__all__ = ["read_form", "read_number"]

MAX_BYTES = 64 * 1024
"""Bytes of a form."""
TIMEOUT = 30
"""Seconds until a form must be complete."""


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form.

    Args:
        request: The request.

    Returns:
        Texts by field: at most 20 fields, of 64 KiB together.

    Raises:
        HTTPException: 413 for a form that is too long or has no length, 408 after the time limit.
    """
    # Starlette limits fields and files, but not the bytes of an urlencoded form.
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers:  # which takes precedence over the length
        length = ""
    if not is_number(length, 12) or int(length) > MAX_BYTES:
        raise HTTPException(413, f"A form must have a length, of at most {MAX_BYTES} bytes.")
    try:
        # A client that sends a byte a minute would otherwise hold a thread for hours.
        form = await asyncio.wait_for(request.form(max_files=0, max_fields=20), TIMEOUT)
    except TimeoutError as error:
        raise HTTPException(408, f"The form was not complete after {TIMEOUT} seconds.") from error
    # Files are left out: no form has one.
    return {name: value for name, value in form.items() if isinstance(value, str)}


def read_number(text: str, digits: int, problem: str) -> int:
    """A whole number from a form or a query.

    Args:
        text: The text.
        digits: The maximum number of digits.
        problem: The message for any other text.

    Returns:
        The number, from 0.

    Raises:
        HTTPException: 400 for any other text.
    """
    if not is_number(text, digits):
        raise HTTPException(400, problem)
    return int(text)
