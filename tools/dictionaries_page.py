"""Writes `docs/explanation/latents-neurons-directions.md` and its plot from the figures of
`measure_dictionaries.py`.

python tools/dictionaries_page.py    # draws the plot; `generate_docs.py` writes the page
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import evaluate_dictionaries
import numpy as np
from paths import DOCS, PICTURES, RESULTS

FIGURES = RESULTS / "dictionaries"
PLOT = PICTURES / "latents-neurons-directions.png"
SITES = ("embedding", "text2", "mid")
KINDS = ("latent", "neuron", "difference of means", "probe", "random latent")
COLOURS = ("#b5452c", "#6b7a3a", "#1d4f7c", "#7fb0d0", "#9a9a9a")
"""Of the kinds: directions blue, units of the model green, what is random grey."""
SMALLEST = 0.2
"""The effect above which an addition is said to raise a class's rate, as `verify` has it."""
NEAR, MOST = 0.03, 16
"""A class needs the fewest latents whose sparse probe is so near to the best of so many."""
FACTOR_NAMES = {"window": "stained-glass window"}
Classes = dict[tuple[str, str], dict[str, Any]]
"""Figures by factor and class."""


def sites() -> dict[str, dict[str, Any]]:
    """The figures of every site that is measured."""
    files = {name: FIGURES / f"{name}.json" for name in SITES}
    read = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    return {name: figures for name, figures in read.items() if figures["detection"]}


def is_complete() -> bool:
    """Whether there is a site with detection and control to write about."""
    return any(figures["detection"] and figures["control"] for figures in sites().values())


def page() -> str:
    """The page, from the figures."""
    measured = sites()
    return (
        (DOCS / "dictionaries" / "page.md.in")
        .read_text()
        .format(
            revision=next(iter(measured.values()))["revision"],
            dictionaries=_dictionaries(measured),
            answers=_bullets(_answers(measured)),
            detection=_detection_table(measured),
            control=_control_table(measured),
            factors=_factor_table(measured),
            reconstruction=evaluate_dictionaries.section(),
            splitting=_splitting_table(measured),
            splitting_answers=_bullets(_splitting_answers(measured)),
            measured=_bullets(_measured(measured)),
            designs=_designs(measured),
            classes="\n\n".join(_class_table(figures) for figures in measured.values()),
        )
    )


def classes_of(figures: Mapping[str, Any], task: str) -> Classes:
    """The figures of one task by factor and class.

    Args:
        figures: The figures of a site.
        task: `detection`, `control` or `equal_length`.

    Returns:
        Those that are measured.
    """
    return {
        (factor, level): values
        for factor, levels in figures[task].items()
        for level, values in levels.items()
    }


def _auroc(values: Mapping[str, Any], kind: str) -> float:
    return float(values["kinds"][kind]["auroc"])


def _addition(values: Mapping[str, Any], kind: str) -> float:
    return float(values["kinds"][kind]["addition"]["effect"])


def _ablation(values: Mapping[str, Any], kind: str) -> float:
    return float(values["kinds"][kind]["ablation"]["effect"])


def _equal(values: Mapping[str, Any], kind: str) -> float:
    return float(values["kinds"][kind]["effect"])


Figure = Callable[[Mapping[str, Any], str], float]


def _values(classes: Classes, figure: Figure, kind: str) -> np.ndarray:
    return np.array([figure(values, kind) for values in classes.values()])


def _mean(values: np.ndarray, spec: str = ".2f") -> str:
    """A mean over classes with its interval, or the mean alone of one class."""
    from clerestory.reporting.intervals import format_interval
    from clerestory.stats.clustered_intervals import mean_interval

    if len(values) < 2:
        return f"{values.mean():{spec}}" if len(values) else "–"
    low, high = mean_interval(values)
    return format_interval(float(values.mean()), float(low), float(high), spec)


def _answers(measured: Mapping[str, Any]) -> Iterator[str]:
    """Who wins at what, by one rule for all sites."""
    tasks: list[tuple[str, str, Figure, str]] = [
        ("Detection", "detection", _auroc, "AUROC"),
        ("Addition, each unit as far as the class moves it", "control", _addition, "rise"),
        ("Addition, all by the length of the difference of means", "equal_length", _equal, "rise"),
        ("Ablation", "control", _ablation, "fall"),
    ]
    for what, task, figure, unit in tasks:
        sentences = [
            f"at `{figures['site']}` {_ranking(classes, figure, unit)}"
            for figures in measured.values()
            for classes in [classes_of(figures, task)]
            if classes
        ]
        if sentences:
            yield f"**{what}**:\n" + "\n".join(f"    - {each}" for each in sentences)


def _ranking(classes: Classes, figure: Figure, unit: str) -> str:
    """The kinds by their means, which are not told apart from the best, and the latent's lead."""
    by_kind = {kind: _values(classes, figure, kind) for kind in KINDS}
    ranked = sorted(KINDS, key=lambda kind: -by_kind[kind].mean())
    listed = ", ".join(f"{kind} {by_kind[kind].mean():z.2f}" for kind in ranked)
    best, latent = by_kind[ranked[0]], by_kind["latent"]
    rivals = [kind for kind in ranked[1:] if not _differs(best - by_kind[kind])]
    beside = f", not told apart from: {', '.join(rivals)}" if rivals else ""
    lead = "; ".join(
        f"the {kind} {_mean(latent - by_kind[kind], '+z.2f')}, higher in "
        f"{(latent > by_kind[kind]).sum()} and lower in {(latent < by_kind[kind]).sum()}"
        for kind in ("neuron", "difference of means", "random latent")
    )
    return (
        f"({len(classes)} classes, mean {unit}): {listed}. Best is the **{ranked[0]}**{beside}. "
        f"The latent less {lead}."
    )


def _differs(differences: np.ndarray) -> bool:
    """Whether the interval of a mean difference excludes 0."""
    from clerestory.stats.clustered_intervals import mean_interval

    if len(differences) < 2:
        return False
    low, high = mean_interval(differences)
    return bool(low > 0 or high < 0)


def _detection_table(measured: Mapping[str, Any]) -> str:
    lines = [
        "| site | unit | classes | found | mean AUROC | the latent less this |",
        "|---|---|---|---|---|---|",
    ]
    for figures in measured.values():
        classes = classes_of(figures, "detection")
        latent = _values(classes, _auroc, "latent")
        for kind in KINDS:
            values = _values(classes, _auroc, kind)
            found = sum(each["kinds"][kind]["status"] == "found" for each in classes.values())
            less = "" if kind == "latent" else _mean(latent - values, "+z.3f")
            lines.append(
                f"| `{figures['site']}` | {kind} | {len(classes)} | {found} "
                f"| {_mean(values, '.3f')} | {less} |"
            )
    return "\n".join(lines)


def _control_table(measured: Mapping[str, Any]) -> str:
    lines = [
        "| site | unit | classes | length | addition | with an effect | ablation "
        "| side effects within / undecided / beyond | addition at equal length |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for figures in measured.values():
        classes = classes_of(figures, "control")
        equal = classes_of(figures, "equal_length")
        for kind in KINDS if classes else ():
            every = [values["kinds"][kind] for values in classes.values()]
            effects = sum(each["addition"]["low"] > SMALLEST for each in every)
            bounds = [each["addition"]["side_effects"]["within_bound"] for each in every]
            sides = " / ".join(str(bounds.count(verdict)) for verdict in (True, None, False))
            lines.append(
                f"| `{figures['site']}` | {kind} | {len(classes)} | {_lengths(classes, kind):.2f} "
                f"| {_mean(_values(classes, _addition, kind), 'z.2f')} | {effects} "
                f"| {_mean(_values(classes, _ablation, kind), 'z.2f')} | {sides} "
                f"| {_mean(_values(equal, _equal, kind), 'z.2f')} |"
            )
        if classes:
            prompting = np.array([each["prompting"]["effect"] for each in classes.values()])
            lines.append(
                f"| `{figures['site']}` | *the words* | {len(classes)} | | {_mean(prompting)} | "
                f"{sum(each['prompting']['low'] > SMALLEST for each in classes.values())} | | | |"
            )
    return "\n".join(lines)


def _lengths(classes: Classes, kind: str) -> float:
    """The median length of an addition, as a share of the difference of means."""
    shares = [
        values["kinds"][kind]["length"] / values["kinds"]["difference of means"]["length"]
        for values in classes.values()
    ]
    return float(np.median(shares))


def _factor_table(measured: Mapping[str, Any]) -> str:
    head = " | ".join(KINDS)
    lines = [
        f"| site | factor | classes | {head} | | {head} |",
        "|---" * (2 * len(KINDS) + 4) + "|",
    ]
    for figures in measured.values():
        for factor, levels in figures["detection"].items():
            aurocs, additions = (
                [_of_factor(levels, figure, kind) for kind in KINDS]
                if levels
                else ["–"] * len(KINDS)
                for levels, figure in (
                    (levels, _auroc),
                    (figures["control"].get(factor, {}), _addition),
                )
            )
            lines.append(
                f"| `{figures['site']}` | {_factor(factor)} | {len(levels)} | {' | '.join(aurocs)} "
                f"| | {' | '.join(additions)} |"
            )
    return "\n".join(lines)


def _of_factor(levels: Mapping[str, Any], figure: Figure, kind: str) -> str:
    return f"{np.mean([figure(values, kind) for values in levels.values()]):z.2f}"


def _factor(name: str) -> str:
    return FACTOR_NAMES.get(name, name)


def _splitting_table(measured: Mapping[str, Any]) -> str:
    lines = [
        "| site | factor | classes | split | latents needed (median, most) | one | two | four "
        "| sixteen | sixteen neurons | absorbed in full | fraction absorbed |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for figures in measured.values():
        for factor, levels in figures["detection"].items():
            needed = _needed(levels)
            aurocs = [_at(levels, "latent", count) for count in (1, 2, 4, 16)]
            lines.append(
                f"| `{figures['site']}` | {_factor(factor)} | {len(levels)} | {(needed > 1).sum()} "
                f"| {np.median(needed):g}, {needed.max()} "
                f"| {' | '.join(f'{each.mean():.2f}' for each in aurocs)} "
                f"| {_at(levels, 'neuron', 16).mean():.2f} "
                f"| {_absorbed(levels, 'full')} | {_absorbed(levels, 'fraction')} |"
            )
    return "\n".join(lines)


def _at(levels: Mapping[Any, Any], kind: str, count: int) -> np.ndarray:
    """AUROCs of sparse probes of so many units, by class."""
    return np.array([dict(values["curves"][kind])[count] for values in levels.values()])


def _needed(levels: Mapping[Any, Any]) -> np.ndarray:
    """The fewest latents whose sparse probe is at most `NEAR` below the best of up to `MOST`."""
    counts = []
    for values in levels.values():
        curve = [(count, auroc) for count, auroc in values["curves"]["latent"] if count <= MOST]
        best = max(auroc for _, auroc in curve)
        counts.append(next(count for count, auroc in curve if auroc >= best - NEAR))
    return np.array(counts)


def _absorption(levels: Mapping[Any, Any], name: str) -> np.ndarray:
    """A measure of absorption, of the classes that have one."""
    every = (values["absorption"][name] for values in levels.values())
    return np.array([each for each in every if each is not None])


def _absorbed(levels: Mapping[Any, Any], name: str) -> str:
    values = _absorption(levels, name)
    return f"{values.mean():.2f}" if len(values) else "–"


def _splitting_answers(measured: Mapping[str, Any]) -> Iterator[str]:
    for figures in measured.values():
        classes = classes_of(figures, "detection")
        needed = _needed(classes)
        one, two, four = (_at(classes, "latent", count) for count in (1, 2, 4))
        full, fraction = (_absorption(classes, name) for name in ("full", "fraction"))
        yield (
            f"`{figures['site']}`: {(needed > 1).sum()} of {len(classes)} classes are split: two "
            f"latents add {_mean(two - one, '+z.3f')} to the AUROC of one, and four "
            f"{_mean(four - two, '+z.3f')} to that of two. Absorbed in full: {_mean(full)} of the "
            f"samples of a class, on the mean over {len(full)} classes; fraction absorbed: "
            f"{_mean(fraction)}."
        )


def _measured(measured: Mapping[str, Any]) -> Iterator[str]:
    """What was measured, and what was not."""
    names = {"detection": "detection", "control": "control", "equal_length": "equal length"}
    for figures in measured.values():
        parts = [
            f"{name} of {', '.join(f'{_factor(f)} ({len(levels)})' for f, levels in by.items())}"
            for task, name in names.items()
            for by in [{f: levels for f, levels in figures[task].items() if levels}]
            if by
        ]
        yield f"`{figures['site']}`: {'; '.join(parts)}."
    for name in SITES:
        if name not in measured:
            yield f"The site of the dictionary `{name}` is not measured."


def _dictionaries(measured: Mapping[str, Any]) -> str:
    lines = [
        "| site | kind | units | latents | latents per position | explained variance | dead |",
        "|---|---|---|---|---|---|---|",
    ]
    for figures in measured.values():
        about = figures["dictionary"]
        l0, variance, dead = (
            "–" if about[name] is None else f"{about[name]:.{digits}f}"
            for name, digits in (("l0", 1), ("explained_variance", 3), ("dead", 2))
        )
        lines.append(
            f"| `{figures['site']}` | {about['kind']} | {about['width']} | {about['latents']} "
            f"| {l0} | {variance} | {dead} |"
        )
    return "\n".join(lines)


def _designs(measured: Mapping[str, Any]) -> str:
    """Items and templates of the evaluation half, as they were compared."""
    designs: dict[tuple[int, int], list[str]] = {}
    for figures in measured.values():
        for factor, levels in figures["detection"].items():
            for values in levels.values():
                key = (values["items"]["evaluation"], values["templates"]["positive"])
                if _factor(factor) not in designs.setdefault(key, []):
                    designs[key].append(_factor(factor))
    return "; ".join(
        f"{items} items and {phrases} phrases for {', '.join(factors)}"
        for (items, phrases), factors in sorted(designs.items(), reverse=True)
    )


def _class_table(figures: Mapping[str, Any]) -> str:
    """All classes of a site; of subjects without the intervals."""
    control = classes_of(figures, "control")
    head = [*(f"{kind}: AUROC" for kind in KINDS), *(f"{kind}: addition" for kind in KINDS)]
    lines = [
        f"### `{figures['site']}`\n",
        f"| factor | class | best latent | {' | '.join(head)} |",
        "|---" * (3 + len(head)) + "|",
    ]
    for (factor, level), values in classes_of(figures, "detection").items():
        cells = [_detects(values["kinds"][kind], factor) for kind in KINDS]
        effects = control.get((factor, level))
        cells += (
            ["" for _ in KINDS]
            if effects is None
            else [_interval(effects["kinds"][kind]["addition"]) for kind in KINDS]
        )
        unit = values["kinds"]["latent"]
        number = unit["unit"].rpartition("[")[2].partition("]")[0]
        sign = "" if unit["sign"] > 0 else " (lower)"
        lines.append(f"| {_factor(factor)} | {level} | {number}{sign} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _detects(unit: Mapping[str, Any], factor: str) -> str:
    if factor == "subject":
        return f"{unit['auroc']:.2f}"
    return f"{unit['auroc']:.2f} ({unit['low']:.2f} to {unit['high']:.2f})"


def _interval(effect: Mapping[str, float]) -> str:
    from clerestory.reporting.intervals import format_interval

    return format_interval(effect["effect"], effect["low"], effect["high"], "z.2f")


def _bullets(sentences: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def plot() -> Any:
    """Detection against control, a point for each class and kind, a panel for each site."""
    import altair as alt
    import pandas as pd

    rows = []
    for figures in sites().values():
        detection = classes_of(figures, "detection")
        for key, values in classes_of(figures, "control").items():
            for kind in KINDS:
                addition = values["kinds"][kind]["addition"]
                auroc = _auroc(detection[key], kind)
                rows.append(
                    {"site": figures["site"], "class": key[1], "unit": kind, "auroc": auroc}
                )
                rows[-1] |= {name: addition[name] for name in ("effect", "low", "high")}
    table = pd.DataFrame(rows)
    colour = alt.Color(
        "unit:N",
        sort=list(KINDS),
        scale=alt.Scale(domain=list(KINDS), range=list(COLOURS)),
        legend=alt.Legend(title=None, orient="top", symbolSize=90, symbolOpacity=1),
    )
    lowest = min(0.5, float(table["auroc"].min()))
    base = alt.Chart().encode(
        x=alt.X(
            "auroc:Q",
            title="detection: AUROC on the evaluation half",
            scale=alt.Scale(domain=[np.floor(lowest * 10) / 10, 1.0]),
        ),
        color=colour,
    )
    # Faint, as classes are many: the panel shows where kinds lie, the table has each interval.
    intervals = base.mark_rule(opacity=0.22).encode(
        y=alt.Y(
            "low:Q",
            title="control: change of the class's rate by addition",
            scale=alt.Scale(domain=[float(np.floor(table["low"].min() * 10) / 10), 1.0]),
        ),
        y2="high:Q",
    )
    points = base.mark_circle(size=48, opacity=0.85).encode(y="effect:Q", tooltip=["class:N"])
    zero = alt.Chart().mark_rule(color="#888", strokeDash=[3, 3]).encode(y=alt.datum(0))
    panels = [
        alt.layer(zero, intervals, points, data=table[table["site"] == site]).properties(
            width=270, height=300, title=site
        )
        for site in dict.fromkeys(table["site"])
    ]
    return alt.hconcat(*panels)


def save_plot() -> None:
    """Write the plot, where a site has control."""
    from clerestory.reporting.plots import png

    if is_complete():
        PLOT.write_bytes(png(plot()))


if __name__ == "__main__":
    save_plot()
