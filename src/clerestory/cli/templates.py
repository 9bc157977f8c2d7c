"""`clerestory templates`: a file of prompts about a concept, to edit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from clerestory.cli.model_options import ModelOptions, takes_model_alone
from clerestory.cli.options import argument, option

__all__ = ["templates"]

_Against = Annotated[
    str | None,
    option(
        "Hard negative: what has its words or looks without being it, such as `a stained glass "
        "window`; default: the concept's words, as a thing."
    ),
]
_Out = Annotated[Path | None, option("File to write, ending in .toml; default: print it.")]


@takes_model_alone
def templates(
    concept: Annotated[str, argument("Words of the concept, such as `stained glass`.")],
    model: ModelOptions,
    against: _Against = None,
    out: _Out = None,
) -> None:
    """Write phrases per arm, sentence frames and items for `record --prompts`, to edit.

    The items are the model's own, where it brings some. Comments in the file say how many phrases
    are needed, and why.
    """
    from clerestory.cli import console
    from clerestory.errors import OutputError
    from clerestory.io.writing import atomic_file, prepare_new_file
    from clerestory.recordings import prompt_table
    from clerestory.studies.new_prompts import ITEMS, concept_prompts

    if out is not None:
        if out.suffix != ".toml":
            raise OutputError(f"--out is {str(out)!r}; a file of prompts must end in .toml.")
        prepare_new_file(out)
    # Words that are refused are refused before the model is opened.
    concept_prompts(concept, against)
    text = concept_prompts(concept, against, model.open().profile.items(ITEMS))
    if out is None:
        console.write(text)
        return
    # The comment in the file then has the command that reads it.
    text = text.replace("--prompts FILE", f"--prompts {out.name}")
    with atomic_file(out) as part:
        part.write_text(text, "utf-8")
    prompts = len(prompt_table(out))
    console.write(
        f"{out} has sixteen phrases an arm, in {prompts:,} prompts: read them, change them, keep "
        "one frame where the prompts are too many, then"
    )
    console.write(
        f"  clerestory record --prompts {out} --sites 'text.*/mlp' --no-pictures --out rec"
    )
