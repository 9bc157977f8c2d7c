"""`clerestory steer build`: a steered model from a finding."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["build"]


@takes_model
def build(
    finding: Annotated[Path, typer.Option("--from", help="What `find --out` wrote.")],
    classifier: Annotated[str, typer.Option(help="Who sees it, such as lancet:style.")],
    shows: Annotated[str, typer.Option("--class", help="What it should see.")],
    out: Annotated[Path, typer.Option(help="Folder for the steered model; empty or absent.")],
    model: ModelOptions,
    words: Annotated[
        str | None, typer.Option(help="How to say it: `a stained glass of {item}`.")
    ] = None,
    keep: Annotated[
        float | None, typer.Option(min=0, max=1, help="Content to keep; else the knee is taken.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take it out of the pictures.")] = False,
    decoy: Annotated[
        str | None, typer.Option(help="What must not come with it: lancet:window=present.")
    ] = None,
    keeps: Annotated[
        list[str] | None, typer.Option(help="Who should see the same; Lancet's other factors.")
    ] = None,
    site: Annotated[list[str] | None, typer.Option(help="Only here; else the best few.")] = None,
    strengths: Annotated[
        str, typer.Option(help="To try, in standard deviations of the site: 1,2,4.")
    ] = "",
    contents: Annotated[
        Path | None, typer.Option(help="A file with a content a line; Lancet has its own.")
    ] = None,
    tune: Annotated[int, typer.Option(min=4, help="Contents that choose.")] = 24,
    report: Annotated[int, typer.Option(min=4, help="Others, that report.")] = 48,
    seeds: Annotated[str, typer.Option(help="Noises of the report: 0:2.")] = "0:2",
    searched: Annotated[
        Path | None, typer.Option(help="What `maximize --out` wrote: its best stands beside.")
    ] = None,
    slider: Annotated[
        int, typer.Option(min=0, help="Steps to train a LoRA slider that stands beside.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="What was measured, to stdout.")] = False,
) -> None:
    """Try strengths, sites and steps of a finding's directions, and save the best as a model.

    Contents that choose are judged by selection classifiers, those that report by set b, beside
    plain words, shuffled directions and whatever else is given.
    """
    from clerestory.cli import console
    from clerestory.contrasts import Findings
    from clerestory.errors import OptionError
    from clerestory.evaluation.items import select_items
    from clerestory.io.outputs import free_folder, whole_folder
    from clerestory.maximization.compare import found_words
    from clerestory.models import parse_seeds
    from clerestory.steering import Concept
    from clerestory.steering import build as make
    from clerestory.steering.slider import Slider

    free_folder(out)
    numbers, sizes, against = parse_seeds(seeds), _numbers(strengths), _pair(decoy)
    if remove and searched is not None:
        raise OptionError("--searched says a concept; with --remove nothing is to say it.")
    best = None if searched is None else f"{{item}}, {found_words(searched, 1)[0]}"
    found, opened = Findings.load(finding), model.open()
    said = words or opened.profile.template(classifier, shows)
    concept = Concept(classifier, shows, said, against, tuple(keeps or ()), remove)
    concept.panel("selection")
    concept.panel("evaluation")
    listed = select_items(opened, contents, classifier, tune + report)
    with console.progress_bars() as tell:
        others = {}
        if slider:
            sides = (concept.base, concept.other)
            trained = Slider.trained(opened, sides, listed[:tune], steps=slider, progress=tell)
            others["lora"] = trained.draw
        built = make(
            opened,
            found,
            concept,
            tune=listed[:tune],
            report=listed[tune:],
            seeds=numbers,
            keep=keep,
            sites=site or (),
            strengths=sizes,
            searched=best,
            others=others,
            source=str(finding),
            progress=tell,
        )
    with whole_folder(out) as part:
        built.save(part)
    told = built.steered.calibration
    console.status(f"The steered model and its card are in {out}.")
    for warning in told["warnings"]:
        console.status(f"Note: {warning}")
    if json:
        console.write_json({"calibration": told})
    else:
        import pandas as pd

        console.write_table(pd.DataFrame(rows(told)))


def rows(told: dict[str, object]) -> list[dict[str, object]]:
    """A row for the model and for each baseline."""
    baselines = told["baselines"]
    assert isinstance(baselines, dict)
    found = []
    for name, one in {"this model": told, **baselines}.items():
        low, high = one["concept_interval"]
        added = one["decoy_added"]
        found.append(
            {
                "way": name,
                "concept": f"{one['concept_rate']:.2f} ({low:.2f}-{high:.2f})",
                "kept": "" if one["all_kept"] is None else f"{one['all_kept']:.2f}",
                **{other: f"{kept:.2f}" for other, kept in one["kept"].items()},
                "decoy added": "" if added is None else f"{added:+.2f}",
            }
        )
    return found


def _pair(text: str | None) -> tuple[str, str] | None:
    from clerestory.errors import OptionError

    if text is None:
        return None
    name, equals, shows = text.rpartition("=")
    if not equals:
        raise OptionError(f"--decoy is {text!r}; write CLASSIFIER=CLASS.")
    return name, shows


def _numbers(text: str) -> tuple[float, ...]:
    from math import isfinite

    from clerestory.errors import OptionError

    try:
        numbers = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        numbers = (float("nan"),)
    if not all(map(isfinite, numbers)):
        raise OptionError(f"--strengths is {text!r}; write numbers: 1,2,4.")
    return numbers
