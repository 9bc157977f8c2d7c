"""Queries: restricted boolean expressions over columns, without calls or attribute access.

    matching_rows(table, "positive", "style == 'ink' and subject not in ['moose', 'elk']")

Queries are untrusted text, since they also come from files and web pages. They may contain names of
columns, constants, comparisons, `and`, `or`, `not`, `in` and arithmetic, and nothing else.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from clerestory.errors import EvidenceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PREDICTED", "column_values", "matching_rows", "query_columns"]

PREDICTED = re.compile(r"(?<![\w`.])predicted(?:\.\w+)+")
"""A column of predictions, such as `predicted.mood` or `predicted.mood.confidence`."""
_QUOTED = re.compile(r"`[^`]*`")
_ALLOWED = (
    ast.Expression,
    ast.BoolOp,
    ast.Compare,
    ast.UnaryOp,
    ast.BinOp,
    ast.boolop,
    ast.cmpop,
    ast.unaryop,
    ast.operator,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.List,
    ast.Tuple,
)


def matching_rows(table: pd.DataFrame, arm: str, query: str) -> pd.Series[bool]:
    """Select rows of a table by a query.

    Args:
        table: Any table.
        arm: Name of the arm that the query defines, for error messages.
        query: A boolean expression over columns; names with a space are written in backquotes.

    Returns:
        A mask of the table's rows.

    Raises:
        EvidenceError: The query cannot be parsed, names an unknown column, or is not boolean.
    """
    import pandas as pd

    # pandas takes a dot for attribute access unless the name is in backquotes.
    quoted = PREDICTED.sub(lambda name: f"`{name[0]}`", query)
    _check_syntax(arm, query, quoted)
    try:
        # Empty scopes, since by default pandas also looks up names among the caller's variables.
        # The engine is named, since the default depends on whether numexpr is installed.
        mask = table.eval(quoted, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # a comparison of columns may raise anything
        reason, columns = " ".join(str(error).split())[:160], ", ".join(map(str, table))
        raise EvidenceError(
            f"{arm} = {query!r} cannot be read ({reason}); columns: {columns}."
        ) from error
    if not isinstance(mask, pd.Series) or mask.dtype != bool:
        raise EvidenceError(f"{arm} = {query!r} is not a comparison; write style == 'ink'.")
    return mask


def query_columns(query: str) -> set[str]:
    """The columns that a query names.

    Args:
        query: A boolean expression over columns.

    Returns:
        Their names; those of a query that cannot be read are left out.

    >>> sorted(query_columns("style == 'ink' and predicted.mood.confidence > 0.6"))
    ['predicted.mood', 'predicted.mood.confidence', 'style']
    """
    predicted = set(PREDICTED.findall(query))
    # The confidence belongs to the prediction, which it does not stand without.
    predicted |= {name.removesuffix(".confidence") for name in predicted}
    quoted = {name.strip("`") for name in _QUOTED.findall(query)}
    try:
        # Replaced by a constant, so that only plain names are left to find.
        tree = ast.parse(_QUOTED.sub("None", PREDICTED.sub("None", query)).strip(), mode="eval")
    except (SyntaxError, ValueError):
        return predicted | quoted
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return predicted | quoted | names


def column_values(table: pd.DataFrame, query: str) -> str:
    """List the values of the columns that a query names, to extend an error message.

    Args:
        table: The table that the query was applied to.
        query: A query that selected nothing.

    Returns:
        A sentence with up to twelve values of each named column; "" if none is named.
    """
    names = [name for name in table if re.search(rf"(?<![\w.]){re.escape(str(name))}\b", query)]
    listed = [f"{name}: {', '.join(sorted(map(str, table[name].unique()))[:12])}" for name in names]
    return f" There is {'; '.join(listed)}." if listed else ""


def _check_syntax(arm: str, query: str, quoted: str) -> None:
    try:
        # Backquotes are pandas' own syntax, which Python cannot parse.
        tree = ast.parse(_QUOTED.sub("column", quoted).strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise EvidenceError(
            f"{arm} = {query!r} cannot be read ({error.args[0]}); write style == 'ink'."
        ) from error
    # An allow list: `eval` in pandas would otherwise run attribute access and calls of a query in
    # a file from somebody else.
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__.lower()
            raise EvidenceError(
                f"{arm} = {query!r} has a {kind}; a query compares columns with values."
            )
