"""Count the lines of Python code in a folder, by package.

python tools/count_lines.py src/clerestory [--json]

Docstrings, strings that stand alone as documentation, comments and blank lines do not count.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import sys
import tokenize
from collections import Counter
from pathlib import Path

SILENT = {
    tokenize.COMMENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
    tokenize.INDENT,
    tokenize.NEWLINE,
    tokenize.NL,
}
"""Tokens that make no line a line of code."""
TOP_LEVEL = "(top level)"


def count(source: str) -> int:
    """The lines of code of one file.

    >>> count('def f():\\n    "What it does."\\n\\n    return 1  # one\\n')
    2
    """
    documentation = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    text = source.splitlines()
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (first, _), (last, _) = token.start, token.end
        stands_alone = token.type == tokenize.STRING and first in documentation
        if token.type not in SILENT and not stands_alone:
            # A string over several lines may have blank ones inside.
            code.update(line for line in range(first, last + 1) if text[line - 1].strip())
    return len(code)


def count_packages(folder: Path) -> dict[str, dict[str, int]]:
    """Files and lines of code of each package directly in a folder, and of its own modules."""
    files: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for path in sorted(folder.rglob("*.py")):
        inner = path.relative_to(folder).parts
        package = inner[0] if len(inner) > 1 else TOP_LEVEL
        files[package] += 1
        lines[package] += count(path.read_text("utf-8"))
    return {name: {"files": files[name], "lines": lines[name]} for name in sorted(files)}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    arguments = parser.parse_args()
    packages = count_packages(arguments.folder)
    total = {key: sum(each[key] for each in packages.values()) for key in ("files", "lines")}
    if arguments.json:
        sys.stdout.write(json.dumps({"packages": packages, "total": total}, indent=1) + "\n")
        return
    sys.stdout.write(f"{'package':24}{'files':>7}{'lines':>8}\n")
    for name, each in [*packages.items(), ("total", total)]:
        sys.stdout.write(f"{name:24}{each['files']:7,}{each['lines']:8,}\n")


if __name__ == "__main__":
    main()
