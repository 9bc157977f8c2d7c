"""The `clerestory` command: its subcommands, its errors and exit statuses."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from clerestory import __version__
from clerestory.cli import (
    attention,
    attribute,
    classifier,
    compare,
    console,
    dictionary,
    doctor,
    draw,
    familiarity,
    find,
    group,
    interrupts,
    lens,
    maximize,
    microscope,
    record,
    recording,
    sites,
    steer,
    study,
    suppress,
    templates,
    trace,
    verify,
)
from clerestory.cli.model_options import HERE
from clerestory.cli.plugins import PluginGroup
from clerestory.errors import ClerestoryError, describe_error

__all__ = ["app", "main"]

app = typer.Typer(
    name="clerestory",
    cls=PluginGroup,
    help="Find out what a text-to-image model knows, where it keeps it, and how to change it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order in which --help lists them.
for command in (
    doctor.doctor,
    draw.draw,
    sites.sites,
    templates.templates,
    record.record,
    find.find,
    verify.verify,
    group.group,
    maximize.maximize,
    compare.compare,
    attention.attention,
    lens.lens,
    attribute.attribute,
    trace.trace,
    suppress.suppress,
    familiarity.familiarity,
):
    app.command()(command)
for module in (recording, dictionary, classifier, study, steer, microscope):
    app.add_typer(module.app, name=module.__name__.rpartition(".")[2])


def main() -> None:
    """Run the command line.

    A `ClerestoryError` becomes one line on stderr and exit status 1. Ctrl-C and SIGTERM become one
    line as well, which reports what is left on disk, with status 130 or 143.
    """
    _open_closed_streams()
    _check_stdout()
    try:
        with interrupts.handle_signals():
            app(_expand_flags(sys.argv[1:]))
    except ClerestoryError as error:
        # One line: scripts and logs read errors by lines.
        line = " ".join(str(error).split())
        console.status(f"clerestory: {line}")
        sys.exit(1)
    except OSError as error:
        # A full disk or a denied file is no defect of the program: one line, no traceback.
        name, reason = error.filename or "a file", error.strerror or describe_error(error)
        try:
            sys.stdout.flush()
        except OSError:
            # It would be tried again when the process ends.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process lives
        console.status(f"clerestory: {name} cannot be used: {reason}.")
        sys.exit(1)


def _open_closed_streams() -> None:
    """Open the streams that a shell closed (`>&-`), so that no file gets their numbers.

    A library that writes to a closed stderr would then write into a recording.
    """
    for number, flags in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number, this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _check_stdout() -> None:
    """End here where nothing can be written to stdout, rather than after hours of work."""
    try:
        os.write(1, b"")
    except OSError as error:
        console.status(
            f"clerestory: stdout cannot be written to: {error.strerror}. Leave `>&-` out, or write "
            "to a file or /dev/null."
        )
        sys.exit(1)


def _expand_flags(arguments: list[str]) -> list[str]:
    """Add the default value to options that may be given without one.

    >>> _expand_flags(["record", "--ray", "--seeds", "0:4"])
    ['record', '--ray', 'local', '--seeds', '0:4']
    """
    expanded: list[str] = []
    # A dash after the last one stands for "no value follows".
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="-"):
        expanded.append(argument)
        if argument == "--ray" and following.startswith("-"):
            expanded.append(HERE)
    return expanded


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"clerestory {__version__}")
        raise typer.Exit


@app.callback()
def clerestory(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Find out what a text-to-image model knows, where it keeps it, and how to change it."""
