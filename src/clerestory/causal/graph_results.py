"""What `trace` found: a causal graph, how well it carries an effect, and maps of the effect."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias

from typing_extensions import override

from clerestory.causal.graph_nodes import NodeKind
from clerestory.errors import EvidenceError
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.digests import DIGEST, check_seal
from clerestory.io.reading import path_inside, read_json
from clerestory.io.validation import to_jsonable, validate
from clerestory.reporting.results import Provenance, Result
from clerestory.types import ClaimStatus

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "MIN_PAIRS",
    "PROMPT",
    "EffectMap",
    "GraphEdge",
    "GraphNode",
    "Replicates",
    "TraceResult",
]

PROMPT = "prompt"
"""The node of the words that differ."""
MIN_PAIRS = 12
"""Evaluation pairs below which nothing is claimed about others."""
ALPHA = 0.05
FILE = "trace.json"
Replicates: TypeAlias = Literal["pairs", "seeds"]
Limits: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class GraphNode:
    """A part of the model, the words, or the objective.

    Attributes:
        address: `text.blocks.2/z[h3]`; `prompt` for the words; the objective's name.
        kind: What it is.
        effect: What patching it alone from the corrupted runs into the clean ones adds to the
            objective, with everything after it running freely.
        low: Lower limit of the effect's 95% interval.
        high: Upper limit.
        share: The effect divided by the total.
        q: Of an effect of 0, Benjamini–Hochberg over the nodes.
    """

    address: str
    kind: NodeKind
    effect: float
    low: float
    high: float
    share: float
    q: float

    @property
    def differs(self) -> bool:
        """Whether the effect differs from 0."""
        return self.q <= ALPHA


@dataclass(frozen=True)
class GraphEdge:
    """A direct path from one node to another: one that goes through no other part.

    Attributes:
        source: Address of the node whose change is passed on.
        target: Address of the node that gets it.
        effect: What the target adds to the objective with the value that it has where the source
            alone is patched and every other part is frozen.
        low: Lower limit of the effect's 95% interval.
        high: Upper limit.
        share: The effect divided by the total.
        q: Of an effect of 0, Benjamini–Hochberg over the edges that were patched.
    """

    source: str
    target: str
    effect: float
    low: float
    high: float
    share: float
    q: float

    @property
    def verified(self) -> bool:
        """Whether the effect differs from 0."""
        return self.q <= ALPHA


@dataclass(frozen=True)
class EffectMap:
    """Measured effects of patching cells of a grid, one at a time.

    Attributes:
        title: What the cells are.
        rows: Names of rows.
        columns: Names of columns.
        shares: The effects divided by the total, `[row][column]`.
        low: Lower limits of their 95% intervals.
        high: Upper limits.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]
    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class TraceResult(Result):
    """The causal graph of what one prompt adds to an objective over another.

    Attributes:
        objective: The name of the objective.
        clean_prompts: Prompts whose objective is explained.
        corrupted_prompts: The prompts that they are compared with.
        replicates: Whether intervals are over pairs or, with one pair, over its seeds.
        selection: Number of pairs, or seeds, that the graph was chosen on.
        evaluation: Number of others that every figure is from.
        clean: The objective of the clean prompts.
        total: What the corrupted prompts add to it.
        total_interval: Its 95% interval.
        faithfulness: The share of the total that the graph carries: the corrupted prompts with
            every part frozen that is no node.
        faithfulness_interval: Its 95% interval.
        completeness: The share that remains without the graph: the corrupted prompts with the
            nodes frozen, but for the conditioning site as a whole, which all passes. 0 is best.
        completeness_interval: Its 95% interval.
        leak: The share that remains with every part frozen, and so passes none that may be a node.
        selection_faithfulness: What the graph carried in the half that it was chosen on.
        random_faithfulness: The shares of graphs of as many parts of each kind in each stage,
            drawn at random.
        target: The faithfulness that was asked for.
        candidates: Number of parts that the nodes were chosen from.
        nodes: The prompt, the nodes in the order in which they run, and the objective.
        edges: The edges that were patched, the largest effect first.
        maps: Effects by position and layer, and by block and step.
        warnings: Limitations of the evidence.
        provenance: Version, model and options.
    """

    figures_file = FILE
    objective: str
    clean_prompts: tuple[str, ...]
    corrupted_prompts: tuple[str, ...]
    replicates: Replicates
    selection: int
    evaluation: int
    clean: float
    total: float
    total_interval: Limits
    faithfulness: float
    faithfulness_interval: Limits
    completeness: float
    completeness_interval: Limits
    leak: float
    selection_faithfulness: float
    random_faithfulness: tuple[float, ...]
    target: float
    candidates: int
    nodes: tuple[GraphNode, ...]
    edges: tuple[GraphEdge, ...]
    maps: tuple[EffectMap, ...] = ()
    warnings: tuple[EvidenceWarning, ...] = ()
    provenance: Provenance

    @property
    def parts(self) -> tuple[GraphNode, ...]:
        """The nodes inside the model."""
        return tuple(node for node in self.nodes if node.kind not in ("prompt", "objective"))

    @property
    def status(self) -> ClaimStatus:
        """What the evidence says of “the graph carries the effect, as much as was asked for”."""
        if self.replicates == "seeds" or self.evaluation < MIN_PAIRS:
            return "undecided"
        low, high = self.faithfulness_interval
        # Too much is as unfaithful as too little.
        if self.target <= low and high <= 2 - self.target:
            return "supported"
        outside = high < self.target or low > 2 - self.target
        return "not supported" if outside else "undecided"

    @property
    def p(self) -> float | None:
        """Of random graphs that come as close to the effect; None where none was run."""
        if not self.random_faithfulness:
            return None
        distance = abs(1 - self.faithfulness)
        close = sum(abs(1 - share) <= distance for share in self.random_faithfulness)
        return (1 + close) / (1 + len(self.random_faithfulness))

    @override
    def summary(self) -> str:
        low, high = self.faithfulness_interval
        least, most = self.completeness_interval
        verified = sum(edge.verified for edge in self.edges)
        return (
            f"{self.objective}: {len(self.parts)} of {self.candidates} parts carry "
            f"{self.faithfulness:.0%} ({low:.0%} to {high:.0%}) of what the corrupted prompts add "
            f"({self.total:+.3g}), and {self.completeness:z.0%} ({least:z.0%} to {most:z.0%}) "
            f"remain without them; {verified} of {len(self.edges)} edges verified; "
            f"{self.evaluation} {self.replicates}; faithfulness of {self.target:.0%}: "
            f"{self.status}."
        )

    @override
    def table(self) -> pd.DataFrame:
        """A row for each node, in the order in which they run.

        Returns:
            Columns `address`, `kind`, `effect`, `low`, `high`, `share`, `q`.
        """
        import pandas as pd

        return pd.DataFrame([asdict(node) for node in self.nodes])

    def edge_table(self) -> pd.DataFrame:
        """A row for each edge that was patched, the largest effect first.

        Returns:
            Columns `source`, `target`, `effect`, `low`, `high`, `share`, `q`, `verified`.
        """
        import pandas as pd

        rows = [{**asdict(edge), "verified": edge.verified} for edge in self.edges]
        names = ["source", "target", "effect", "low", "high", "share", "q", "verified"]
        return pd.DataFrame(rows, columns=names)

    @override
    def plot(self, which: str = "graph") -> Any:
        """The graph, or the maps, as an Altair chart.

        Args:
            which: `graph` or `maps`.

        Returns:
            The chart.
        """
        from clerestory.causal.graph_charts import chart

        return chart(self, which)

    @override
    def page(self) -> str:
        from clerestory.causal.graph_page import page

        return page(self)

    @override
    def to_dict(self) -> dict[str, Any]:
        """Every figure, and the status, ready for JSON."""
        return {**to_jsonable(self), "status": self.status, "p": self.p}

    @classmethod
    @override
    def load(cls, folder: Path) -> Self:
        content = read_json(path_inside(Path(folder), FILE, EvidenceError), EvidenceError)
        check_seal(content, FILE, EvidenceError)
        # These are derived from the other figures.
        for name in ("status", "p", DIGEST):
            content.pop(name, None)
        return validate(cls, content, FILE, EvidenceError)
