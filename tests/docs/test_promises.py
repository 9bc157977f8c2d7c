"""The page of promises names tests that exist, and says which of them `make test` leaves out."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "promises.md"
TEST = re.compile(r"`([\w/.]*)::(\w+)`")


def decorators(path: Path) -> dict[str, str]:
    """The decorators of every function of a file, as source."""
    return {
        node.name: " ".join(map(ast.unparse, node.decorator_list))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_every_promise_has_a_test_that_exists() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if row != "| promise | test |"]
    assert len(promises) > 80
    for row in promises:
        names = TEST.findall(row)
        assert names, row
        path = ""
        for file, name in names:
            # `::name` is of the file that was named before it.
            path = file or path
            marks = decorators(ROOT / path)
            assert name in marks, f"{path}::{name}"
            assert ("mark.exhaustive" in marks[name]) == ("(*exhaustive*)" in row), row
