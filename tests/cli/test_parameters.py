"""A verb has the same parameters in Python and on the command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from clerestory.causal import verify
from clerestory.cli import dictionary as dictionary_command
from clerestory.cli import find as find_command
from clerestory.cli import group as group_command
from clerestory.cli import verify as verify_command
from clerestory.contrasts import find, group
from clerestory.dictionaries import evaluate
from clerestory.models.core.types import OPTION_NAMES

OUTPUT = {"out", "json"}
RANKING = {"rank_by_control", "others"}
"""Of `group`: it calls `rank_groups` afterwards."""
PLURAL = {"unit": "units"}
"""Options that are given as often as there are values."""
ATTACHED = {"dictionary": "recording"}
"""Options of what an argument has when it is given in Python."""

EVALUATE = {"folder": "dictionary", "classifier": "classifiers"}


@pytest.mark.parametrize(
    ("command", "function", "names"),
    [
        (find_command.find, find, {"classifier": "classifiers", **ATTACHED}),
        (group_command.group, group, ATTACHED),
        (inspect.unwrap(verify_command.verify), verify, PLURAL),
        (inspect.unwrap(dictionary_command.evaluate), evaluate, EVALUATE),
    ],
)
def test_options_have_the_names_of_arguments(
    command: Callable[..., Any], function: Callable[..., Any], names: dict[str, str]
) -> None:
    options = set(inspect.signature(command).parameters) - OUTPUT
    if command is group_command.group:
        options -= RANKING
    if function is evaluate:
        # How prompts are chosen, and options of the model's pipeline.
        options -= {"sample", "size", *OPTION_NAMES}
    assert {names.get(option, option) for option in options} <= set(
        inspect.signature(function).parameters
    )
