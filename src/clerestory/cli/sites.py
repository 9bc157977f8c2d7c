"""`clerestory sites`: the places inside a model that can be read and edited."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["sites"]


def sites(
    pattern: Annotated[
        str, typer.Argument(help="Which sites: `text.*/mlp`, several with commas.")
    ] = "*",
    model: Annotated[str, typer.Option(help="`lancet`, or a pipeline's folder.")] = "lancet",
    as_json: Annotated[bool, typer.Option("--json", help="A list of objects, to stdout.")] = False,
) -> None:
    """List the sites of a model: address, positions × units, and the torch module there."""
    import sys

    from clerestory.cli import console
    from clerestory.models import load

    found = load(model).sites.match(pattern)
    if as_json:
        rows = [
            {"address": s.address, "shape": list(s.shape), "module": s.path, "feeds": s.feeds}
            for s in found
        ]
        console.emit(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("address", "positions", "units", "module", "feeds", box=None)
    for site in found:
        positions = "picture" if site.shape[0] is None else str(site.shape[0])
        feeds = "yes" if site.feeds else "no"
        table.add_row(site.address, positions, str(site.shape[1]), site.path, feeds)
    narrow = sys.stdout.isatty()
    Console(width=None if narrow else 200).print(table)
