"""`clerestory sites`: the sites of a model, which can be read and edited."""

from __future__ import annotations

from typing import Annotated

import typer

from clerestory.cli.model_options import ModelOptions, takes_model

__all__ = ["sites"]


@takes_model
def sites(
    model: ModelOptions,
    pattern: Annotated[
        str, typer.Argument(help="Patterns of sites, such as `text.*/mlp`, separated by commas.")
    ] = "*",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list to stdout.")] = False,
) -> None:
    """List the sites of a model: address, positions × units, and the torch module there."""
    import sys

    from clerestory.cli import console

    selected = model.open().sites.match(pattern)
    if as_json:
        rows = [
            {
                "address": site.address,
                "shape": list(site.shape),
                "module": site.path,
                "affects_output": site.affects_output,
            }
            for site in selected
        ]
        console.write_json(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("address", "positions", "units", "module", "affects output", box=None)
    for site in selected:
        positions = "varies" if site.shape[0] is None else str(site.shape[0])
        units = "?" if site.shape[1] is None else str(site.shape[1])
        units += f" in {site.heads} heads" if site.heads else ""
        affects = {True: "yes", False: "no", None: "?"}[site.affects_output]
        cells = (site.address, positions, units, site.path, affects)
        table.add_row(*(Text(console.plain(cell)) for cell in cells))  # no markup in it
    # rich takes 80 columns where there is no terminal, and would cut addresses in a pipe.
    narrow = sys.stdout.isatty()
    Console(width=None if narrow else 200).print(table)
