"""The path of an effect: from the words that differ through the model to the value they change.

    result = trace(model, "a stained glass of a moose", "a stained glass of a cow",
                   label("lancet:style", "stained glass"))
    result.faithfulness, result.completeness     # 0.91, 0.04
    result.table(), result.edge_table()

Heads, MLPs (or their neurons, or latents) and the conditioning site are the parts. The fewest that
carry the effect are chosen on half of the samples; the other half says what they carry.
Source: path patching (Goldowsky-Dill et al. 2023, arXiv:2304.05969), circuits by ablation of all
else (Wang et al. 2022, arXiv:2211.00593; Marks et al. 2024, arXiv:2403.19647).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from clerestory.causal.graph_maps import MapMaker
from clerestory.causal.graph_measurement import (
    END,
    EffectTable,
    Link,
    Links,
    Measurement,
    Table,
    choose_links,
    draw_graphs,
    item_means,
    measure_graph,
)
from clerestory.causal.graph_nodes import DRAWING, SitePart, default_sites, list_parts
from clerestory.causal.graph_results import (
    MIN_PAIRS,
    PROMPT,
    EffectMap,
    GraphEdge,
    GraphNode,
    Replicates,
    TraceResult,
)
from clerestory.causal.graph_runs import GraphRuns
from clerestory.causal.graph_selection import Selection, select_parts
from clerestory.causal.paired_runs import BatchRunner, PairedSamples, objective_of
from clerestory.causal.parts import Parts
from clerestory.checks import check_minimum
from clerestory.errors import EvidenceError, OptionError, SiteError
from clerestory.evaluation.objectives import DirectionTerm, Objective
from clerestory.evaluation.warnings import EvidenceWarning
from clerestory.io.validation import to_jsonable
from clerestory.models import Model
from clerestory.models.core.addresses import SiteSelection, parse
from clerestory.models.core.seeds import check_seeds, item_seeds
from clerestory.models.provenance import provenance_of
from clerestory.reporting.progress import progress_bars
from clerestory.reporting.results import Provenance
from clerestory.stats.clustered_intervals import mean_interval
from clerestory.stats.ratios import ratio_interval
from clerestory.types import Floats, Progress, ProgressOption, Role

__all__ = ["trace"]

MIN_SPLIT = 4
"""Pairs, or seeds of one pair, below which there are no two halves."""
SEEDS_OF_ONE = 24
"""Seeds of a single pair, by default."""
LEAK = 0.1
"""Share of the effect that passes none of the parts, above which the result has a warning."""


def trace(
    model: Model,
    clean: str | Sequence[str],
    corrupted: str | Sequence[str],
    objective: Objective | str | Callable[..., Any],
    *,
    sites: str | Sequence[str] | None = None,
    units: str | Sequence[str] = (),
    read: str | Sequence[str] = (),
    target: float = 0.8,
    max_nodes: int = 40,
    max_edges: int = 80,
    random_graphs: int = 19,
    seeds_per_item: int | None = None,
    seeds: int | Sequence[int] | None = None,
    maps: bool = True,
    parts: str | Path | None = None,
    batch: int = 4,
    progress: ProgressOption = True,
    **options: Any,
) -> TraceResult:
    """Trace what prompts add to an objective, from the words through the model to the value.

    Args:
        model: The model.
        clean: The prompt whose objective is explained, or several with an item each.
        corrupted: The prompt that it is compared with, of as many tokens, or as many of them.
        objective: As for `attribution_patching`.
        sites: Sites whose heads, or which as a whole, may be nodes; by default all heads and MLPs
            before the denoiser, and the conditioning site. What passes none of them is the leak.
        units: Sites each unit or dictionary latent of which may be a node.
        read: What a function as objective reads.
        target: The share of the effect that the graph should carry.
        max_nodes: The largest number of nodes.
        max_edges: The largest number of edges that are patched.
        random_graphs: Number of random graphs that the graph is compared with.
        seeds_per_item: Seeds of each pair; by default 1, and 24 with a single pair.
        seeds: Seeds of every pair instead.
        maps: Whether to map positions by layer and blocks by step.
        parts: Folder for what is measured, where an interrupted call with the same arguments
            resumes.
        batch: Samples that are run together; their values at all sites are in memory meanwhile.
        progress: As for `Model.run`.
        **options: As for `Model.run`.

    Returns:
        The graph, with intervals over pairs, or over the seeds of a single one.

    Raises:
        EvidenceError: Prompts are the same or do not match, or their effect may be 0.
        ClerestoryError: As for `attribution_patching`.
    """
    check_minimum(OptionError, 1, max_nodes=max_nodes, max_edges=max_edges)
    check_minimum(OptionError, 0, random_graphs=random_graphs)
    if not 0 < target <= 1:
        raise OptionError(f"target is {target}; it must be above 0 and at most 1.")
    chosen = default_sites(model) if sites is None else sites
    listed = list_parts(model, chosen, units)
    _check_objective(model, objective, read)
    halves = _Halves.of(model, clean, corrupted, seeds_per_item, seeds, options)
    tracer = _Tracer(model, objective, read, listed, halves, batch)
    provenance = provenance_of(
        model,
        {
            "clean": list(halves.clean),
            "corrupted": list(halves.corrupted),
            "objective": getattr(objective, "digest", tracer.name),
            "sites": list(dict.fromkeys(part.site for part in listed)),
            "units": list(dict.fromkeys(part.site for part in listed if part.kind == "unit")),
            "target": target,
            "max_nodes": max_nodes,
            "max_edges": max_edges,
            "random_graphs": random_graphs,
            "seeds": [list(half.seeds) for half in (halves.selection, halves.evaluation)],
            "maps": maps,
            "batch": batch,
            "options": {name: str(value) for name, value in options.items()},
        },
    )
    saved = Parts.open(parts, json.loads(json.dumps(to_jsonable(provenance))))
    with progress_bars(progress) as report:
        graph = tracer.graph(target, max_nodes, max_edges, random_graphs, saved, report)
        drawn, left_out = tracer.maps(graph, saved, report) if maps else ((), ())
    return _result(tracer, graph, target, tuple(drawn), left_out, provenance)


def _check_objective(model: Model, objective: Any, read: str | Sequence[str]) -> None:
    """SiteError where there is no such site or unit, before anything is run or written."""
    found = objective_of(objective, read, "evaluation")
    for site in found.sites:
        model.sites.select(site.address, single=True)
    for _, term in getattr(getattr(found, "objective", None), "terms", ()):
        if not isinstance(term, DirectionTerm):
            continue
        address = parse(term.site).site
        width = model.sites[address].shape[1]
        if width is not None and len(term.direction) > width:
            last = len(term.direction) - 1
            raise SiteError(
                f"{address} has no unit {last}; its {width} units are 0 to {width - 1}."
            )


@dataclass(frozen=True, eq=False)
class _Halves:
    """The samples that choose a graph, and those that measure it."""

    clean: Sequence[str]
    corrupted: Sequence[str]
    selection: PairedSamples
    evaluation: PairedSamples

    @property
    def replicates(self) -> Replicates:
        return "seeds" if len(self.clean) == 1 else "pairs"

    def items(self, half: PairedSamples) -> list[int]:
        """The replicate of each sample of a half."""
        return list(range(len(half.seeds))) if self.replicates == "seeds" else half.items

    @classmethod
    def of(
        cls,
        model: Model,
        clean: str | Sequence[str],
        corrupted: str | Sequence[str],
        seeds_per_item: int | None,
        seeds: int | Sequence[int] | None,
        options: Mapping[str, Any],
    ) -> _Halves:
        one, other = (
            [each] if isinstance(each, str) else list(each) for each in (clean, corrupted)
        )
        _check_prompts(one, other)
        if len(one) > 1:
            many = seeds_per_item or 1
            drawn = [
                PairedSamples.of(model, one[at::2], other[at::2], many, seeds, options)
                for at in (0, 1)
            ]
            return cls(one, other, *drawn)
        own = (
            item_seeds(one[0], seeds_per_item or SEEDS_OF_ONE)
            if seeds is None
            else check_seeds(seeds)
        )
        if len(own) < MIN_SPLIT:
            raise EvidenceError(
                f"One pair of prompts with {len(own)} seeds: give at least {MIN_SPLIT}, half of "
                "which choose the graph and the others measure it."
            )
        drawn = [PairedSamples.of(model, one, other, 1, own[at::2], options) for at in (0, 1)]
        return cls(one, other, *drawn)


def _check_prompts(clean: Sequence[str], corrupted: Sequence[str]) -> None:
    if len(clean) != len(corrupted) or not clean:
        raise EvidenceError(
            f"{len(clean)} clean prompts and {len(corrupted)} corrupted ones: give as many of each."
        )
    if 1 < len(clean) < MIN_SPLIT:
        raise EvidenceError(
            f"{len(clean)} pairs of prompts: give one, whose seeds are then compared, or at least "
            f"{MIN_SPLIT}, half of which choose the graph and the others measure it."
        )
    for one, other in zip(clean, corrupted, strict=True):
        if one == other:
            raise EvidenceError(f"{one!r} is compared with itself: there is no effect to trace.")
    repeated = next((one for one in clean if list(clean).count(one) > 1), None)
    if repeated is not None:
        raise EvidenceError(
            f"{repeated!r} is in two pairs, of which one would choose the graph and the other "
            "measure it: give each pair an item of its own."
        )


@dataclass(frozen=True, eq=False)
class _Graph:
    """What was chosen and measured; the last fields of a result are made of it."""

    kept: tuple[SitePart, ...]
    links: tuple[Link, ...]
    share: float
    measured: Measurement


class _Tracer:
    """Chooses and measures a graph."""

    def __init__(
        self,
        model: Model,
        objective: Any,
        read: str | Sequence[str],
        parts: Sequence[SitePart],
        halves: _Halves,
        batch: int,
    ) -> None:
        self.parts, self.halves, self._batch = tuple(parts), halves, batch
        sites = {part.site: SiteSelection() for part in parts}

        def runner(role: Role) -> BatchRunner:
            return BatchRunner(model, objective_of(objective, read, role), sites)

        self.how = runner("evaluation")
        for half in (halves.selection, halves.evaluation):
            half.check_positions(self.how)
        self._selection = GraphRuns(runner("selection"), halves.selection, parts, batch)
        self._evaluation = GraphRuns(self.how, halves.evaluation, parts, batch)

    @property
    def name(self) -> str:
        """The objective's name."""
        return self.how.objective.name

    @property
    def items(self) -> list[int]:
        """The replicate of each evaluation sample."""
        return self.halves.items(self.halves.evaluation)

    def graph(
        self,
        target: float,
        max_nodes: int,
        max_edges: int,
        random_graphs: int,
        saved: Parts,
        report: Progress,
    ) -> _Graph:
        self._check_effect(saved, report)
        chosen = saved.get(
            "selection",
            Selection,
            lambda: select_parts(self._selection, target, max_nodes, report),
        )
        kept = tuple(self.parts[index] for index in chosen.kept)
        links = saved.get(
            "links", Links, lambda: choose_links(self._selection, kept, max_edges, report)
        )
        random = draw_graphs(self.parts, chosen.kept, random_graphs)
        # All passes the conditioning site: frozen as a whole it would leave nothing in any case.
        removed = [part for part in kept if not self._is_bottleneck(part)] or kept
        measured = measure_graph(self._evaluation, kept, removed, links, random, saved, report)
        return _Graph(kept, links, chosen.share, measured)

    def maps(
        self, graph: _Graph, saved: Parts, report: Progress
    ) -> tuple[list[EffectMap], list[EvidenceWarning]]:
        total = float(item_means(graph.measured.total[None], self.items).mean())
        half = self.halves.evaluation
        maker = MapMaker(self.how, half, self.items, total, self._batch, saved, report)
        positions, warnings = maker.positions()
        objective, sites = self.how.objective, self.how.model.sites
        is_drawn = objective.reads_pictures or any(
            sites[parse(site.address).site].stage in DRAWING for site in objective.sites
        )
        # What ends before the denoiser does not depend on its steps.
        return [*positions, *(maker.steps() if is_drawn else ())], warnings

    def _is_bottleneck(self, part: SitePart) -> bool:
        return part.kind == "site" and part.site == self.how.model.conditioning_site

    def _check_effect(self, saved: Parts, report: Progress) -> None:
        """EvidenceError where there may be no effect in one of the halves."""
        halves = {
            "selection": (self._selection, self.halves.selection),
            "evaluation": (self._evaluation, self.halves.evaluation),
        }
        for name, (runs, half) in halves.items():

            def total(runs: GraphRuns = runs) -> Table:
                return (tuple(map(float, runs.over_batches(lambda batch: batch.total))),)

            values = np.array(saved.get(f"total-{name}", Table, total))
            effects = item_means(values, self.halves.items(half))[:, 0]
            low, high = map(float, mean_interval(effects))
            if low <= 0 <= high:
                raise EvidenceError(
                    f"The corrupted prompts change {self.name} by {effects.mean():+.3g} ({low:.3g} "
                    f"to {high:.3g}, over {len(effects)} {self.halves.replicates} of the {name} "
                    "half), which may be 0: there is no effect to trace."
                )
            report("measuring the effect", 1 + (name == "evaluation"), 2)


def _result(
    tracer: _Tracer,
    graph: _Graph,
    target: float,
    maps: tuple[EffectMap, ...],
    left_out: Sequence[EvidenceWarning],
    provenance: Provenance,
) -> TraceResult:
    measured, items = graph.measured, tracer.items
    total = item_means(measured.total[None], items)[:, 0]
    graphs, without, leak = (
        item_means(values[None], items)[:, 0]
        for values in (measured.graph, measured.without, measured.leak)
    )
    mean = float(total.mean())
    random = item_means(measured.random, items).mean(0) / mean if len(measured.random) else []
    result = TraceResult(
        objective=tracer.name,
        clean_prompts=tuple(tracer.halves.clean),
        corrupted_prompts=tuple(tracer.halves.corrupted),
        replicates=tracer.halves.replicates,
        selection=len(set(tracer.halves.items(tracer.halves.selection))),
        evaluation=len(total),
        clean=float(item_means(measured.clean[None], items).mean()),
        total=mean,
        total_interval=_limits(*mean_interval(total)),
        faithfulness=float(graphs.mean()) / mean,
        faithfulness_interval=_limits(*ratio_interval(graphs, total)),
        completeness=float(without.mean()) / mean,
        completeness_interval=_limits(*ratio_interval(without, total)),
        leak=float(leak.mean()) / mean,
        selection_faithfulness=graph.share,
        random_faithfulness=tuple(map(float, random)),
        target=target,
        candidates=len(tracer.parts),
        nodes=_nodes(graph.kept, item_means(measured.nodes, items), total, tracer.name),
        edges=_edges(graph, item_means(measured.links, items), mean, tracer.name),
        maps=maps,
        provenance=provenance,
    )
    return replace(result, warnings=(*_warnings(result), *left_out))


def _limits(low: Any, high: Any) -> tuple[float, float]:
    return float(low), float(high)


def _nodes(
    kept: Sequence[SitePart], effects: Floats, total: Floats, objective: str
) -> tuple[GraphNode, ...]:
    ends, found = EffectTable.of(total[:, None]), EffectTable.of(effects)

    def node(address: str, kind: Any, table: EffectTable, row: int) -> GraphNode:
        mean, low, high, q = (
            float(each[row]) for each in (table.mean, table.low, table.high, table.q)
        )
        return GraphNode(address, kind, mean, low, high, mean / float(total.mean()), q)

    return (
        node(PROMPT, "prompt", ends, 0),
        *(node(part.address, part.kind, found, row) for row, part in enumerate(kept)),
        node(objective, "objective", ends, 0),
    )


def _edges(graph: _Graph, effects: Floats, total: float, objective: str) -> tuple[GraphEdge, ...]:
    names = {index: part.address for index, part in enumerate(graph.kept)}
    table = EffectTable.of(effects)
    edges = [
        GraphEdge(
            {**names, END: PROMPT}[sender],
            {**names, END: objective}[receiver],
            float(table.mean[row]),
            float(table.low[row]),
            float(table.high[row]),
            float(table.mean[row]) / total,
            float(table.q[row]),
        )
        for row, (sender, receiver) in enumerate(graph.links)
    ]
    return tuple(sorted(edges, key=lambda edge: -abs(edge.effect)))


def _warnings(result: TraceResult) -> list[EvidenceWarning]:
    found = []
    if result.replicates == "seeds":
        text = (
            "There is one pair of prompts: the graph is that of these two prompts, and the "
            "intervals are over their seeds alone."
        )
        found.append(EvidenceWarning("one-phrase", text))
    elif result.evaluation < MIN_PAIRS:
        text = (
            f"{result.evaluation} pairs measure the graph; {MIN_PAIRS} or more are needed for a "
            "claim about others."
        )
        found.append(EvidenceWarning("few-items", text))
    if abs(result.leak) > LEAK:
        text = (
            f"{result.leak:.0%} of the effect pass none of the sites that were traced: add sites "
            "that all paths go through."
        )
        found.append(EvidenceWarning("incomplete", text))
    if abs(1 - result.faithfulness) > 1 - result.target:
        text = (
            f"The graph carries {result.faithfulness:.0%} of the effect, and {result.target:.0%} "
            f"were asked for; it carried {result.selection_faithfulness:.0%} in the half that it "
            "was chosen on."
        )
        found.append(EvidenceWarning("insufficient", text))
    return found
