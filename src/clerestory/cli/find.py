"""`clerestory find`: which units of a recording stand for a concept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clerestory.cli.arguments import validated

if TYPE_CHECKING:
    from clerestory.contrasts import Finding, Findings

__all__ = ["find"]

_Where = Annotated[str, typer.Argument(help="A recording: its folder or URL.")]
_Shown = Annotated[str, typer.Option(help="Which samples show it, as \"style == 'ink'\".")]
_Absent = Annotated[str, typer.Option(help="Which samples lack it.")]
_Decoy = Annotated[str | None, typer.Option(help="Which have its words or its object only.")]
_Match = Annotated[str | None, typer.Option(help="Columns that stand for the content.")]
_Within = Annotated[
    str | None, typer.Option(help="`prompt`: contrast the seeds of each prompt instead.")
]
_Phrasing = Annotated[
    str | None, typer.Option(help="The column of phrasings; `phrasing` if there is one.")
]
_By = Annotated[str, typer.Option(help="neuron, direction or both.")]
_Top = Annotated[int, typer.Option(min=1, help="How many neurons are reported at least.")]
_Classifier = Annotated[
    list[str] | None,
    typer.Option(help="What `drawn.NAME` is seen by, as NAME=CLASSIFIER; else lancet:NAME."),
]
_Gate = Annotated[
    str | None, typer.Option(help="CLASSIFIER=CLASS: leave out pictures of which it says else.")
]
_Seed = Annotated[int, typer.Option(help="Of the halves, at random.")]
_Out = Annotated[Path | None, typer.Option(help="Folder for the findings and their maps; new.")]
_Json = Annotated[bool, typer.Option("--json", help="One object, to stdout.")]


@validated
def find(
    recording: _Where,
    shown: _Shown,
    absent: _Absent,
    decoy: _Decoy = None,
    match: _Match = None,
    within: _Within = None,
    phrasing: _Phrasing = None,
    by: _By = "both",
    top: _Top = 20,
    classifier: _Classifier = None,
    gate: _Gate = None,
    seed: _Seed = 0,
    out: _Out = None,
    json: _Json = False,
) -> None:
    """Find the neurons and directions that tell a concept, by evidence that was held out."""
    from clerestory.cli import console
    from clerestory.io.outputs import free_folder

    if out is not None:
        free_folder(out)
    sides = {"shown": shown, "absent": absent, "decoy": decoy}
    found = _found(
        recording,
        **sides,
        match=match or (),
        within=within,
        phrasing=phrasing,
        by=by,
        top=top,
        classifiers=_named(classifier or []),
        gate=gate,
        seed=seed,
    )
    if out is not None:
        _write(found, out)
    if json:
        console.write_json(found.told())
    else:
        _print(found, top)


def _found(recording: str, **asked: Any) -> Findings:
    from clerestory.cli import console
    from clerestory.contrasts import find as ask
    from clerestory.recordings import Recording

    with console.progress("finding") as progress:
        return ask(Recording.open(recording), **asked, progress=progress)


def _named(given: list[str]) -> dict[str, str]:
    from clerestory.errors import RegistryError

    for one in given:
        if "=" not in one:
            raise RegistryError(f"{one!r} names no classifier; write mood=lancet:mood.")
    return {name: of for name, _, of in (one.partition("=") for one in given)}


def _write(found: Findings, out: Path) -> None:
    from clerestory.cli import console
    from clerestory.contrasts.charts import save_map
    from clerestory.io.outputs import whole_folder

    with whole_folder(out) as part:
        found.save(part)
        for kind in dict.fromkeys(one.kind for one in found.findings):
            save_map(found, part / f"map-{kind}s.png", kind)
    console.status(f"The findings are in {out}.")


def _print(found: Findings, top: int) -> None:
    """The best of each kind, with every figure."""
    from clerestory.cli import console

    pairs = found.findings[0].detects.pairs if found.findings else 0
    console.write(
        f"{found.tested:,} units tested; figures are of {pairs} contents held out from it."
    )
    for kind in ("direction", "neuron"):
        chosen = [one for one in found.findings if one.kind == kind][:top]
        if chosen:
            heads = f"{'AUROC':>6} {'95%':>11} {'decoy':>6} {'pairs won':>16} {'q':>8}"
            console.write(f"\n{kind + 's':44}{heads}")
        for one in chosen:
            console.write(_row(one))
    null = found.null
    console.write(
        f"\nWith sides flipped at random, {null.any_found} of {null.flips} found anything."
    )
    for sentence in found.eyes:
        console.status(sentence)
    for warning in found.warnings:
        console.status(f"warning: {warning}")


def _row(one: Finding) -> str:
    told = one.detects
    decoy = "" if told.decoy_auroc is None else f"{told.decoy_auroc:.3f}"
    won = f"{told.win_rate:.2f} ({told.win_low:.2f}–{told.win_high:.2f})"
    sign = "+" if one.sign > 0 else "-"
    span = f"{told.low:.3f}–{told.high:.3f}"
    return f"{sign} {one.unit:42}{told.auroc:6.3f} {span:>11} {decoy:>6} {won:>16} {told.q:8.1e}"
