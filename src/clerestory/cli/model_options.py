"""The options that say which model and how it is opened, the same for every command that needs one.

@with_model
def draw(prompts: ..., model: Asked) -> None:
    opened = model.open()
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from clerestory.cli.arguments import checked

if TYPE_CHECKING:
    from clerestory.models import Model

__all__ = ["Asked", "with_model"]

PANEL = "The model"
_Name = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="A name such as `lancet`, a hub id, a pipeline's folder, or a .safetensors file.",
        rich_help_panel=PANEL,
    ),
]
_Prior = Annotated[
    str | None,
    typer.Option(
        help="The prior of a Kandinsky 2.2 decoder: an id or folder.", rich_help_panel=PANEL
    ),
]
_Lora = Annotated[
    str | None, typer.Option(help="A LoRA: a file, folder or id.", rich_help_panel=PANEL)
]
_Config = Annotated[
    str | None,
    typer.Option(
        help="For a single file: an id or folder with the configuration of its parts.",
        rich_help_panel=PANEL,
    ),
]
_Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=PANEL, show_default=True)
]
_Dtype = Annotated[
    str, typer.Option(help="auto, float32, float16 or bfloat16.", rich_help_panel=PANEL)
]
_Offload = Annotated[
    Literal["model", "sequential"] | None,
    typer.Option(
        help="Keep weights in main memory: a part, or a module, at a time on the accelerator.",
        rich_help_panel=PANEL,
    ),
]
_Pickles = Annotated[
    bool,
    typer.Option(
        "--allow-pickles",
        help="Read pickled weights too, which can run code: only from people you trust.",
        rich_help_panel=PANEL,
    ),
]
UNSAID = (None, "auto", False)
SHARED: dict[str, tuple[Any, Any]] = {
    "name_": (_Name, None),
    "prior": (_Prior, None),
    "lora": (_Lora, None),
    "config": (_Config, None),
    "device": (_Device, "auto"),
    "dtype": (_Dtype, "auto"),
    "offload": (_Offload, None),
    "pickles": (_Pickles, False),
}


@dataclass(frozen=True)
class Asked:
    """A model as the command line names it (None: not at all); opened when it is wanted."""

    name: str | None
    how: dict[str, Any]

    @property
    def said(self) -> str:
        """The first option that was given for it, with its value; "" where none was."""
        given = {"model": self.name, **self.how}
        told = (f"--{name} {value}" for name, value in given.items() if value not in UNSAID)
        return next(told, "")

    def open(self, default: str | None = None, **default_how: str) -> Model:
        """Open the model, or the default (None: an installed plug-in's); notes go to stderr."""
        import clerestory
        from clerestory.cli import console

        given = {name: value for name, value in self.how.items() if value is not None}
        how = given if self.name else {**default_how, **given}
        model = clerestory.load(self.name or default, **how)
        if model.about:
            console.status(f"{model.name}: {model.about}")
        return model


def with_model(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `model`, an `Asked`, the options that name one."""

    @functools.wraps(command)
    def wrapped(**given: Any) -> None:
        told = {name: given.pop(name) for name in SHARED}
        command(**given, model=Asked(told.pop("name_"), told))

    hints = get_type_hints(command, include_extras=True)
    own = [
        each.replace(annotation=hints[name])
        for name, each in inspect.signature(command).parameters.items()
        if name != "model"
    ]
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in SHARED.items()
    ]
    plain = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    parameters = [*plain, *shared]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {each.name: each.annotation for each in parameters}
    return checked(wrapped)
