"""Expressions in untrusted text, parsed within bounds of length and depth."""

from __future__ import annotations

import ast

from clerestory.errors import ClerestoryError

__all__ = ["parse_expression"]

MAX_LENGTH = 20_000
MAX_DEPTH = 50
"""Of nodes within nodes; a sum or a list of many terms is not deep by itself."""


def parse_expression(text: str, source: str, error: type[ClerestoryError], advice: str) -> ast.expr:
    """Parse one expression, in Python's syntax.

    Args:
        text: The text.
        source: What it is, for the message.
        error: Class of the error.
        advice: What to write instead, for the message.

    Returns:
        Its tree, which is safe to walk by recursion.

    Raises:
        ClerestoryError: Of class `error`, if it is no expression, too long or nested too deep.
    """
    if len(text) > MAX_LENGTH:
        raise error(f"{source} has {len(text):,} characters, more than the {MAX_LENGTH:,} read.")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError) as reason:
        raise error(f"{source} cannot be read ({reason.args[0]}); {advice}") from reason
    except (RecursionError, MemoryError) as reason:  # what the parser raises for deep nesting
        raise error(f"{source} is nested too deep; {advice}") from reason
    level: list[ast.AST] = [tree]
    for _ in range(MAX_DEPTH):
        # Level by level, so that no recursion depends on the text.
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return tree
    raise error(f"{source} is nested deeper than {MAX_DEPTH}; {advice}")
