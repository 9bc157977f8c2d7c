"""Queries: restricted boolean expressions over columns, without calls or attribute access.

    matching_rows(table, "positive", "style == 'ink' and subject not in ['moose', 'elk']")

Queries are untrusted text, since they also come from files and web pages. They may contain names of
columns, constants, comparisons, `and`, `or`, `not`, `in` and arithmetic, and nothing else.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING
from unicodedata import normalize

from clerestory.errors import EvidenceError, describe_error
from clerestory.io.expressions import parse_expression
from clerestory.registry import nearest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PREDICTED", "column_values", "matching_rows", "query_columns"]

PREDICTED = re.compile(r"(?<![\w`.])predicted(?:\.\w+)+")
"""A column of predictions, such as `predicted.mood` or `predicted.mood.confidence`."""
_QUOTED = re.compile(r"`[^`]*`")
PLACEHOLDER = "_quoted_column_"
MAX_NUMBER = 2**63
"""The largest number of a calculation."""
MAX_CONDITIONS = 100
"""Of `and` and `or`, which pandas nests."""
_ALLOWED = (
    ast.BoolOp,
    ast.Compare,
    ast.UnaryOp,
    ast.BinOp,
    ast.boolop,
    ast.cmpop,
    ast.unaryop,
    # No powers and shifts: `9**9**9` would never end.
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.BitAnd,
    ast.BitOr,
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
    # Python takes names in their normal form NFKC, so the table's are asked for in NFC.
    quoted = PREDICTED.sub(lambda name: f"`{name[0]}`", normalize("NFC", query))
    _check_syntax(arm, query, quoted, table)
    try:
        # Empty scopes, since by default pandas also looks up names among the caller's variables.
        # The engine is named, since the default depends on whether numexpr is installed.
        mask = table.eval(quoted, engine="python", local_dict={}, global_dict={})
    except Exception as error:  # a comparison of columns may raise anything
        reason, columns = describe_error(error), ", ".join(map(str, table))
        unknown = sorted(query_columns(query) - set(map(str, table)))
        near = nearest(unknown[0], map(str, table)) if unknown else []
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise EvidenceError(
            f"{arm} = {query[:200]!r} cannot be read ({reason}); columns: {columns}.{hint}"
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
    # Replaced by a constant, so that only plain names are left to find.
    plain = _QUOTED.sub("None", PREDICTED.sub("None", query))
    try:
        tree = parse_expression(plain, "the query", EvidenceError, "")
    except EvidenceError:
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
    return f" The samples have {'; '.join(listed)}." if listed else ""


def _check_syntax(arm: str, query: str, quoted: str, table: pd.DataFrame) -> None:
    """EvidenceError for what is no comparison, or would take more than a moment."""
    # Backquotes are pandas' own syntax, which Python cannot parse.
    names: list[str] = []

    def placeholder(name: re.Match[str]) -> str:
        names.append(name[0].strip("`"))
        return f"{PLACEHOLDER}{len(names) - 1}"

    text = _QUOTED.sub(placeholder, quoted)
    source = f"{arm} = {query[:200]!r}"
    tree = parse_expression(text, source, EvidenceError, "write style == 'ink'.")
    # An allow list: `eval` in pandas would otherwise run attribute access and calls of a query in
    # a file from somebody else.
    conditions = sum(len(node.values) for node in ast.walk(tree) if isinstance(node, ast.BoolOp))
    if conditions > MAX_CONDITIONS:
        raise EvidenceError(
            f"{source} has {conditions} conditions, more than {MAX_CONDITIONS}; write "
            "style in ['ink', 'oil']."
        )
    for node in ast.walk(tree):
        if not isinstance(node, _ALLOWED):
            kind = type(node).__name__.lower()
            raise EvidenceError(f"{source} has a {kind}; a query compares columns with values.")
        if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.BitAnd | ast.BitOr):
            # A text times a number, or a format of one, would fill memory.
            for part in ast.walk(node):
                if not _is_number(part, table, names):
                    raise EvidenceError(
                        f"{source} calculates with something that is no number; a query compares "
                        "columns with values."
                    )


def _is_number(node: ast.AST, table: pd.DataFrame, names: list[str]) -> bool:
    """Whether a part of a calculation is arithmetic, a number, or a column of numbers."""
    from pandas.api.types import is_numeric_dtype

    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) and abs(node.value) < MAX_NUMBER
    if isinstance(node, ast.Name):
        number = node.id.removeprefix(PLACEHOLDER)
        name = names[int(number)] if number != node.id and number.isdecimal() else node.id
        # Unknown columns have pandas' own message.
        return name not in table or is_numeric_dtype(table[name].dtype)
    return isinstance(node, ast.BinOp | ast.UnaryOp | ast.operator | ast.unaryop | ast.Load)
