"""`clerestory attribute`: which piece of a prompt brings it?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from clerestory.cli.lines import read_lines
from clerestory.cli.model_options import ModelOptions, takes_model

if TYPE_CHECKING:
    from clerestory.attribution import Absence, Attribution, Prompt, Value
    from clerestory.models import Model

__all__ = ["attribute"]

FEW = 4
"""Pieces up to which every combination is drawn for the page."""


@takes_model
def attribute(
    prompt: Annotated[
        str, typer.Argument(help="With pieces in brackets: `[a name] with a [raven]`.")
    ],
    of: Annotated[
        list[str],
        typer.Option(help="A unit, what `find --out` wrote, or CLASSIFIER=CLASS. Repeatable."),
    ],
    model: ModelOptions,
    absence: Annotated[
        Literal["neutral", "delete", "both"],
        typer.Option(help="Absent pieces have a stand-in, or are left out."),
    ] = "neutral",
    seeds: Annotated[str, typer.Option(help="Noises, averaged first: 0:4.")] = "0:4",
    paraphrases: Annotated[
        int | None,
        typer.Option(
            min=20, help="Sentences around the pieces, the replicates: 48, or all there are."
        ),
    ] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="A file of your own, one a line, pieces in brackets.")
    ] = None,
    pool: Annotated[
        str, typer.Option(help="How positions are pooled, as for the finding: mean, max, last.")
    ] = "mean",
    budget: Annotated[
        int, typer.Option(min=64, help="Combinations sampled, twice, beyond ten pieces.")
    ] = 128,
    together: Annotated[
        bool,
        typer.Option(help="Neurons that up to ten pieces excite together.", show_default=True),
    ] = True,
    path: Annotated[
        bool, typer.Option(help="Findings site by site, tokens, layers.", show_default=True)
    ] = True,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; the same call resumes there.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object, to stdout.")] = False,
) -> None:
    """Split what a prompt brings about over its pieces, by every combination of them.

    Inner units come first, then what classifiers of set b see.
    """
    from clerestory.attribution import attribute as split
    from clerestory.attribution import parse_pieces
    from clerestory.attribution.page import keep
    from clerestory.cli import console
    from clerestory.models import parse_seeds

    asked, numbers = parse_pieces(prompt), parse_seeds(seeds)
    opened = model.open()
    ways: Any = ("neutral", "delete") if absence == "both" else (absence,)
    _say_absent(asked, ways, together)
    carriers = _carriers(opened, asked, paraphrases, sentences, ways)
    values, paths = _values(opened, of, pool, path and (out is not None or json))
    with console.progress_bars() as tell:
        found = split(
            opened,
            asked,
            values,
            paths=paths,
            carriers=carriers,
            seeds=numbers,
            absence=ways,
            units=together,
            budget=budget,
            out=out,
            progress=tell,
        )
        if out is not None or json:
            found = _more(opened, found, values, carriers, path, out is not None, tell)
    if out is not None:
        console.status(f"The page is {keep(found, out)}.")
    for caution in found.cautions:
        console.status(f"Note: {caution}")
    if json:
        console.write_json(found.told())
    else:
        _print(found)


def _say_absent(asked: Prompt, ways: Sequence[Absence], together: bool) -> None:
    """To stderr, what is compared with, and what is left out."""
    from clerestory.attribution.indices import EXACT
    from clerestory.cli import console

    for way in ways:
        how = "with stand-ins for them" if way == "neutral" else "with them left out"
        said = asked.text([False] * len(asked.pieces), way) or "(nothing)"
        console.status(f"Without its pieces, {how}, the prompt is: {said}")
    if together and len(asked.pieces) > EXACT:
        console.status(f"Beyond {EXACT} pieces no neurons are looked at for --together.")


def _carriers(
    model: Model,
    asked: Prompt,
    count: int | None,
    sentences: Path | None,
    ways: Sequence[Absence],
) -> tuple[Prompt, ...]:
    from clerestory.attribution import paraphrases, paraphrases_of
    from clerestory.attribution.paraphrases import LEAST, USUAL
    from clerestory.cli import console

    if sentences is not None:
        return paraphrases_of(asked, read_lines(sentences))
    if count is not None:
        return paraphrases(asked, count, model=model, absence=ways)
    found = paraphrases(asked, USUAL, atleast=LEAST, model=model, absence=ways)
    if len(found) < USUAL:
        console.status(
            f"There are {len(found)} paraphrases of this prompt, not {USUAL}: all are used."
        )
    return found


def _values(
    model: Model, of: list[str], pool: str, path: bool
) -> tuple[list[Value], dict[str, list[Value]]]:
    """What is split and, for a `path`, findings site by site."""
    from clerestory.attribution import asked_values, path_of
    from clerestory.contrasts import Findings

    values = asked_values(model, of, pool)
    folders = [Path(text) for text in of if path and Path(text).is_dir()]
    return values, {
        folder.name: path_of(model, Findings.load(folder), folder.name, pool) for folder in folders
    }


def _more(
    model: Model,
    found: Attribution,
    values: list[Value],
    carriers: Sequence[Prompt],
    path: bool,
    page: bool,
    tell: Any,
) -> Attribution:
    """With tokens patched and, for the page, pictures of every combination and layer."""
    from dataclasses import replace

    from clerestory.attribution.coalition_pictures import combinations
    from clerestory.attribution.layers import layers
    from clerestory.attribution.patching import patched

    asked = found.asked
    if path:
        tokens = patched(model, carriers, values, absence=found.absence[0], progress=tell)
        found = replace(found, patched=tokens)
    if path and page:
        found = replace(found, layers=layers(model, asked.whole, range(4), progress=tell))
    if page and len(asked.pieces) <= FEW:
        drawn = combinations(model, asked, found.absence[0], range(2), progress=tell)
        found = replace(found, pictures=drawn)
    return found


def _print(found: Attribution) -> None:
    from clerestory.cli import console

    first = found.absence[0]
    console.write(
        f"{len(found.pieces)} pieces, {found.paraphrases} paraphrases, seeds {len(found.seeds)}; "
        "95% intervals over paraphrases"
    )
    for name, ways in found.of.items():
        split = ways[first]
        console.write(f"\n{name}  (all together {split.whole.value:+.3f})")
        rows = [
            {
                "pieces": " x ".join(one.pieces),
                "value": f"{one.value:+.3f}",
                "from": f"{one.low:+.3f}",
                "to": f"{one.high:+.3f}",
            }
            for one in (*split.shapley, *split.interactions)
        ]
        import pandas as pd

        console.write_table(pd.DataFrame(rows))
    if found.together is not None:
        console.write(
            f"\n{found.together.found} of {found.together.tested} neurons are excited by all pieces"
            " more than by the sum of each alone (q < .05)"
        )
