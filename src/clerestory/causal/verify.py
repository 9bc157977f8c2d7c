"""Detecting is not controlling: findings are changed, and what becomes of the picture is counted.

    causes = verify(found, model, "lancet:style", "stained glass")
    causes.sentences()

Everything is drawn from the half that reports, with seeds that were not recorded, so that samples
which were chosen by what was drawn are drawn anew; how far a unit is moved comes from the half that
discovers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clerestory.causal.results import Band, Causes, Control, Effect, change
from clerestory.causal.trace import OF_A_MAP, judge_of, rest_of, said_by, traced
from clerestory.causal.tracing import LEAST, patched
from clerestory.causal.trials import Drawn, Tell, Trials, matched_prompts
from clerestory.classifiers import Classifier
from clerestory.classifiers import classifier as named
from clerestory.contrasts.findings import Finding, Findings
from clerestory.edits import Ablate, Add
from clerestory.errors import EvidenceError
from clerestory.models import Model
from clerestory.models.core.addresses import parse
from clerestory.models.core.seeds import check_seeds
from clerestory.registry import suggest
from clerestory.stats import shuffled_directions

__all__ = ["verify"]

OF_A_DIRECTION = 12
"""Contents that each shuffled direction is drawn with."""
Matrix = NDArray[np.float64]


def verify(
    findings: Findings,
    model: Model,
    classifier: str | Classifier,
    shows: str,
    *,
    units: Sequence[str] = (),
    contents: int = 24,
    seeds: int | Sequence[int] | None = None,
    directions: int = 20,
    maps: bool = True,
    others: Sequence[str] | None = None,
    progress: Tell | None = None,
) -> Causes:
    """Change each unit and count how often `classifier` then sees the class `shows`.

    `units` are addresses of findings; by default the first neuron and the first direction of each
    stage, by discovery, and the first direction at what is handed to the denoiser. `contents` and
    `seeds` (one that was not recorded, by default) say how much is drawn, `directions` how many
    shuffled ones each unit is held to, `maps` whether it is traced where, when and from which
    sample the concept comes. `others` are classifiers that should see no change, by default the
    rest of Lancet's where `classifier` is one of them. EvidenceError where nothing can be checked.
    """
    judge = judge_of(classifier, shows)
    chosen = _chosen(findings, model, units)
    trials = Trials(
        model=model,
        pairs=matched_prompts(findings, model, "report", contents),
        seeds=_seeds(findings, seeds),
        judge=judge,
        shows=shows,
        tell=progress or (lambda what, done, of: None),
        others={name: named(name) for name in (rest_of(judge) if others is None else others)},
    )
    (unedited,), (said,) = trials.draw("as it is", "absent"), trials.draw("as said", "shown")
    moves = _moves(findings, model, chosen, trials, contents)
    controls = _controls(trials, chosen, moves, unedited, said, directions)
    warnings, drawn = traced(trials) if maps else ((), {})
    return Causes(
        classifier=judge.source,
        shows=shows,
        contents=len(trials.pairs),
        unedited=float(unedited.shows.mean()),
        **said_by(trials, unedited, said),
        controls=controls,
        warnings=(*findings.warnings, *warnings),
        **drawn,
    )


def _seeds(findings: Findings, seeds: int | Sequence[int] | None) -> tuple[int, ...]:
    """Those given; EvidenceError where samples were chosen by what was drawn with one of them."""
    recorded = [] if findings.samples is None else findings.samples["seed"].tolist()
    if seeds is None:
        return (max(recorded, default=-1) + 1,)
    chosen = check_seeds(seeds)
    both = sorted(set(chosen) & set(recorded))
    if both and findings.classifiers:
        raise EvidenceError(
            f"Samples were chosen by what was drawn with seed {both[0]}: drawn again it proves "
            f"nothing. Take others, such as {max(recorded) + 1}."
        )
    return chosen


@dataclass(frozen=True, eq=False)
class _Move:
    """How far a unit is moved: along `direction` (of length one), from one level to another."""

    site: str
    direction: Matrix
    without: float
    within: float
    differences: Matrix

    @property
    def far(self) -> float:
        """How far it goes, and which way."""
        return self.within - self.without


def _chosen(findings: Findings, model: Model, units: Sequence[str]) -> list[Finding]:
    by_unit = {finding.unit: finding for finding in findings.findings}
    for unit in units:
        if unit not in by_unit:
            raise EvidenceError(f"No finding is of {unit!r}.{suggest(unit, by_unit)}")
        if model.sites[parse(by_unit[unit].site).site].affects_output is False:
            raise EvidenceError(f"Nothing reads {unit}: changing it changes no picture.")
    if units:
        return [by_unit[unit] for unit in units]
    first: dict[tuple[str, str], Finding] = {}
    for finding in sorted(findings.findings, key=lambda one: one.rank):
        site = model.sites[parse(finding.site).site]
        if site.affects_output is False or not _is_there(findings, finding):
            continue
        first.setdefault((site.stage, finding.kind), finding)
        if site.address == model.conditioning_site and finding.kind == "direction":
            first.setdefault((site.address, finding.kind), finding)
    if not first:
        raise EvidenceError("No finding is of a site that the picture depends on.")
    return list(dict.fromkeys(first.values()))


def _is_there(findings: Findings, finding: Finding) -> bool:
    """A direction of length zero is none."""
    return finding.kind == "neuron" or bool(findings.direction(finding.unit).any())


def _moves(
    findings: Findings, model: Model, chosen: Sequence[Finding], trials: Trials, contents: int
) -> list[_Move]:
    """Read the half that discovers, at the chosen sites, on both sides."""
    pairs = matched_prompts(findings, model, "discovery", contents)
    sites = list(dict.fromkeys(parse(finding.site).site for finding in chosen))
    read: dict[str, dict[str, Matrix]] = {}
    for side in ("shown", "absent"):
        run = model.run(
            list(pairs[side]),
            trials.seeds,
            read=sites,
            pictures=False,
            progress=lambda done, of: trials.tell("reading", done, of),
        )
        read[side] = {
            finding.site: _of_contents(run.activations[finding.site].mean("step").to_numpy(), pairs)
            for finding in chosen
        }
    return [_move(findings, finding, read) for finding in chosen]


def _of_contents(values: NDArray[np.float32], pairs: object) -> Matrix:
    """`[content, unit]` of `[content × seed, unit]`."""
    count = len(pairs)  # type: ignore[arg-type]
    return np.asarray(values.reshape(count, -1, values.shape[-1]).mean(1), np.float64)


def _move(findings: Findings, finding: Finding, read: Mapping[str, Mapping[str, Matrix]]) -> _Move:
    shown, absent = read["shown"][finding.site], read["absent"][finding.site]
    if finding.kind == "neuron":
        unit = int(finding.unit.rpartition("[")[2].partition("]")[0])
        direction = np.eye(1, shown.shape[1], unit)[0]
    else:
        direction = findings.direction(finding.unit)
    if len(direction) != shown.shape[1]:
        raise EvidenceError(
            f"{finding.unit} was found among {len(direction)} of the site's {shown.shape[1]} "
            "units; record all of them to change it."
        )
    length = float(np.linalg.norm(direction))
    if length == 0:
        raise EvidenceError(f"The direction {finding.unit} is zero: there is nothing to change.")
    along = direction / length
    levels = float((absent @ along).mean()), float((shown @ along).mean())
    return _Move(finding.site, along, *levels, shown - absent)


def _controls(
    trials: Trials,
    chosen: Sequence[Finding],
    moves: Sequence[_Move],
    unedited: Drawn,
    said: Drawn,
    directions: int,
) -> tuple[Control, ...]:
    moved = [[Add(move.site, move.direction * move.far)] for move in moves]
    added = trials.draw("adding units", "absent", moved)
    held = [[Ablate(move.site, move.direction, move.without)] for move in moves]
    ablated = trials.draw("ablating units", "shown", held)
    sites = list(dict.fromkeys(move.site for move in moves))
    patches = {site: _patching(trials, site) for site in sites}
    return tuple(
        Control(
            unit=finding.unit,
            kind=finding.kind,
            detects=finding.detects.auroc,
            addition=change(more.shows, unedited.shows),
            ablation=change(less.shows, said.shows, lost=True),
            patching=patches[move.site][0],
            back=patches[move.site][1],
            shuffled=_shuffled(trials, move, unedited, more, directions),
            collateral=trials.kept(more, unedited),
        )
        for finding, move, more, less in zip(chosen, moves, added, ablated, strict=True)
    )


def _shuffled(
    trials: Trials, move: _Move, unedited: Drawn, added: Drawn, directions: int
) -> Band | None:
    """Directions of the same length, on fewer contents; the unit's own effect on those beside."""
    length = abs(move.far)
    try:
        made = shuffled_directions(move.differences, length, np.random.default_rng(0), directions)
    except EvidenceError:  # all pairs differ alike: no other direction is as typical of the site
        return None
    sets = [[Add(move.site, direction)] for direction in made]
    drawn = trials.draw("shuffled directions", "absent", sets, contents=OF_A_DIRECTION)
    before = unedited.first(OF_A_DIRECTION).shows
    effects = [change(one.shows, before).effect for one in drawn]
    return Band(
        mean=float(np.mean(effects)),
        low=min(effects),
        high=max(effects),
        directions=len(effects),
        contents=len(before),
        beside=change(added.first(OF_A_DIRECTION).shows, before).effect,
    )


def _patching(trials: Trials, site: str) -> tuple[Effect | None, Effect | None]:
    """The site's whole activation put from one side into the other, both ways."""
    fitting = bool(trials.model.family.hooks_by_address[parse(site).site].text_window)
    if fitting and trials.pairs["fits"].sum() < LEAST:
        return None, None
    effects = []
    for side in ("absent", "shown"):
        (before,) = trials.draw("patching", side, contents=OF_A_MAP, fitting=fitting)
        (after,) = patched(
            trials, "patching", [[site]], into=side, contents=OF_A_MAP, fitting=fitting
        )
        effects.append(change(after, before.shows, lost=side == "shown"))
    return effects[0], effects[1]
