"""Conditions over a table's columns: comparisons, and nothing that runs.

    met(table, "shown", "style == 'ink' and subject not in ['moose', 'elk']")

Conditions are untrusted text: they come from files and pages too. Names of columns, constants,
comparisons, `and`, `or`, `not`, `in` and arithmetic are all that they can have.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from clerestory.contrasts.predictions import DOTTED
from clerestory.errors import EvidenceError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["levels", "met"]

_QUOTED = re.compile(r"`[^`]*`")
_FINE = (
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


def met(table: pd.DataFrame, side: str, condition: str) -> pd.Series:
    """Which rows meet a condition; EvidenceError where it cannot be read."""
    import pandas as pd

    quoted = DOTTED.sub(lambda name: f"`{name[0]}`", condition)
    _check(side, condition, quoted)
    try:
        found = table.eval(quoted, engine="python", local_dict={}, global_dict={})
    except Exception as error:
        reason, columns = " ".join(str(error).split())[:160], ", ".join(map(str, table))
        raise EvidenceError(
            f"{side} = {condition!r} cannot be read ({reason}); columns: {columns}."
        ) from error
    if not isinstance(found, pd.Series) or found.dtype != bool:
        raise EvidenceError(f"{side} = {condition!r} is no condition; write style == 'ink'.")
    return found


def levels(table: pd.DataFrame, condition: str) -> str:
    """What there is in the columns that a condition names, for an error."""
    named = [name for name in table if re.search(rf"(?<![\w.]){re.escape(str(name))}\b", condition)]
    told = [f"{name}: {', '.join(sorted(map(str, table[name].unique()))[:12])}" for name in named]
    return f" There is {'; '.join(told)}." if told else ""


def _check(side: str, condition: str, quoted: str) -> None:
    """EvidenceError where a condition has anything but names, constants and comparisons."""
    try:
        tree = ast.parse(_QUOTED.sub("column", quoted).strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise EvidenceError(
            f"{side} = {condition!r} cannot be read ({error.args[0]}); write style == 'ink'."
        ) from error
    for node in ast.walk(tree):
        if not isinstance(node, _FINE):
            kind = type(node).__name__.lower()
            raise EvidenceError(
                f"{side} = {condition!r} has a {kind}; a condition compares columns with values."
            )
