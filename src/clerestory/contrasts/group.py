"""Groups of pictures: random prompts are drawn, classified, and what each class shares is sought.

    groups = group(recording, "lancet:mood", classes=("scared", "happy"), control="place")
    groups["scared"].units[0].unit
    verify(groups.findings("scared"), model, "lancet:mood", "scared")

A prompt is a replicate, and belongs to a group where all of its seeds do. Each prompt of a group
has a partner of which no seed does, drawn at random among the prompts that are alike in what is
controlled; so all that holds of matched pairs holds here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clerestory.classifiers import classifier as named
from clerestory.contrasts.contrast import contrast
from clerestory.contrasts.find import Read, find
from clerestory.contrasts.findings import Findings
from clerestory.contrasts.groups import Groups
from clerestory.contrasts.matching import HALVES, halves
from clerestory.contrasts.predictions import PASSED, Eyes
from clerestory.contrasts.shared_units import Values, group_of, sides_of
from clerestory.errors import EmptyArmError, EvidenceError, RegistryError
from clerestory.models.core.family import Progress
from clerestory.registry import suggest

if TYPE_CHECKING:
    from clerestory.recordings import Recording

__all__ = ["group"]

LEAST = 6
"""Prompts of a half below which a class makes no group."""
SEEN, SURE = "drawn.group", "drawn.group.confidence"


def group(
    recording: Recording,
    classifier: str,
    *,
    classes: Sequence[str] = (),
    min_confidence: float = 0.0,
    gate: str | None = None,
    control: str | Sequence[str] = (),
    within: str | None = None,
    top: int = 20,
    flips: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Groups:
    """Group a recording's pictures by what `classifier` sees; find what sets each group apart.

    `classes` are compared, by default all that have prompts enough. Pictures that are seen with
    less than `min_confidence`, or that `gate` (`CLASSIFIER=CLASS`) rules out, are left out.
    `control` names columns, or classifiers such as `lancet:place`, within whose levels prompts are
    compared. `within="prompt"` contrasts the seeds of each prompt that came out both ways instead.
    Set a of a classifier sorts the half that discovers, set b the half that reports.
    EvidenceError where there is no group, or nothing beside it.
    """
    chosen, alike = _classes(classifier, classes), _listed(control, within)
    table, said, eyes = _table(recording, classifier, chosen, min_confidence, gate, alike, seed)
    usable, counts = _agreement(table)
    how: dict[str, Any] = {"top": top, "flips": flips, "seed": seed, "progress": progress}
    if within is not None:
        table, how = table[table["kept"]], {**how, "within": within, "gate": gate}
        found = _within(recording, classifier, chosen, min_confidence, how)
    else:
        table = table[table["prompt"].map(usable)]
        found = _between(recording, table, _enough(table, chosen), alike, how, said)
    values, checks = Values(recording, table, alike, within is not None), eyes.checks()
    found = {name: replace(own, classifiers=checks) for name, own in found.items()}
    return Groups(
        classifier=classifier,
        groups={name: group_of(name, own, values, list(found)) for name, own in found.items()},
        **counts,
        controlled=alike,
        within=within,
        warnings=tuple(dict.fromkeys([*said, *_said(found)])),
        table=table,
    )


def _said(found: Mapping[str, Findings]) -> list[str]:
    """Warnings of the groups' findings; partners are of one phrasing, as every prompt is."""
    return [
        f"Group {name!r}: {warning}"
        for name, own in found.items()
        for warning in own.warnings
        if "phrasings of arm" not in warning
    ]


def _listed(control: str | Sequence[str], within: str | None) -> tuple[str, ...]:
    if within not in (None, "prompt"):
        raise EvidenceError(f"within is {within!r}; only the seeds of one 'prompt' can be told.")
    if within is not None and control:
        raise EvidenceError("Within a prompt all else is alike: leave `control` out.")
    names = [control] if isinstance(control, str) else control
    return tuple(part.strip() for name in names for part in name.split(",") if part.strip())


def _classes(classifier: str, classes: Sequence[str]) -> tuple[str, ...]:
    known = named(classifier).classes
    for name in classes:
        if name not in known:
            raise RegistryError(f"{classifier} has no class {name!r}.{suggest(name, known)}")
    return tuple(dict.fromkeys(classes)) or known


def _table(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    gate: str | None,
    control: Sequence[str],
    seed: int,
) -> tuple[pd.DataFrame, list[str], Eyes]:
    """A row for each good sample, by its place among them.

    `group` is what is seen, `kept` whether that is of a class that is asked for, seen with enough
    confidence and let through the gate, `level` what is controlled, as one.
    """
    seen = {f"c{at}": name for at, name in enumerate(control) if ":" in name}
    for name in control:
        if ":" not in name:
            _column(recording.samples, name)
    eyes = Eyes(recording, {"group": classifier, **seen}, gate)
    labels, own = eyes.labels(), recording.samples.iloc[recording.rows].reset_index(names="sample")
    prompts = sorted(own["prompt"].unique())
    order = np.random.default_rng(seed).permutation(len(prompts))
    half = {prompts[at]: HALVES[place % 2] for place, at in enumerate(order)}
    table = own[["sample", "prompt", "seed"]].assign(half=own["prompt"].map(half), level="")
    parts = []
    for name in HALVES:
        rows = (table["half"] == name).to_numpy()
        said = labels[name][rows]
        part = table[rows].assign(group=said[SEEN].to_numpy())
        for at, control_name in enumerate(control):
            drawn = ":" in control_name
            level = said[f"drawn.c{at}"] if drawn else _column(own, control_name)[rows]
            part[f"={control_name}"] = level.astype(str).to_numpy()
            part["level"] += "\n" + part[f"={control_name}"]
        kept = (said[SURE] >= min_confidence) & said[SEEN].isin(classes)
        if PASSED in said:
            kept &= said[PASSED]
        parts.append(part.assign(kept=kept.to_numpy()))
    return pd.concat(parts).sort_index(), eyes.warnings(), eyes


def _agreement(table: pd.DataFrame) -> tuple[pd.Series, dict[str, Any]]:
    """By prompt whether all of its seeds count, alike in what is controlled; which disagree."""
    by_prompt = table.groupby("prompt")
    seen = by_prompt["group"].unique()
    usable = by_prompt["kept"].all() & by_prompt["level"].nunique().eq(1)
    split = {
        str(prompt): tuple(map(str, names)) for prompt, names in seen.items() if len(names) > 1
    }
    return usable, {"split": split, "unsure": int((~usable).sum())}


def _column(table: pd.DataFrame, name: str) -> pd.Series:
    if name not in table:
        hint = suggest(name, [str(column) for column in table])
        raise EvidenceError(
            f"There is no column {name!r} to control; lancet:{name} would ask the pictures.{hint}"
        )
    return table[name]


def _enough(table: pd.DataFrame, classes: Sequence[str]) -> list[str]:
    """The classes with prompts enough in both halves, in them and not; EvidenceError for none."""
    sides = {name: sides_of(table, name) for name in classes}
    halved = table.drop_duplicates("prompt").set_index("prompt")["half"]
    kept = [
        name
        for name, two in sides.items()
        if all(int((halved[list(own)] == half).sum()) >= LEAST for own in two for half in HALVES)
    ]
    if not kept:
        sizes = ", ".join(f"{name}: {len(own)}" for name, (own, _) in sides.items() if len(own))
        raise EvidenceError(
            f"No class has {LEAST} prompts in each half, and as many without it (prompts: "
            f"{sizes or 'none'}). Record more of them, or name fewer conditions."
        )
    return kept


def _between(
    recording: Recording,
    table: pd.DataFrame,
    names: Sequence[str],
    controlled: Sequence[str],
    how: Mapping[str, Any],
    alone: list[str],
) -> dict[str, Findings]:
    """Each group's prompts beside partners from the others; `alone` gets those with too few."""
    found = {}
    for name in names:
        samples = _partners(table, name, controlled, np.random.default_rng(how["seed"]))
        pairs = samples.groupby("half")["content"].nunique().reindex(HALVES, fill_value=0)
        if pairs.min() < LEAST:
            alone.append(
                f"Group {name!r} is left out: fewer than {LEAST} of its prompts in a half have a "
                "partner that is alike in what is controlled."
            )
            continue
        read = Read(recording, samples.index.to_numpy())
        samples = samples.reset_index(drop=True)
        matched = halves(samples, phrasings_apart=False)
        found[name] = contrast(
            read, samples, matched=matched, units=read.units, by=("difference",), **how
        )
    if not found:
        raise EvidenceError(f"{alone[-1]} Control less, or record more.")
    return found


def _partners(
    table: pd.DataFrame, name: str, controlled: Sequence[str], rng: np.random.Generator
) -> pd.DataFrame:
    """Samples as `pairing` takes them, a content for each pair."""
    within, without = sides_of(table, name)
    prompts = table.drop_duplicates("prompt").set_index("prompt")
    contents: dict[str, tuple[str, str]] = {}
    for _, stratum in prompts.groupby(["half", *(f"={one}" for one in controlled)]):
        own = rng.permutation(stratum.index[stratum.index.isin(within)])
        others = rng.permutation(stratum.index[stratum.index.isin(without)])
        for one, other in zip(own, others, strict=False):
            contents[one], contents[other] = (one, "shown"), (one, "absent")
    used = table[table["prompt"].isin(contents)]
    sides = [contents[prompt] for prompt in used["prompt"]]
    arms = [arm for _, arm in sides]
    return used.assign(content=[one for one, _ in sides], arm=arms, phrase=arms)


def _within(
    recording: Recording,
    classifier: str,
    classes: Sequence[str],
    min_confidence: float,
    how: Mapping[str, Any],
) -> dict[str, Findings]:
    """Each class that has prompts of which some seeds came out in it, and others in another."""
    found = {}
    sure = f"{SURE} >= {min_confidence}"
    for name in classes:
        others = [other for other in classes if other != name]
        sides: dict[str, Any] = {
            "shown": f"{SEEN} == {name!r} and {sure}",
            "absent": f"{SEEN} in {others!r} and {sure}",
        }
        with contextlib.suppress(EmptyArmError):
            found[name] = find(recording, **sides, classifiers={"group": classifier}, **how)
    if not found:
        raise EvidenceError("No prompt came out in two classes: more seeds of each are needed.")
    return found
