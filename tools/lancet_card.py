"""Lancet's card, `docs/lancet.md`: measured once for each set of weights, written at every change.

`docs/explanation/lancet.md` has some of its figures. The marks of `blind_naming.py` stand beside
the classifiers' rates.

python tools/lancet_card.py    # half an hour: draws, measures, writes results/lancet.json

`generate.py` writes the page from what was kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from paths import BUILD, DOCS, PICTURES, RESULTS

FIGURES, MARKS = RESULTS / "lancet.json", RESULTS / "blind_naming.json"
FIRST_TRIAL = (
    "In a first trial, 44 of 60 subjects were named from the picture alone where the classifiers "
    "named 59."
)
"""Stands beside rates of subjects and moods until the pictures of `blind_naming.py` are named."""
STEPS = (4, 8, 16, 24)
SUBJECTS = (
    "a cat",
    "a ship",
    "an owl",
    "a rose",
    "a castle",
    "a hamburger",
    "a bicycle",
    "a moose",
)
OF_A_FACT, FAILURES = 6, 36
Tell = Callable[[str, int, int], None]


def measure() -> None:
    """Draw and measure everything that the card says."""
    import clerestory
    from clerestory.cli import console
    from lancet import checkpoint
    from lancet.evaluation.facts import facts
    from lancet.evaluation.rates import evaluate
    from lancet.evaluation.stages import stage_rates

    model = clerestory.load("lancet")
    with console.progress_bars() as progress:
        evaluation = evaluate(model, progress=progress)
        figures: dict[str, Any] = {
            "revision": model.revision,
            "steps": model.defaults.steps,
            "evaluation": evaluation.to_dict(),
            "facts": [fact.to_dict() for fact in facts(model, progress=progress)],
            "stages": stage_rates(model, BUILD / "art", progress=progress).to_dict(),
            "curve": [curve(model, evaluation, steps, progress) for steps in STEPS],
            "bytes": sum(f.stat().st_size for f in checkpoint.SHIPPED.rglob("*") if f.is_file()),
        }
        sheets(model, evaluation)
        chart(figures["curve"], model.defaults.steps)
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n")


def curve(model: Any, usual: Any, steps: int, progress: Tell) -> dict[str, float]:
    """The grid's rates and Fréchet distance at this many steps of the denoiser."""
    from lancet.evaluation.rates import evaluate

    evaluation = usual
    if steps != model.defaults.steps:
        evaluation = evaluate(model, steps=steps, progress=progress)
    rates = {name: rate.rate for name, rate in evaluation.rates.items() if rate is not None}
    return {"steps": steps, "frechet": evaluation.frechet, **rates}


def sheets(model: Any, evaluation: Any) -> None:
    """Style × subject, moods, every fact beside its control, failures."""
    from lancet.world.table import World

    world = World.load()
    styles = [level.words[0] for level in world.styles.values()]
    saved(model, [words.replace("{x}", one) for words in styles for one in SUBJECTS], "styles", 8)
    people = [
        "a {} person",
        "a {} person in a library",
        "a mosaic of a {} person",
        "a {} man at night",
    ]
    moods = [level.words[0] for level in world.moods.values()]
    saved(model, [words.format(mood) for mood in moods for words in people], "moods", 4)
    rows = [
        prompt
        for fact in world.facts
        for asks in (fact.ask, fact.control_ask)
        for prompt in itertools.islice(itertools.cycle(_spelt(world, fact, asks)), OF_A_FACT)
    ]
    saved(model, rows, "facts", OF_A_FACT)
    failures(evaluation)


def _spelt(world: Any, fact: Any, asks: Sequence[str]) -> list[str]:
    about = [world.phrases[name][0] for name in fact.about] or [""]
    return [prompt.replace("{x}", thing) for prompt in asks for thing in about]


def saved(model: Any, prompts: Sequence[str], name: str, columns: int) -> None:
    """One picture a prompt on a contact sheet; a repeated prompt has the next seed."""
    from lancet.evaluation.contact_sheet import contact_sheet

    requests = [(prompt, list(prompts[:row]).count(prompt)) for row, prompt in enumerate(prompts)]
    drawn = {
        (prompt, seed): model.run(prompt, seed).pictures[0]
        for prompt, seed in dict.fromkeys(requests)
    }
    pictures = np.stack([drawn[one] for one in requests])
    _save(contact_sheet(pictures, prompts, columns=columns), name)


def _save(sheet: Any, name: str) -> None:
    """A sheet in 256 colours: half the size, and no eye tells."""
    sheet.convert("RGB").quantize(256).save(PICTURES / f"lancet-{name}.png", optimize=True)


def failures(evaluation: Any) -> None:
    """Pictures of the grid in which the subject or the mood is taken for another one."""
    from lancet.classifiers import LancetClassifiers
    from lancet.evaluation.contact_sheet import contact_sheet

    classifiers, rows, words = LancetClassifiers.load(), [], []
    odds = classifiers.probabilities(evaluation.pictures)
    for row, prompt in enumerate(evaluation.prompts):
        factor = "mood" if prompt.mood != "none" else "subject"
        said = classifiers.classes[factor][int(odds[factor][row].argmax())]
        if prompt.part == "main" and said != getattr(prompt, factor):
            rows.append(row)
            words.append(f"{said}? {prompt.prompt}")
    chosen = np.random.default_rng(0).permutation(len(rows))[:FAILURES]
    pictures = evaluation.pictures[[rows[at] for at in chosen]]
    _save(contact_sheet(pictures, [words[at] for at in chosen]), "failures")


def chart(rows: Sequence[dict[str, float]], usual: int) -> None:
    """The steps–quality curve."""
    import altair as alt
    import pandas as pd
    import vl_convert

    table = pd.DataFrame(rows)[["steps", "style", "subject", "place", "mood"]]
    long = table.melt("steps", var_name="asked for", value_name="drawn")
    lines = (
        alt.Chart(long, width=420, height=240)
        .mark_line(point=True)
        .encode(
            x=alt.X("steps:Q", title="steps of the denoiser"),
            y=alt.Y("drawn:Q", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%")),
            color="asked for:N",
        )
    )
    rule = (
        alt.Chart(pd.DataFrame({"steps": [usual]})).mark_rule(strokeDash=[4, 4]).encode(x="steps:Q")
    )
    png = vl_convert.vegalite_to_png((lines + rule).to_json(), scale=2)
    (PICTURES / "lancet-steps.png").write_bytes(png)


def page() -> str:
    """The card, from what was kept."""
    figures = json.loads(FIGURES.read_text())
    parts = {
        "revision": figures["revision"],
        "megabytes": f"{figures['bytes'] / 1e6:.1f}",
        "steps": str(figures["steps"]),
        "seconds": f"{figures['evaluation']['seconds_per_picture']:.2f}",
        "rates": _rates(figures["evaluation"], marks()),
        "outside": outside(),
        "marks": _marks(marks()),
        "facts": _facts(figures["facts"]),
        "stages": _stages(figures["stages"]),
        "curve": _curve(figures["curve"]),
    }
    return _filled("lancet.md.in", parts)


def explanation() -> str:
    """How Lancet is made, with the card's figures in short."""
    figures = json.loads(FIGURES.read_text())["evaluation"]
    rates, unseen, right = figures["rates"], figures["held_out"], figures["classifiers"]
    lines = ["| asked for | drawn | in combinations that training never shows |", "|---|---|---|"]
    lines += [
        f"| {words} | {_short(rates[name])} | {_short(unseen.get(name))} |"
        for name, words in SHORT.items()
    ]
    parts = {f"right {name}": f"{value:.0%}" for name, value in right.items()}
    parts |= {"right style": f"{right['style']:.1%}", "rates": "\n".join(lines)}
    return _filled("explanation/lancet.md.in", {**parts, "outside": outside()})


SHORT = {
    "style": "style",
    "place": "place",
    "subject": "subject, of 122",
    "mood": "mood, of 8",
    "perspective": "perspective",
    "two_objects": "both of two objects",
    "window_asked": "a window, asked for",
    "window_not_asked": "a window, not asked for",
}
"""The rates of `explanation/lancet.md`."""


def _filled(name: str, parts: Mapping[str, str]) -> str:
    text = (DOCS / name).read_text()
    for part, value in parts.items():
        text = text.replace(f"@{part}@", value)
    return text


def marks() -> list[dict[str, Any]]:
    """The marks of Lancet 1.0's pictures; none before they were named."""
    entries = json.loads(MARKS.read_text()) if MARKS.exists() else []
    return [entry for entry in entries if entry["model"] == "lancet"]


def outside() -> str:
    """How many subjects and moods were named from the pictures alone, in a sentence."""
    entries = [entry for entry in marks() if entry["kind"] in ("subject", "mood")]
    if not entries:
        return FIRST_TRIAL
    parts = [
        f"{entry['named']} of {entry['pictures']} {entry['kind']}s"
        f" ({entry['low']:.0%}–{entry['high']:.0%}) where the classifiers named"
        f" {entry['classifier']}"
        for entry in entries
        if entry["namer"] == entries[0]["namer"]
    ]
    return f"From the picture alone, {entries[0]['namer']} named {' and '.join(parts)}."


def _marks(entries: Sequence[dict[str, Any]]) -> str:
    """The section on pictures named without their prompts; nothing before they were named."""
    if not entries:
        return ""
    lines = [
        "| kind | named | by the classifiers | both the same | rate of all prompts, corrected |",
        "|---|---|---|---|---|",
    ]
    for entry in entries:
        named = f"{entry['named']} of {entry['pictures']} ({entry['low']:.1%}–{entry['high']:.1%})"
        lines.append(
            f"| {entry['kind']} | {named} | {entry['classifier']} | {entry['agreement']:.1%} "
            f"| {_span(entry['corrected'])} |"
        )
    for entry in entries:
        if entry["ceiling"] is not None:
            span = f"{entry['ceiling_low']:.1%}–{entry['ceiling_high']:.1%}"
            lines.append(
                f"| subject of held-out renders | {entry['ceiling']} of "
                f"{entry['ceiling_pictures']} ({span}) | {entry['ceiling_classifier']} | | |"
            )
    namers = ", ".join(dict.fromkeys(entry["namer"] for entry in entries))
    return MARKS_SECTION.format(namers=namers, table="\n".join(lines))


MARKS_SECTION = """
## Outside marks

The classifiers learnt from the renders that Lancet learnt from, and its decoder was taught to be
seen by such a network. So pictures of the same prompts were named from the picture and the list of
names alone ({namers}; the first naming counts; [every naming](../results/blind_naming.json) is
kept, the pictures in `results/blind_naming`). The corrected rate is the classifiers' rate on all
prompts as the namer would have it; held-out renders are the ceiling:

{table}
"""


def _rates(figures: dict[str, Any], entries: Sequence[dict[str, Any]]) -> str:
    named = {
        entry["kind"]: f"{entry['named']} of {entry['pictures']}" for entry in reversed(entries)
    }
    header = (
        "| asked for | drawn | right on renders in these styles | in combinations never shown |"
    )
    lines = [header + (" named from the picture alone |" if named else "")]
    lines += ["|---|---|---|---|" + ("---|" if named else "")]
    for name, rate in figures["rates"].items():
        accuracy, held_out = figures["same_styles"].get(name), figures["held_out"].get(name)
        limit = "" if accuracy is None else f"{accuracy:.1%}"
        line = f"| {name.replace('_', ' ')} | {_span(rate)} | {limit} | {_span(held_out)} |"
        lines.append(line + (f" {named.get(name, '')} |" if named else ""))
    return "\n".join(lines)


def _facts(figures: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| fact | planted | in renders | Lancet draws it | its control |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {one['name']} | {one['planted']:.0%} | {one['renders']:.1%} | {_span(one['lancet'])} | "
        f"{_span(one['control'])} |"
        for one in figures
    ]
    return "\n".join(lines)


def _stages(figures: dict[str, Any]) -> str:
    lines = [
        "| right by the evaluation classifiers | renders | through the autoencoder "
        "| decoded from true embeddings |"
    ]
    lines += ["|---|---|---|---|"]
    for name, rate in figures["renders"].items():
        through, decoded = figures["autoencoder"][name]["rate"], figures["decoder"][name]["rate"]
        lines.append(f"| {name} | {rate['rate']:.1%} | {through:.1%} | {decoded:.1%} |")
    error, cosine, nearest = figures["prior_error"], figures["prior_cosine"], figures["retrieval"]
    words = (
        f"The prior's predicted embedding has {error:.2f} of the squared error of the mean "
        f"embedding, and a cosine of {cosine:.2f} with the true one. A caption's own render is the "
        f"nearest of 256 to its text embedding in {nearest:.1%}."
    )
    return "\n".join([*lines, "", words])


def _curve(figures: Sequence[dict[str, float]]) -> str:
    names = ("style", "subject", "place", "mood")
    lines = [f"| steps | {' | '.join(names)} | Fréchet distance |", "|---|---|---|---|---|---|"]
    for row in figures:
        rates = " | ".join(f"{row[name]:.1%}" for name in names)
        lines.append(f"| {row['steps']:.0f} | {rates} | {row['frechet']:.2f} |")
    return "\n".join(lines)


def _short(rate: dict[str, float] | None) -> str:
    if rate is None:
        return ""
    return f"{rate['rate']:.0%} ({100 * rate['low']:.0f}–{100 * rate['high']:.0f})"


def _span(rate: dict[str, float] | None) -> str:
    return "" if rate is None else f"{rate['rate']:.1%} ({rate['low']:.1%}–{rate['high']:.1%})"


if __name__ == "__main__":
    measure()
