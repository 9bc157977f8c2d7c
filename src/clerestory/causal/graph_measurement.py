"""Measures a causal graph on samples that it was not chosen on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import stats

from clerestory.causal.graph_nodes import SitePart
from clerestory.causal.graph_runs import GraphBatch, GraphRuns
from clerestory.causal.parts import Parts
from clerestory.stats import benjamini_hochberg
from clerestory.stats.clustered_intervals import mean_interval
from clerestory.types import Floats, Progress

__all__ = [
    "END",
    "EffectTable",
    "Link",
    "Links",
    "Measurement",
    "Table",
    "choose_links",
    "draw_graphs",
    "item_means",
    "measure_graph",
]

Link: TypeAlias = tuple[int, int]
"""Indices of a sender and a receiver; −1 for the words, and for the objective."""
Links: TypeAlias = tuple[Link, ...]
Table: TypeAlias = tuple[tuple[float, ...], ...]
"""`[row][sample]`, as it is written."""
END = -1
PER_RECEIVER = 4
"""Senders of each receiver that are patched."""
SMALLEST = 0.005
"""Estimated share of the total below which an edge is not patched."""
NOTHING = 1e-6
"""Share of the total that rounding may leave."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """What the evaluation half gave; `[…, sample]`.

    Attributes:
        clean: The objective of the clean prompts.
        total: What the corrupted ones add.
        graph: What they add through the graph.
        without: What they add without it.
        leak: What they add with every part frozen.
        random: What they add through random graphs, `[graph, sample]`.
        nodes: What each node adds alone, `[node, sample]`.
        links: What each edge adds, `[edge, sample]`.
    """

    clean: Floats
    total: Floats
    graph: Floats
    without: Floats
    leak: Floats
    random: Floats
    nodes: Floats
    links: Floats


@dataclass(frozen=True, eq=False)
class EffectTable:
    """Means of effects with intervals and tests, one for each row.

    Attributes:
        mean: Means over replicates.
        low: Lower limits of 95% intervals.
        high: Upper limits.
        q: Of an effect of 0, by Student's t, Benjamini–Hochberg over the rows.
    """

    mean: Floats
    low: Floats
    high: Floats
    q: Floats

    @classmethod
    def of(cls, values: Floats) -> EffectTable:
        """Summarize effects.

        Args:
            values: `[replicate, row]`.

        Returns:
            The table.
        """
        if not values.shape[1]:
            nothing = np.empty(0)
            return cls(nothing, nothing, nothing, nothing)
        low, high = mean_interval(values)
        spread = values.std(0, ddof=1) / np.sqrt(len(values))
        mean = values.mean(0)
        # Without spread: 0 is no effect, and anything else is one beyond doubt.
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(mean == 0, 0.0, np.abs(mean) / spread)
        p = 2 * stats.t.sf(t, len(values) - 1)
        return cls(mean, low, high, benjamini_hochberg(p))


def item_means(values: Floats, items: Sequence[int]) -> Floats:
    """Means over the samples of each replicate.

    Args:
        values: `[row, sample]`.
        items: The replicate of each sample.

    Returns:
        `[replicate, row]`.
    """
    own = np.asarray(items)
    return np.stack([values[:, own == item].mean(1) for item in dict.fromkeys(items)])


def choose_links(
    runs: GraphRuns, kept: Sequence[SitePart], most: int, report: Progress
) -> tuple[Link, ...]:
    """The edges that are worth patching, by estimates in the selection half.

    Args:
        runs: The selection half.
        kept: The nodes.
        most: The largest number of edges.
        report: Called after every sender.

    Returns:
        For each receiver the senders of the largest estimates, and the nodes that reach the
        objective without passing another part.
    """
    senders: list[SitePart | None] = [None, *kept]
    total = float(runs.over_batches(lambda batch: batch.total).mean())

    def estimate(batch: GraphBatch) -> Floats:
        found = []
        for number, sender in enumerate(senders):
            _, received = batch.direct(sender, kept, draws=False)
            found.append(batch.estimates(received, kept))
            report("estimating edges", number + 1, len(senders))
        return np.stack(found, 1)

    shares = np.abs(runs.over_batches(estimate).mean(0) / total)
    links = []
    for receiver, part in enumerate(kept):
        column = shares[:, receiver].copy()
        # Parts of one site do not read one another.
        same = [
            index for index, sender in enumerate(senders) if sender and sender.site == part.site
        ]
        column[same] = 0
        best = np.argsort(-column, kind="stable")[:PER_RECEIVER]
        links += [
            (column[sender], (int(sender) - 1, receiver))
            for sender in best
            if column[sender] >= SMALLEST
        ]
    links.sort(key=lambda link: -link[0])
    ends = _ends(runs.batch(runs.rows[0]), senders, abs(total), report)
    return (*ends, *(link for _, link in links[: max(most - len(ends), 0)]))


def _ends(
    batch: GraphBatch, senders: Sequence[SitePart | None], total: float, report: Progress
) -> list[Link]:
    """Which nodes reach the objective directly; a few samples tell, as most are cut off from it."""
    found = []
    for number, sender in enumerate(senders):
        added, _ = batch.direct(sender, ())
        # What passes with everything frozen is the leak, and no path of the sender's.
        if np.abs(added).max() > NOTHING * total:
            found.append((number - 1, END))
        report("estimating edges", number + 1, len(senders))
    return found


def draw_graphs(parts: Sequence[SitePart], kept: Sequence[int], count: int) -> list[list[SitePart]]:
    """Graphs of as many parts of each kind in each stage as another, drawn at random.

    Without parts of every stage a graph carries nothing, which would be no comparison.

    Args:
        parts: All parts.
        kept: Indices of those of the graph.
        count: How many graphs.

    Returns:
        The graphs, always the same ones.
    """
    rng = np.random.default_rng(0)
    kinds = [(part.site.split("/")[0].split(".")[0], part.kind) for part in parts]
    wanted = Counter(kinds[index] for index in kept)
    drawn = []
    for _ in range(count):
        chosen: list[int] = []
        for kind, number in wanted.items():
            own = [index for index, each in enumerate(kinds) if each == kind]
            chosen += rng.choice(own, number, replace=False).tolist()
        drawn.append([parts[index] for index in sorted(chosen)])
    return drawn


def measure_graph(
    runs: GraphRuns,
    kept: Sequence[SitePart],
    removed: Sequence[SitePart],
    links: Sequence[Link],
    random: Sequence[Sequence[SitePart]],
    saved: Parts,
    report: Progress,
) -> Measurement:
    """Measure a graph, its nodes and its edges by patching.

    Args:
        runs: The evaluation half.
        kept: The nodes.
        removed: The nodes that are frozen for completeness.
        links: The edges.
        random: Other graphs.
        saved: Where each batch is written once it is measured.
        report: Called after every batch.

    Returns:
        The measurement.
    """

    def graphs(batch: GraphBatch) -> list[Floats]:
        own = [batch.clean.objective, batch.total, batch.graph(kept), batch.without(removed)]
        return [*own, batch.graph(()), *(batch.graph(each) for each in random)]

    def alone(batch: GraphBatch) -> list[Floats]:
        return [batch.alone(part) for part in kept]

    def edges(batch: GraphBatch) -> list[Floats]:
        return _edges(batch, kept, links)

    tables = []
    phases = {"graphs": graphs, "nodes": alone, "edges": edges}
    for name, measure in phases.items():
        table = []
        for number, rows in enumerate(runs.rows):
            part = saved.get(f"{name}-{rows.start}", Table, _lazily(runs, rows, measure))
            table.append(np.array(part).reshape(len(part), len(rows)))
            report(f"patching {name}", number + 1, len(runs.rows))
        tables.append(np.concatenate(table, 1))
    first, nodes, found = tables
    clean, total, graph, without, leak = first[:5]
    return Measurement(clean, total, graph, without, leak, first[5:], nodes, found)


def _lazily(
    runs: GraphRuns, rows: range, measure: Callable[[GraphBatch], list[Floats]]
) -> Callable[[], Table]:
    """Measures a batch, whose runs are not drawn where the part is there already."""

    def measured() -> Table:
        return tuple(tuple(map(float, row)) for row in measure(runs.batch(rows)))

    return measured


def _edges(batch: GraphBatch, kept: Sequence[SitePart], links: Sequence[Link]) -> list[Floats]:
    added: dict[Link, Floats] = {}
    for sender in dict.fromkeys(link[0] for link in links):
        own = [link for link in links if link[0] == sender]
        receivers = [kept[receiver] for _, receiver in own if receiver != END]
        part = None if sender == END else kept[sender]
        reaches_end = (sender, END) in own
        direct, received = batch.direct(part, receivers, draws=reaches_end)
        for link in own:
            if link[1] == END:
                added[link] = direct
            else:
                added[link] = batch.given(received, kept[link[1]])
    return [added[link] for link in links]
