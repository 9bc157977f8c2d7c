"""`clerestory microscope`: a page per unit, where people name units."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from clerestory.cli import options
from clerestory.cli.arguments import validated
from clerestory.cli.dictionaries import Dictionaries, attach_dictionaries
from clerestory.cli.options import argument, option

if TYPE_CHECKING:
    from clerestory.microscope import Themes
    from clerestory.models import Model

__all__ = ["app"]

app = typer.Typer(
    help="A page per unit, themes that people name, and blind tests.",
    no_args_is_help=True,
)
themes = typer.Typer(help="Export and import themes.", no_args_is_help=True)
app.add_typer(themes, name="themes")
TOKEN = "CLERESTORY_TOKEN"
_Folder = Annotated[Path, argument("Folder written by `microscope build`.")]

_Findings = Annotated[
    list[Path] | None, option("Folder written by `find --out`, to link; repeatable.")
]
_Studies = Annotated[
    list[Path] | None, option("Folder written by `study run`, to link; repeatable.")
]
_NameUnits = Annotated[
    bool, option("Name units by machine, and score names and themes.", "--name-units")
]
_NoDraw = Annotated[bool, option("With --name-units: draw no prompts with the model.", "--no-draw")]
_Search = Annotated[
    str | None, option("Search for maximizing prompts per unit, such as `metropolis`.")
]
_Host = Annotated[str, option("Address to bind; anything but this machine needs --token.")]
_Token = Annotated[str | None, option("Access token, at least 16 characters.", envvar=TOKEN)]
_AllowHost = Annotated[list[str] | None, option("Host name that visitors may use; repeatable.")]
_Form = Annotated[
    Literal["site", "neuronpedia"],
    option("Static pages, or rows in the format of Neuronpedia.", "--format"),
]


@app.command()
@validated
def build(
    recordings: Annotated[list[str], argument("Recordings of one model.")],
    out: Annotated[Path, option("Folder; the same command resumes there.")],
    sites: Annotated[str, option("Sites with pages, such as `text.*/mlp`.")] = "*",
    findings: _Findings = None,
    studies: _Studies = None,
    search: _Search = None,
    budget: Annotated[int, option("Prompts to score per unit, with --search.", min=10)] = 400,
    name_units: _NameUnits = False,
    no_draw: _NoDraw = False,
    dictionary: Dictionaries = None,
) -> None:
    """Build a microscope: galleries, histograms, words, related units and heat maps.

    With --name-units the machine names units and scores its names and people's themes.
    """
    from clerestory.cli import console, interrupts
    from clerestory.microscope import build as build_microscope
    from clerestory.microscope.names import name_all
    from clerestory.microscope.redraw import open_model
    from clerestory.microscope.references import add_references
    from clerestory.microscope.searches import search_all
    from clerestory.recordings import Recording

    # Before hours of building.
    _check_references(findings or (), studies or (), search)
    opened = [Recording.open(recording) for recording in recordings]
    attach_dictionaries(opened, dictionary)
    with interrupts.resumable(out), console.progress_bars() as progress:
        microscope = build_microscope(opened, out, sites=sites, progress=progress)
        add_references(microscope, findings or (), studies or ())
        needs_model = search is not None or (name_units and not no_draw)
        model = open_model(microscope, partial(_attach, dictionary)) if needs_model else None
        if name_units:
            name_all(microscope, opened, None if no_draw else model, progress)
        if search is not None:
            search_all(microscope, model, budget, algorithm=search, progress=progress)
    units = sum(site.units for site in microscope.sites.values())
    console.status(f"{units:,} units are in {out}: `clerestory microscope serve {out}`.")


@app.command()
@validated
def serve(
    folder: _Folder,
    port: Annotated[int, option("Port.", min=1, max=65535)] = 8642,
    host: _Host = "127.0.0.1",
    token: _Token = None,
    allow_host: _AllowHost = None,
    dictionary: Dictionaries = None,
) -> None:
    """Serve the pages to this machine, or with a token to others, until Ctrl-C."""
    from clerestory.cli import console
    from clerestory.errors import OptionError
    from clerestory.microscope import Microscope
    from clerestory.microscope import serve as run_server
    from clerestory.microscope.guard import check_token

    # Typer ignores an empty variable, and the server would then be open to anyone.
    if token is None and os.environ.get(TOKEN) == "":
        raise OptionError(f"{TOKEN} is set and empty: give it a token, or unset it.")
    # Before the address is printed, although `serve` checks it too.
    check_token(host, token)
    model = Microscope(folder).model
    # An IPv6 address stands in brackets in a URL.
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    token_advice = " Open it with ?token=… once." if token else ""
    console.status(f"{model} is at {url} (Ctrl-C stops it).{token_advice}")
    run_server(
        folder,
        host=host,
        port=port,
        token=token,
        hosts=allow_host or (),
        load=partial(_open_model, folder, dictionary),
    )


def _open_model(folder: Path, dictionaries: list[str] | None) -> Model:
    from clerestory.microscope import Microscope
    from clerestory.microscope.redraw import open_model

    return open_model(Microscope(folder), partial(_attach, dictionaries))


def _attach(dictionaries: list[str] | None, model: Model) -> None:
    attach_dictionaries([model], dictionaries)


@app.command()
@validated
def export(
    folder: _Folder,
    out: options.NewFolder,
    form: _Form = "site",
) -> None:
    """Write the same as files: pages without forms, or units, activations and themes as rows."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_folder
    from clerestory.microscope import neuronpedia, site

    write = site if form == "site" else neuronpedia
    with atomic_folder(out) as part, console.progress_bars() as progress:
        # The path under its final name, not the one that it was written under.
        path = out / write(folder, part, progress).relative_to(part)
    console.status(f"Open {path}." if form == "site" else f"The rows are in {path}.")


@app.command()
@validated
def backup(folder: _Folder, to: Annotated[Path, argument("A new file.")]) -> None:
    """Copy the database of themes and blind tests, also while it is served."""
    from clerestory.cli import console
    from clerestory.io.writing import atomic_file, prepare_new_file

    with atomic_file(prepare_new_file(to)) as part:
        _themes(folder).backup(part)
    console.status(f"The themes are in {to}.")


@themes.command("export")
@validated
def export_themes(folder: _Folder) -> None:
    """Print every theme as one line of JSON."""
    for line in _themes(folder).export():
        typer.echo(line)


@themes.command("import")
@validated
def import_themes(
    folder: _Folder, file: Annotated[Path, argument("File written by `export`.")]
) -> None:
    """Add the new themes of a file, all or none."""
    from clerestory.cli import console
    from clerestory.cli.lines import read_lines
    from clerestory.errors import ThemeError
    from clerestory.microscope import Microscope

    lines = read_lines(file, minimum=0)
    units = (unit.address for unit in Microscope(folder).units())
    try:
        new = _themes(folder).import_lines(lines, units)
    except ThemeError as error:
        raise ThemeError(f"{file}: {error}") from error
    console.status(f"{new} new themes.")


def _check_references(
    findings: Iterable[Path], studies: Iterable[Path], search: str | None
) -> None:
    """Check what is linked to the recordings, before the microscope is built."""
    from clerestory.contrasts import Findings
    from clerestory.errors import OutputError
    from clerestory.maximization.base import searches

    for folder in findings:
        Findings.load(folder)
    for folder in studies:
        if not any(folder.glob("*.html")):
            raise OutputError(f"{folder} has no report; give a folder that a study wrote.")
    if search is not None:
        searches[search]


def _themes(folder: Path) -> Themes:
    from clerestory.microscope import Microscope, Themes

    # Called for its checks: a folder without a microscope gets no database.
    Microscope(folder)
    return Themes(folder / "themes.sqlite")
