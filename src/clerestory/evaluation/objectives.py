"""What a search drives up: arithmetic over units and classifiers, which says its own name.

unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]")
drawn("lancet:style", "stained glass")
along("prior/embedding", found.direction("prior/embedding"))
"""

from __future__ import annotations

import ast
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clerestory.errors import RegistryError, SearchError
from clerestory.models.core.addresses import parse

__all__ = ["Along", "Drawn", "Objective", "Term", "along", "drawn", "parse_objective", "unit"]


@dataclass(frozen=True, eq=False)
class Along:
    """The activation at a site, pooled, along a direction `[unit]`; the mean over its steps."""

    site: str
    direction: NDArray[np.float64] = field(repr=False)
    pool: str
    name: str

    def __post_init__(self) -> None:
        if self.pool not in ("mean", "max", "last") and not self.pool.startswith("tokens:"):
            raise SearchError(f"pool is {self.pool!r}; it must be mean, max, last or tokens:WORD.")


@dataclass(frozen=True)
class Drawn:
    """The probability that a classifier gives to one of its classes."""

    classifier: str
    shows: str

    @property
    def name(self) -> str:
        """`lancet:style=stained glass`."""
        return f"{self.classifier}={self.shows}"


Term = Along | Drawn


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of terms; higher is better."""

    terms: tuple[tuple[float, Term], ...]

    @property
    def name(self) -> str:
        """As it is written: `text.blocks.2/mlp[311] (last) - 0.5 * text.blocks.2/mlp[7] (last)`."""
        said = ""
        for weight, term in self.terms:
            sign = "-" if weight < 0 else "+"
            size = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            lead = f" {sign} " if said else ("-" if weight < 0 else "")
            said += f"{lead}{size}{term.name}"
        return said

    @property
    def mark(self) -> str:
        """A digest of all that the value depends on: directions of one name may differ."""
        digest = hashlib.sha256()
        for weight, term in self.terms:
            digest.update(repr((weight, term.name)).encode())
            if isinstance(term, Along):
                digest.update(repr((term.site, term.pool)).encode() + term.direction.tobytes())
        return digest.hexdigest()[:16]

    def __add__(self, other: Objective) -> Objective:
        return Objective((*self.terms, *other.terms))

    def __sub__(self, other: Objective) -> Objective:
        return self + -other

    def __neg__(self) -> Objective:
        return self * -1.0

    def __mul__(self, factor: float) -> Objective:
        return Objective(tuple((factor * weight, term) for weight, term in self.terms))

    __rmul__ = __mul__


def unit(address: str, pool: str = "last") -> Objective:
    """One neuron: `text.blocks.2/mlp[311]`, at one step with `@5`; SearchError for all else."""
    read = parse(address)
    if read.units is None or len(read.units) != 1:
        raise SearchError(f"{address!r} is not one unit; write one like text.blocks.2/mlp[311].")
    steps = "" if read.steps is None else f"@{','.join(map(str, read.steps))}"
    way = np.eye(1, read.units[0] + 1, read.units[0])[0]
    return Objective(((1.0, Along(read.site + steps, way, pool, f"{address} ({pool})")),))


def along(
    site: str, direction: NDArray[np.floating[Any]], pool: str = "last", name: str | None = None
) -> Objective:
    """A direction at a site, taken at length one; SearchError where it is zero."""
    way = np.asarray(direction, np.float64)
    length = float(np.linalg.norm(way))
    if way.ndim != 1 or not length > 0:
        raise SearchError(f"The direction at {site} must be a vector of some length.")
    return Objective(((1.0, Along(site, way / length, pool, f"{name or site} ({pool})")),))


def drawn(classifier: str, shows: str) -> Objective:
    """How sure a classifier is that the picture shows a class, in log odds (nats).

    Probabilities would be flat where nothing shows it. SearchError if it has no such class.
    """
    from clerestory.classifiers import load_classifier, resolve_label

    load_classifier(classifier)
    try:
        meant = resolve_label(classifier, shows)
    except RegistryError as error:
        raise SearchError(str(error)) from error
    return Objective(((1.0, Drawn(classifier, meant)),))


def parse_objective(
    text: str, pool: str = "last", directions: Mapping[str, NDArray[np.float64]] | None = None
) -> Objective:
    """An objective as it is typed.

    `text.blocks.2/mlp[311]`, `lancet:style=stained glass`, a finding's direction such as
    `prior/embedding[difference]` where `directions` has it, or arithmetic over these in quotes:
    `'text.blocks.2/mlp[311]' - 0.5 * 'text.blocks.2/mlp[7]'`. SearchError for anything else.
    """
    known = directions or {}

    def leaf(name: str) -> Objective:
        if name in known:
            return along(name.partition("[")[0] + _step(name), known[name], pool, name)
        judge, equals, shows = name.rpartition("=")
        return drawn(judge, shows) if equals else unit(name, pool)

    if "'" not in text and '"' not in text:
        return leaf(text.strip())
    try:
        made = _evaluated(ast.parse(text.strip(), mode="eval").body, leaf)
    except SyntaxError as error:
        raise SearchError(f"{text!r} cannot be read: {error.msg}. Put units in quotes.") from error
    if not isinstance(made, Objective):
        raise SearchError(f"{text!r} names no unit.")
    return made


def _step(name: str) -> str:
    return f"@{name.rpartition('@')[2]}" if "@" in name else ""


def _evaluated(node: ast.expr, leaf: Callable[[str], Objective]) -> Any:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return leaf(node.value)
    number = node.value if isinstance(node, ast.Constant) else None
    if isinstance(number, int | float) and math.isfinite(number):
        return float(number)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluated(node.operand, leaf)
    if isinstance(node, ast.BinOp):
        one, other = _evaluated(node.left, leaf), _evaluated(node.right, leaf)
        plain = isinstance(one, Objective) and isinstance(other, Objective)
        if isinstance(node.op, ast.Mult) and not plain:
            return one * other
        if isinstance(node.op, ast.Add | ast.Sub) and plain:
            return one + other if isinstance(node.op, ast.Add) else one - other
    raise SearchError("An objective is a sum of units in quotes, each times a number if you like.")
