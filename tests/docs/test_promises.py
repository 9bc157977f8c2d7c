"""The page of promises names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "promises.md"
TEST = re.compile(r"`([\w/.]*)::(\w+)`")


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
            tree = ast.parse((ROOT / path).read_text())
            functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in functions, f"{path}::{name}"
