"""Mutations of a folder's files, as values that JSON can keep; hypothesis draws them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from . import attacks
from .kinds import Kind

RANGE = 2**16
WAYS = ("flip", "insert", "delete", "repeat", "node", "drop")
NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63, -(2**63), 2**64, 10**12, 1e308, 0.1)
TEXTS = ("", "../../x", "/etc/passwd", "*", "a[0:99999999]", "tokens:", "nan", "é\u2028", "{}")


class Mutation(NamedTuple):
    """`file` and `at` are places among RANGE; `what` are bytes in hexadecimal, or a JSON value."""

    way: str
    file: int
    at: int
    what: Any


def mutations() -> st.SearchStrategy[list[Mutation]]:
    """One to three of them."""
    places = st.integers(0, RANGE - 1)
    raw = st.binary(min_size=1, max_size=12).map(bytes.hex)
    leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(TEXTS)
    names = st.sampled_from(("a", "kind", "site", "name", "dtype", "shape"))
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
        max_leaves=5,
    )
    of_bytes = st.builds(Mutation, st.sampled_from(WAYS[:4]), places, places, raw)
    of_nodes = st.builds(Mutation, st.sampled_from(WAYS[4:]), places, places, values)
    return st.lists(of_bytes | of_nodes, min_size=1, max_size=3)


def mutate(kind: Kind, folder: Path, mutation: Mutation) -> None:
    """Do it to one of the folder's files; a node of a file that is no JSON is a byte instead."""
    way, file, at, what = mutation
    files = kind.files(folder)
    structured = [path for path in files if path.suffix == ".json"]
    if way in WAYS[4:] and structured:
        path = structured[file * len(structured) // RANGE]
        try:
            content = json.loads(path.read_text())
        except ValueError:
            return
        every = list(attacks.nodes(content))
        node = every[at * len(every) // RANGE]
        path.write_text(json.dumps(attacks.replaced(content, node, what if way == "node" else ...)))
        return
    path = files[file * len(files) // RANGE]
    raw = path.read_bytes()
    new = bytes.fromhex(what) if isinstance(what, str) and way in WAYS[:4] else b"\xff"
    place = at * len(raw) // RANGE
    if way == "delete":
        raw = raw[:place] + raw[place + len(new) :]
    elif way == "insert":
        raw = raw[:place] + new + raw[place:]
    elif way == "repeat":
        raw = raw[:place] + raw[place : place + 64] * len(new) + raw[place:]
    else:
        raw = raw[:place] + new + raw[place + len(new) :]
    path.write_bytes(raw)
