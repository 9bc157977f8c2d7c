"""Objectives: linear combinations of units, directions and labels, with a readable name.

    unit("text.blocks.2/mlp[311]") - 0.5 * unit("text.blocks.2/mlp[7]")
    label("lancet:style", "stained glass")
    direction("prior/embedding", findings.direction("prior/embedding"))

Searches maximize an objective, and attribution splits its value over the pieces of a prompt.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clerestory.checks import number_array
from clerestory.errors import RegistryError, SearchError, SiteError
from clerestory.io.expressions import parse_expression
from clerestory.models.core.addresses import parse
from clerestory.types import Floats, Role

if TYPE_CHECKING:
    from clerestory.evaluation.differentiable import DifferentiableTerms

__all__ = [
    "DirectionTerm",
    "LabelTerm",
    "Objective",
    "Term",
    "direction",
    "label",
    "parse_objective",
    "unit",
]

MAX_WEIGHT = 1e9
"""The largest factor of a unit."""


@dataclass(frozen=True, eq=False)
class DirectionTerm:
    """The activation at a site along a direction, pooled over positions, averaged over steps.

    Attributes:
        site: Address of the site, with steps (`@5`) or without.
        direction: `[unit]`; missing units at the end count as 0.
        pool: `mean`, `max`, `last` or `tokens:WORD`.
        name: Display name.
    """

    site: str
    direction: NDArray[np.float64] = field(repr=False)
    pool: str
    name: str

    def __post_init__(self) -> None:
        if self.pool not in ("mean", "max", "last") and not self.pool.startswith("tokens:"):
            raise SearchError(f"pool is {self.pool!r}; it must be mean, max, last or tokens:WORD.")

    def check_width(self, width: int) -> None:
        """Check that the site has all units of the direction.

        Args:
            width: How many units it has.

        Raises:
            SiteError: It has fewer.
        """
        if len(self.direction) > width:
            raise SiteError(
                f"The objective {self.name} reads unit {len(self.direction) - 1} of {self.site}, "
                f"which has {width}."
            )


@dataclass(frozen=True)
class LabelTerm:
    """A classifier's probability of a label.

    Attributes:
        classifier: The classifier's name.
        label: One of its classes.
    """

    classifier: str
    label: str

    @property
    def name(self) -> str:
        """`lancet:style=stained glass`."""
        return f"{self.classifier}={self.label}"


Term: TypeAlias = DirectionTerm | LabelTerm


@dataclass(frozen=True, eq=False)
class Objective:
    """A weighted sum of terms; higher is better.

    Attributes:
        terms: Pairs of a weight and a term.
    """

    terms: tuple[tuple[float, Term], ...]

    @property
    def name(self) -> str:
        """The sum as text: `text.blocks.2/mlp[311] (last) - 0.5 * text.blocks.2/mlp[7] (last)`."""
        text = ""
        for weight, term in self.terms:
            factor = "" if abs(weight) == 1 else f"{abs(weight):g} * "
            if text:
                text += " - " if weight < 0 else " + "
            elif weight < 0:
                text += "-"
            text += f"{factor}{term.name}"
        return text

    @property
    def digest(self) -> str:
        """16 hexadecimal digits; unlike the name they depend on the values of directions."""
        digest = hashlib.sha256()
        for weight, term in self.terms:
            # `repr` of a float is exact, unlike its format in the name.
            digest.update(repr((weight, term.name)).encode())
            if isinstance(term, DirectionTerm):
                digest.update(repr((term.site, term.pool)).encode() + term.direction.tobytes())
        return digest.hexdigest()[:16]

    def differentiable(self, role: Role = "evaluation") -> DifferentiableTerms:
        """The same as a function of torch tensors, for `Model.gradients`.

        Args:
            role: Which of two classifiers of a name predicts labels.

        Returns:
            The function, with what it reads.

        Raises:
            ModelError: A classifier has no gradient.
        """
        from clerestory.evaluation.differentiable import differentiable_terms

        return differentiable_terms(self, role)

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
    """The activation of one neuron.

    Args:
        address: `text.blocks.2/mlp[311]`; `text.blocks.2/mlp[311]@5` for one step.
        pool: How positions are pooled; see `DirectionTerm`.

    Returns:
        The objective, of one term with weight 1.

    Raises:
        SearchError: The address does not name exactly one unit.
    """
    parsed = parse(address)
    if parsed.units is None or len(parsed.units) != 1:
        raise SearchError(f"{address!r} is not one unit; write one like text.blocks.2/mlp[311].")
    steps = "" if parsed.steps is None else f"@{','.join(map(str, parsed.steps))}"
    # The basis vector of the unit. It may end there: missing units at the end count as 0.
    basis_vector = np.eye(1, parsed.units[0] + 1, parsed.units[0])[0]
    term = DirectionTerm(parsed.site + steps, basis_vector, pool, f"{address} ({pool})")
    return Objective(((1.0, term),))


def direction(site: str, vector: Floats, pool: str = "last", name: str | None = None) -> Objective:
    """The activation at a site along a direction.

    Args:
        site: Address of the site, with steps (`@5`) or without.
        vector: Non-zero direction `[unit]`; it is normalised to length 1.
        pool: How positions are pooled; see `DirectionTerm`.
        name: Display name; by default the site.

    Returns:
        The objective, of one term with weight 1.

    Raises:
        SearchError: The direction is not 1-D, or is zero.
    """
    values = number_array(SearchError, f"The direction at {site}", vector)
    length = float(np.linalg.norm(values))
    if values.ndim != 1 or not length > 0:
        raise SearchError(
            f"The direction at {site} must be a non-zero 1-D array; got shape {values.shape}."
        )
    term = DirectionTerm(site, values / length, pool, f"{name or site} ({pool})")
    return Objective(((1.0, term),))


def label(classifier: str, name: str) -> Objective:
    """A classifier's log odds of a class, in nats.

    Probabilities saturate near 0 and would give a search no signal.

    Args:
        classifier: The classifier's name.
        name: The class; it may be shortened as for `resolve_label`.

    Returns:
        The objective, of one term with weight 1.

    Raises:
        RegistryError: There is no such classifier.
        SearchError: It has no such class.
    """
    from clerestory.classifiers import load_classifier, resolve_label

    # Before the label is resolved, so that an unknown classifier is named as such.
    load_classifier(classifier)
    try:
        resolved = resolve_label(classifier, name)
    except RegistryError as error:
        raise SearchError(str(error)) from error
    return Objective(((1.0, LabelTerm(classifier, resolved)),))


def parse_objective(
    text: str, pool: str = "last", directions: Mapping[str, NDArray[np.float64]] | None = None
) -> Objective:
    """Parse an objective from text.

    Args:
        text: `text.blocks.2/mlp[311]`, `lancet:style=stained glass`, one of the `directions` such
            as `prior/embedding[difference]`, or arithmetic over these in quotes:
            `'text.blocks.2/mlp[311]' - 0.5 * 'text.blocks.2/mlp[7]'`.
        pool: How positions are pooled; see `DirectionTerm`.
        directions: Directions `[unit]` by address, as in `Findings.directions`.

    Returns:
        The objective.

    Raises:
        SearchError: The text is no objective.
    """
    vectors = directions or {}

    def term(name: str) -> Objective:
        if name in vectors:
            return direction(name.partition("[")[0] + _step(name), vectors[name], pool, name)
        # Split at the last `=`: the name of a zero-shot classifier may contain one.
        classifier, equals, class_name = name.rpartition("=")
        return label(classifier, class_name) if equals else unit(name, pool)

    # Text without quotes is one name, which may contain spaces and operators such as `-`.
    if "'" not in text and '"' not in text:
        return term(text.strip())
    tree = parse_expression(text, repr(text[:200]), SearchError, "put units in quotes.")
    objective = _evaluate(tree, term)
    if not isinstance(objective, Objective):
        raise SearchError(f"{text!r} names no unit.")
    return objective


def _step(name: str) -> str:
    return f"@{name.rpartition('@')[2]}" if "@" in name else ""


def _evaluate(node: ast.expr, term: Callable[[str], Objective]) -> Any:
    """Evaluate arithmetic over quoted names to an `Objective` or a float.

    The text is untrusted, so every other kind of node is refused.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return term(node.value)
    number = node.value if isinstance(node, ast.Constant) else None
    # Bounded, so that no product of two of them is infinite.
    if isinstance(number, int | float) and abs(number) <= MAX_WEIGHT:
        return float(number)
    # Python parses -0.5 as the negation of 0.5.
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_evaluate(node.operand, term)
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, term), _evaluate(node.right, term)
        # A product of objectives is not linear, and a sum with a number has no unit.
        are_objectives = isinstance(left, Objective) and isinstance(right, Objective)
        if isinstance(node.op, ast.Mult) and not are_objectives:
            return left * right
        if isinstance(node.op, ast.Add | ast.Sub) and are_objectives:
            return left + right if isinstance(node.op, ast.Add) else left - right
    raise SearchError(
        "An objective is a sum of units or labels in quotes, each optionally times a number."
    )
