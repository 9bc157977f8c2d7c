"""Commands called as a person calls them; what Clerestory raises on purpose comes through."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from clerestory.errors import ClerestoryError


def call(app: Any, *arguments: object, status: int = 0) -> Any:
    """The result, once it has ended with this status."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, ClerestoryError):
        raise result.exception
    assert result.exit_code == status, (result.output, result.exception)
    return result
